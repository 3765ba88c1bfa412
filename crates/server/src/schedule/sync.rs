//! What [`super::hub`] waits with. A test compiles the hub a second time with those of `shuttle`, which tries every interleaving.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

use std::time::{Duration, Instant};

/// Waits until it is notified, or until then.
pub(crate) fn wait<'a, T>(
    signal: &Condvar,
    guard: MutexGuard<'a, T>,
    until: Option<Instant>,
) -> MutexGuard<'a, T> {
    let Some(until) = until else {
        return signal.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner);
    };
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_micros(1));
    let woken = signal.wait_timeout(guard, left);
    woken.unwrap_or_else(std::sync::PoisonError::into_inner).0
}
