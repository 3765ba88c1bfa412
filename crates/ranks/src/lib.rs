//! Several devices that compute parts of one network.
//!
//! Devices that share tasks, each with a whole network, are a crew of `lithoburn-pool`. Here one forward pass is spread:
//!
//! | file | what several devices do |
//! |---|---|
//! | [`pipeline`] | stages one after the other, with several items in flight |
//! | [`team`] | ranks that work on one item at once |
//! | [`collective`] | what ranks tell each other: gather, sum, exchange |
//! | [`rendezvous`] | where ranks meet |
//! | [`transfer`] | tensors that change devices, and what a way between two carries |
//! | [`budget`] | memory, reserved before it is used |
//!
//! What a network is, is the caller's business: stages and ranks are closures, each made on a thread of its own. Which stages are
//! equally long is the planner's ([`lithoburn_pool::plan::balance`]), which has to know before a device is touched.

pub mod budget;
pub mod collective;
mod error;
pub mod pipeline;
pub mod rendezvous;
pub mod team;
mod thread;
pub mod transfer;

pub use error::{PipelineError, caught};
pub use thread::{Make, Work, ready};
