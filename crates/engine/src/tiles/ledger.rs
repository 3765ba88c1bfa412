//! Where every tile stands that was looked at and is not put together yet; who puts together can wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::journal::Key;

/// How often those who wait look whether the run has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The tiles between the first that is not put together and the last that was looked at.
#[derive(Default)]
pub(crate) struct Ledger {
    entries: Mutex<Entries>,
    changed: Condvar,
}

#[derive(Default)]
struct Entries {
    /// Targets of the tiles.
    keys: BTreeMap<usize, Key>,
    /// Targets that are being computed, and how many tiles have them.
    open: HashMap<Key, usize>,
    /// Tiles whose answer is known, put together or not.
    ready: usize,
    /// Nothing more will come.
    closed: bool,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Each change below is whole before anything can panic.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tiles whose answer is known.
    pub(crate) fn ready(&self) -> usize {
        self.lock().ready
    }

    /// Notes a tile's target, whose answer is `known` to the journal or not; true if it has to be computed. No answer can be stored
    /// between the two questions.
    pub(super) fn place(&self, tile: usize, key: Key, known: impl FnOnce() -> bool) -> bool {
        let mut entries = self.lock();
        entries.keys.insert(tile, key);
        let fresh = match entries.open.get_mut(&key) {
            Some(tiles) => {
                *tiles += 1;
                false
            }
            None if known() => {
                entries.ready += 1;
                false
            }
            None => entries.open.insert(key, 1).is_none(),
        };
        self.changed.notify_all();
        fresh
    }

    /// Notes that a target's answer is stored.
    pub(super) fn solved(&self, key: &Key) {
        let mut entries = self.lock();
        let tiles = entries.open.remove(key).unwrap_or(0);
        entries.ready += tiles;
        self.changed.notify_all();
    }

    /// Nothing more will come: those who wait go on.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits for the answers of some tiles, and gives their targets, which are put together from now on; none if the run ends before
    /// they are there.
    pub(crate) fn take(&self, tiles: &[usize], ended: &dyn Fn() -> bool) -> Option<Vec<Key>> {
        let mut entries = self.lock();
        loop {
            let keys = tiles.iter().map(|tile| entries.keys.get(tile).copied());
            let keys: Option<Vec<Key>> = keys.collect();
            let known = |keys: &Vec<Key>| keys.iter().all(|key| !entries.open.contains_key(key));
            if let Some(keys) = keys.filter(known) {
                for tile in tiles {
                    entries.keys.remove(tile);
                }
                return Some(keys);
            }
            if entries.closed || ended() {
                return None;
            }
            let waited = self.changed.wait_timeout(entries, LOOK_EVERY);
            entries = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_ENDED: fn() -> bool = || false;

    #[test]
    fn a_target_is_computed_once_and_all_its_tiles_are_ready_with_it() {
        let ledger = Ledger::default();
        assert!(ledger.place(0, [1; 32], || false));
        assert!(!ledger.place(1, [1; 32], || false));
        assert!(!ledger.place(2, [2; 32], || true));
        assert_eq!(ledger.ready(), 1);
        ledger.solved(&[1; 32]);
        assert_eq!(ledger.ready(), 3);
        assert_eq!(ledger.take(&[0, 2], &NOT_ENDED), Some(vec![[1; 32], [2; 32]]));
        assert_eq!(ledger.lock().keys.len(), 1, "what is put together takes no memory");
    }

    #[test]
    fn an_end_wakes_who_waits() {
        let ledger = Ledger::default();
        ledger.place(0, [0; 32], || false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| ledger.take(&[0], &NOT_ENDED));
            ledger.close();
            assert_eq!(reader.join().expect("no panic"), None);
        });
        assert_eq!(ledger.take(&[0], &|| true), None);
    }
}
