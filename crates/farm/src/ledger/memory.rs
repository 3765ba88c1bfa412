//! A ledger in memory: of one process, for tests and for the simulator.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{About, Entry, Kind, Ledger};
use crate::FarmError;

/// A ledger that is gone with its process.
#[derive(Debug, Default)]
pub struct MemoryLedger(Mutex<BTreeMap<Kind, BTreeMap<About, Vec<u8>>>>);

impl MemoryLedger {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Kind, BTreeMap<About, Vec<u8>>>> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for MemoryLedger {
    fn create(&self, entry: &Entry, value: &[u8]) -> Result<bool, FarmError> {
        let mut all = self.lock();
        let entries = all.entry(entry.kind).or_default();
        let is_new = !entries.contains_key(&entry.about);
        if is_new {
            entries.insert(entry.about.clone(), value.to_vec());
        }
        Ok(is_new)
    }

    fn put(&self, entry: &Entry, value: &[u8]) -> Result<(), FarmError> {
        self.lock().entry(entry.kind).or_default().insert(entry.about.clone(), value.to_vec());
        Ok(())
    }

    fn read(&self, entry: &Entry) -> Result<Option<Vec<u8>>, FarmError> {
        Ok(self.lock().get(&entry.kind).and_then(|entries| entries.get(&entry.about)).cloned())
    }

    fn remove(&self, entry: &Entry) -> Result<(), FarmError> {
        if let Some(entries) = self.lock().get_mut(&entry.kind) {
            entries.remove(&entry.about);
        }
        Ok(())
    }

    fn list(&self, kind: Kind) -> Result<Vec<About>, FarmError> {
        Ok(self.lock().get(&kind).map_or(Vec::new(), |entries| entries.keys().cloned().collect()))
    }
}
