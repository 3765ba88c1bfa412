//! What the threads of a crew tell the scheduler.

use std::time::Duration;

use super::failure::Failure;

/// What reaches the one who shares the tasks.
pub(crate) enum CrewEvent<T, R> {
    /// A task was made.
    Made(T),
    /// There are no more tasks.
    Ended,
    /// A batch came back.
    Done(Returned<R>),
    /// A device that was still being opened is there, or never will be.
    Arrived(usize, Result<(), Failure>),
    /// A member's thread is at its end and its worker dropped.
    Left(usize),
}

/// A batch that came back.
pub(crate) struct Returned<R> {
    /// The member's index.
    pub member: usize,
    /// The batch's number.
    pub batch: u64,
    /// Its results, or why there are none.
    pub result: Result<Vec<R>, Failure>,
    /// Whether the worker was new with this batch.
    pub first: bool,
    /// Time to make the worker, if it was made for this batch; the batch did not start if that failed.
    pub making: Option<Duration>,
    /// Whether it is the making that failed.
    pub unmade: bool,
    /// Time that the batch took.
    pub took: Duration,
}
