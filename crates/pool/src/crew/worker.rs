//! What a device of a crew does.
//!
//! The scheduler knows neither tasks nor devices: it hands batches of tasks to [`Worker`]s, each on a thread of its
//! own, and decides by the [`Failure`] that comes back what becomes of the device.

use std::sync::Arc;
use std::time::Duration;

use super::failure::Failure;

/// One device's way of doing tasks.
///
/// It is made on the device's own thread and never leaves it: to Burn's CUDA runtime a host thread is a stream
/// and a memory pool.
pub trait Worker<T, R> {
    /// Does a batch: one result for each task, in the tasks' order.
    ///
    /// # Errors
    ///
    /// A [`Failure`], which decides whether the batch is tried again and whether the device stays. A panic is
    /// caught and read by [`Failure::of_caught`].
    fn run(&mut self, batch: &[Arc<T>]) -> Result<Vec<R>, Failure>;
}

/// Makes a device's worker; called on the device's thread, and again after a panic.
pub type MakeWorker<T, R> = Arc<dyn Fn() -> Result<Box<dyn Worker<T, R>>, Failure> + Send + Sync>;

/// Waits until a device is there, on the device's thread, before it gets its first batch; an error or a panic costs the device.
pub type Arrive = Arc<dyn Fn() -> Result<(), Failure> + Send + Sync>;

/// One device of the crew that shares the tasks.
pub struct Member<T, R> {
    /// Its name in reports, e.g. `cuda:0`.
    pub name: String,
    /// Most tasks in a batch. Of the first one nobody knows how long it takes: a device that is known to be slow
    /// should have small batches, as a plan gives it, so that the others need not wait for it.
    pub batch: usize,
    /// Makes its worker.
    pub make: MakeWorker<T, R>,
    /// Of a device that is still being opened: the others begin without it, and nothing waits for it.
    pub arrive: Option<Arrive>,
}

impl<T, R> Clone for Member<T, R> {
    fn clone(&self) -> Self {
        let Self { name, batch, make, arrive } = self;
        Self { name: name.clone(), batch: *batch, make: make.clone(), arrive: arrive.clone() }
    }
}

/// What the crew may take: memory, time, tries. Time is that in which the process ran ([`crate::clock`]).
#[derive(Clone, Debug)]
pub struct Terms {
    /// Tasks made ahead of need, at least 1: those that wait for a device. At most two batches a device are with
    /// the devices besides. Full batches need at least the sum of all batches.
    pub ahead: usize,
    /// Longest that a device may take until it is there, and then making a worker, compiling its kernels and its first task.
    pub first_deadline: Duration,
    /// The first batch of a worker may take this longer for each further task: nobody knows how fast it is.
    pub first_deadline_each: Duration,
    /// A later batch may take this long in any case.
    pub least_deadline: Duration,
    /// A later batch may take this many times the expected seconds.
    pub patience: f64,
    /// How often a task is tried again after it broke a worker, and how often in a row a worker may break.
    pub retries: usize,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            ahead: 64,
            first_deadline: Duration::from_secs(600),
            first_deadline_each: Duration::from_secs(120),
            least_deadline: Duration::from_secs(60),
            patience: 20.0,
            retries: 3,
        }
    }
}
