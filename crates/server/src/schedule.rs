//! One queue for all devices, and a thread for each.
//!
//! ```text
//!   clients ──► Scheduler ──► queue ──► device 0: prepare, launch, finish, collect ──► answers
//!                (checks)       └─────► device 1 …
//! ```
//!
//! The rules are in `state`: who takes what, when, and what becomes of a batch that fails. How they meet without a lost wake-up is in `hub`.
//! A [`Ticket`] that is dropped withdraws its request; so a client that hangs up costs nothing.

mod call;
mod catalog;
mod durations;
mod hub;
mod owed;
mod place;
mod queue;
mod refusal;
mod scheduler;
mod snapshot;
mod state;
mod statistics;
mod sync;
mod worker;

pub use call::{Answered, Stages, Ticket, Urgency};
pub use catalog::{Readiness, VersionState};
pub use durations::Durations;
pub use refusal::{Reason, Refusal};
pub use scheduler::{Scheduler, Terms};
pub use snapshot::{DeviceSnapshot, DeviceState, ModelSnapshot, Snapshot};
pub use statistics::{BatchCounts, DeviceCounts, ModelCounts, Stage};

#[cfg(test)]
mod shuttled;
#[cfg(test)]
mod tests;
