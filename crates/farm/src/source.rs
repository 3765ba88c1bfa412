//! Where blocks come from: one trait, whoever hands them out.

mod chunk;
mod copies;
#[cfg(test)]
mod interleavings;
mod listing;
mod named;
mod nats;
mod open;
mod shared;
mod watch;

pub use chunk::{Chunk, Part};
pub use named::Named;
pub use nats::Nats;
pub use shared::Shared;

use serde::{Deserialize, Serialize};

use crate::FarmError;
use crate::desk::{Committed, Ended, Fate, Lease, Progress, Receipt};

/// What a worker tells of itself with every renewal of its leases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// Counts the beats: one that does not change is a worker that is not heard of.
    pub beat: u64,
    /// Its devices.
    pub device: String,
    /// Blocks that it holds.
    pub holds: Vec<u64>,
    /// Blocks whose result it committed first.
    pub done: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Seconds since it joined, by its own clock.
    pub up_s: f64,
    /// Seconds of those in which it held a block.
    pub busy_s: f64,
    /// Whether it has left.
    pub left: bool,
}

/// The answer to a worker that asks for a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A block to compute; it may be a copy of one that another worker has.
    Block(Lease),
    /// Other workers have all that is left; one of them may fail.
    Wait,
    /// Nothing is left.
    Finished,
    /// Workers are asked to leave.
    Drained,
}

/// Hands out blocks, each until there is a result for it.
///
/// A lease that is not renewed in time is somebody else's; a block may so be computed twice, and is committed once.
pub trait BlockSource: Send + Sync {
    /// The next block.
    ///
    /// # Errors
    ///
    /// [`FarmError`] if whoever hands out blocks cannot be reached.
    fn next(&self) -> Result<Next, FarmError>;

    /// Keeps leases, and tells how the worker is; to be called at least three times in the time of a lease. Gives those that are lost.
    ///
    /// # Errors
    ///
    /// As [`BlockSource::next`]; the leases run on.
    fn renew(&self, leases: &[Lease], beat: &Beat) -> Result<Vec<Lease>, FarmError>;

    /// Makes a result the block's, unless it has one.
    ///
    /// # Errors
    ///
    /// As [`BlockSource::next`]; the commit can be repeated.
    fn commit(&self, lease: &Lease, receipt: &Receipt) -> Result<Committed, FarmError>;

    /// Gives a block back without a result.
    ///
    /// # Errors
    ///
    /// As [`BlockSource::next`]; the lease then runs out by itself.
    fn fail(&self, lease: &Lease, ended: &Ended) -> Result<Fate, FarmError>;

    /// Whether a block has a result, whoever's.
    ///
    /// # Errors
    ///
    /// As [`BlockSource::next`].
    fn has_result(&self, block: u64) -> Result<bool, FarmError>;

    /// How far the job is.
    ///
    /// # Errors
    ///
    /// As [`BlockSource::next`].
    fn progress(&self) -> Result<Progress, FarmError>;
}
