//! A device's memory, accounted for.
//!
//! Burn allocates when a tensor is made, and a card that is full fails somewhere in the middle of a pass, on some
//! drivers for good. A budget refuses before: whoever needs memory reserves it first, and a reservation is given back when it
//! is dropped. Drivers, kernels and the allocator's rounding need some memory too, so a budget is less than a card has.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lithoburn_pool::memory::readable;

/// Memory that was asked for and is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "out of memory on {device}: {what} needs {} and {} of {} are held",
    readable(*.asked),
    readable(*.held),
    readable(*.allowed)
)]
pub struct OverBudget {
    /// Name of the device.
    pub device: String,
    /// What the memory was for.
    pub what: String,
    /// Bytes asked for.
    pub asked: u64,
    /// Bytes that others hold.
    pub held: u64,
    /// Bytes that all may hold together.
    pub allowed: u64,
}

/// What may be held on a device, and what is. Clones are the same account.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    device: String,
    allowed: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    now: u64,
    peak: u64,
}

impl Budget {
    /// An account of `allowed` bytes.
    pub fn new(device: impl Into<String>, allowed: u64) -> Self {
        Self(Arc::new(Account { device: device.into(), allowed, held: Mutex::default() }))
    }

    /// An account that only counts.
    pub fn unlimited(device: impl Into<String>) -> Self {
        Self::new(device, u64::MAX)
    }

    /// Name of the device.
    pub fn device(&self) -> &str {
        &self.0.device
    }

    /// Bytes that may be held.
    pub fn allowed(&self) -> u64 {
        self.0.allowed
    }

    /// Bytes that are held.
    pub fn held(&self) -> u64 {
        self.lock().now
    }

    /// The most that was ever held.
    pub fn peak(&self) -> u64 {
        self.lock().peak
    }

    /// Reserves memory until the reservation is dropped.
    ///
    /// # Errors
    ///
    /// [`OverBudget`] if that is more than is left.
    pub fn reserve(&self, bytes: u64, what: &str) -> Result<Reservation, OverBudget> {
        let mut reservation = Reservation { budget: self.clone(), bytes: 0 };
        reservation.resize(bytes, what)?;
        Ok(reservation)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Numbers are whole whenever the lock is free, so a panic elsewhere does no harm to them.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that is held; dropping it gives it back.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    bytes: u64,
}

impl Reservation {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds `bytes` from now on, more or less than before.
    ///
    /// # Errors
    ///
    /// [`OverBudget`] if that is more than is left; then it holds what it held.
    pub fn resize(&mut self, bytes: u64, what: &str) -> Result<(), OverBudget> {
        let mut held = self.budget.lock();
        let others = held.now - self.bytes;
        let allowed = self.budget.allowed();
        if bytes > self.bytes && others.checked_add(bytes).is_none_or(|sum| sum > allowed) {
            let (device, what) = (self.budget.device().to_string(), what.to_string());
            return Err(OverBudget { device, what, asked: bytes, held: others, allowed });
        }
        held.now = others + bytes;
        held.peak = held.peak.max(held.now);
        drop(held);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.lock().now -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_can_be_reserved_again() {
        let budget = Budget::new("small", 100);
        let first = budget.reserve(60, "weights").expect("fits");
        let error = budget.reserve(41, "an image").expect_err("41 more than 40");
        assert_eq!((error.asked, error.held, error.allowed), (41, 60, 100));
        drop(first);
        let second = budget.reserve(100, "an image").expect("all of it");
        assert_eq!((second.bytes(), budget.held(), budget.peak()), (100, 100, 100));
    }

    #[test]
    fn a_reservation_that_cannot_grow_stays_as_it_was() {
        let budget = Budget::new("small", 100);
        let _other = budget.reserve(50, "weights").expect("fits");
        let mut mine = budget.reserve(10, "an image").expect("fits");
        assert!(mine.resize(51, "a larger image").is_err());
        assert_eq!((mine.bytes(), budget.held()), (10, 60));
        mine.resize(5, "a smaller one").expect("less always fits");
        assert_eq!((budget.held(), budget.peak()), (55, 60));
    }

    #[test]
    fn a_refusal_says_what_for_and_how_much() {
        let budget = Budget::new("cuda:1", 3 << 20);
        let error = budget.reserve(5 << 20, "up1.conv1").expect_err("too much").to_string();
        for part in ["out of memory", "cuda:1", "up1.conv1", "5.0 MiB", "3.0 MiB", "0 B"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn no_sum_wraps_round() {
        let budget = Budget::unlimited("large");
        let _all = budget.reserve(u64::MAX - 1, "nearly all").expect("fits");
        assert!(budget.reserve(2, "a little more").is_err());
    }

    /// Many threads, each never over: the account never exceeds its limit and ends empty.
    #[test]
    fn threads_never_hold_more_than_allowed() {
        let budget = Budget::new("shared", 50);
        let grab = || {
            for bytes in (1..40).cycle().take(2000) {
                if let Ok(mut held) = budget.reserve(bytes, "a bit") {
                    let _ = held.resize(2 * bytes, "twice that");
                }
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(grab))));
        assert!(budget.held() == 0 && (1..=50).contains(&budget.peak()));
    }
}
