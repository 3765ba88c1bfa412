//! One queue for all devices, and a thread for each.
//!
//! ```text
//!   clients ──► Scheduler ──► queue ──► device 0: prepare, launch, finish, collect ──► answers
//!                (checks)       └─────► device 1 …
//! ```
//!
//! The rules are in `board`: who takes what, when, and what becomes of a batch that fails. How they meet without a lost wake-up is in `hub`.
//! A [`Ticket`] that is dropped withdraws its request; so a client that hangs up costs nothing.

mod bench;
mod board;
mod call;
mod catalog;
mod durations;
mod hub;
mod owed;
mod place;
mod queue;
mod refusal;
mod scheduler;
mod shared;
mod snapshot;
mod stages;
mod statistics;
mod sync;
mod ticket;
mod worker;

pub use call::{Answered, Urgency};
pub use catalog::{Readiness, VersionState};
pub use durations::Durations;
pub use refusal::{Reason, Refusal};
pub use scheduler::Scheduler;
pub use shared::Terms;
pub use snapshot::{DeviceSnapshot, DeviceState, ModelSnapshot, Snapshot};
pub use stages::Stages;
pub use statistics::{BatchCounts, DeviceCounts, ModelCounts, Stage};
pub use ticket::Ticket;

#[cfg(test)]
mod shuttled;
#[cfg(test)]
mod tests;
