//! What all cards share: a ledger that counts what it is asked, and servers that do one thing after the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{About, Entry, Kind, Ledger, seconds};
use crate::FarmError;
use crate::ledger::MemoryLedger;

/// Entries that a listing tells in the time of one operation.
const LISTED: u64 = 1000;

/// A ledger that counts its operations.
#[derive(Debug, Default)]
pub(super) struct Counted {
    ledger: MemoryLedger,
    operations: AtomicU64,
    bytes: AtomicU64,
}

impl Counted {
    fn count(&self, operations: u64) {
        self.operations.fetch_add(operations, Ordering::Relaxed);
    }

    /// Operations since the last call.
    pub(super) fn take(&self) -> u64 {
        self.operations.swap(0, Ordering::Relaxed)
    }

    /// Bytes of the entries that were created.
    pub(super) fn bytes(&self) -> Result<u64, FarmError> {
        Ok(self.bytes.load(Ordering::Relaxed))
    }
}

impl Ledger for Counted {
    fn create(&self, entry: &Entry, value: &[u8]) -> Result<bool, FarmError> {
        self.count(1);
        let created = self.ledger.create(entry, value)?;
        if created {
            let name = entry.to_string().len();
            self.bytes.fetch_add((name + value.len()) as u64, Ordering::Relaxed);
        }
        Ok(created)
    }

    fn put(&self, entry: &Entry, value: &[u8]) -> Result<(), FarmError> {
        self.count(1);
        self.ledger.put(entry, value)
    }

    fn read(&self, entry: &Entry) -> Result<Option<Vec<u8>>, FarmError> {
        self.count(1);
        self.ledger.read(entry)
    }

    fn remove(&self, entry: &Entry) -> Result<(), FarmError> {
        self.count(1);
        self.ledger.remove(entry)
    }

    fn list(&self, kind: Kind) -> Result<Vec<About>, FarmError> {
        let listed = self.ledger.list(kind)?;
        self.count(1 + listed.len() as u64 / LISTED);
        Ok(listed)
    }
}

/// Does one thing after the other, for all who ask.
#[derive(Debug)]
pub(super) struct Server {
    /// Seconds for each unit of work.
    each_s: f64,
    /// Seconds on the way there and back.
    latency: Duration,
    free: Duration,
    busy: Duration,
}

impl Server {
    pub(super) fn new(each_s: f64, latency_s: f64) -> Self {
        Self { each_s, latency: seconds(latency_s), free: Duration::ZERO, busy: Duration::ZERO }
    }

    /// When so many units are done that are asked for now.
    pub(super) fn serve(&mut self, now: Duration, units: f64) -> Duration {
        let took = seconds(units * self.each_s);
        self.free = self.free.max(now) + took;
        self.busy += took;
        self.free + self.latency
    }

    /// How long it was busy in all.
    pub(super) fn busy(&self) -> Duration {
        self.busy
    }
}
