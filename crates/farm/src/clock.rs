//! Time as a worker measures it: from its own start, never compared with another machine's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A clock that only goes forward.
pub trait Clock: Send + Sync {
    /// Time since some moment, the same one for the clock's whole life.
    fn now(&self) -> Duration;
}

/// The process's clock.
#[derive(Clone, Copy, Debug)]
pub struct Wall(Instant);

impl Default for Wall {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Wall {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A clock that is set by hand; clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct Set(Arc<AtomicU64>);

impl Set {
    /// Sets the time; it never goes back.
    pub fn to(&self, now: Duration) {
        self.0.fetch_max(now.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for Set {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }
}
