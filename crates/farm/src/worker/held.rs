//! The blocks that a worker holds.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::desk::Lease;

/// A lease that is held.
struct One {
    lease: Lease,
    since: Instant,
    /// Another worker has taken it over.
    is_lost: bool,
}

/// The leases of a worker, by their blocks.
#[derive(Default)]
pub(super) struct Held(Mutex<BTreeMap<u64, One>>);

impl Held {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, One>> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// One more.
    pub(super) fn add(&self, lease: Lease) {
        let one = One { since: Instant::now(), is_lost: false, lease };
        self.lock().insert(one.lease.block, one);
    }

    /// A block's lease, and since when it is held.
    pub(super) fn get(&self, block: u64) -> Option<(Lease, Instant)> {
        self.lock().get(&block).map(|one| (one.lease.clone(), one.since))
    }

    /// As [`Held::get`]; it is held no more.
    pub(super) fn remove(&self, block: u64) -> Option<(Lease, Instant)> {
        self.lock().remove(&block).map(|one| (one.lease, one.since))
    }

    /// Notes that a lease is lost; true if that is news. Its block is computed to the end: its result may still be the first.
    pub(super) fn lose(&self, lease: &Lease) -> bool {
        let mut held = self.lock();
        let one = held.get_mut(&lease.block).filter(|one| one.lease == *lease && !one.is_lost);
        one.is_some_and(|one| {
            one.is_lost = true;
            true
        })
    }

    /// All of them.
    pub(super) fn leases(&self) -> Vec<Lease> {
        self.lock().values().map(|one| one.lease.clone()).collect()
    }
}
