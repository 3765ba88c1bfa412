//! Where a request's time goes.

use std::time::Duration;

/// Where a request's time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Waiting for a device.
    pub queue: Duration,
    /// Laying its batch out.
    pub input: Duration,
    /// Computing its batch.
    pub infer: Duration,
    /// Bringing its batch back.
    pub output: Duration,
}

impl Stages {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.queue + self.input + self.infer + self.output
    }
}
