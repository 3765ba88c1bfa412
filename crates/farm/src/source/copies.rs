//! Second copies: near the end, a worker that has nothing to do computes a block that another one has had for longer than blocks take
//! here. The first result counts, and the second is compared with it.
//!
//! A copy is no try: who has the try answers for it, and a copy that comes to nothing changes nothing. A try is copied once, and only a
//! block's first: one that failed may be what kills its workers.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::FarmError;
use crate::desk::{Desk, Lease, blocks};
use crate::ledger::{Kind, Ledger};

/// A block is copied once it was seen with another worker for this part of the time for which this one has a block: workers draw a block
/// while they compute the one before, and computing is half of that time.
const LATE: f64 = 0.5;
/// How much of the last block's time goes into what is usual.
const NEWS: f64 = 0.25;
/// Blocks that are asked about at once.
const AT_ONCE: usize = 4;

/// What a worker knows of blocks that it may copy.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// First tries that run, and since when this worker has seen them.
    running: BTreeMap<u64, Duration>,
    /// Blocks that are copied, or done.
    settled: BTreeSet<u64>,
    /// This worker's own blocks, and since when it has them.
    mine: BTreeMap<u64, Duration>,
    /// How long it has a block until the result is committed.
    usual: Option<Duration>,
}

impl Copies {
    /// This worker has a block.
    pub(super) fn got(&mut self, block: u64, now: Duration) {
        self.mine.insert(block, now);
    }

    /// Its result was committed, whoever was first.
    pub(super) fn committed(&mut self, block: u64, now: Duration) {
        let Some(since) = self.mine.remove(&block) else { return };
        let took = now.saturating_sub(since);
        self.usual =
            Some(self.usual.map_or(took, |usual| usual.mul_f64(1.0 - NEWS) + took.mul_f64(NEWS)));
    }

    /// It has the block no more.
    pub(super) fn gave_back(&mut self, block: u64) {
        self.mine.remove(&block);
    }

    /// The tries that run by now.
    pub(super) fn see(&mut self, running: impl IntoIterator<Item = (u64, u32)>, now: Duration) {
        let before = std::mem::take(&mut self.running);
        let since = |block| (block, before.get(&block).copied().unwrap_or(now));
        let first = running.into_iter().filter(|(_, attempt)| *attempt == 1);
        self.running = first.map(|(block, _)| since(block)).collect();
    }

    /// As [`Copies::see`], of the ledger; blocks in `done` need nothing more.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub(super) fn look<L: Ledger>(
        &mut self,
        desk: &Desk<L>,
        total: u64,
        done: &[u64],
        now: Duration,
    ) -> Result<(), FarmError> {
        let mut ended: BTreeSet<u64> = done.iter().copied().collect();
        for kind in [Kind::Failed, Kind::Released] {
            ended.extend(blocks(desk.ledger().list(kind)?, total));
        }
        let begun = blocks(desk.ledger().list(Kind::Lease)?, total).into_iter();
        self.see(begun.filter(|block| !ended.contains(block)).map(|block| (block, 1)), now);
        Ok(())
    }

    /// Blocks to copy, the one that was seen longest first; of equals each worker has its own order.
    fn wanted(&self, me: &str, now: Duration) -> Vec<u64> {
        let Some(usual) = self.usual.filter(|_| self.mine.is_empty()) else { return Vec::new() };
        let is_late = |since: Duration| now.saturating_sub(since) >= usual.mul_f64(LATE);
        let late = self
            .running
            .iter()
            .filter(|(block, since)| is_late(**since) && !self.settled.contains(block));
        let mut late: Vec<(Duration, u64, u64)> = late
            .map(|(&block, &since)| {
                let mut order = DefaultHasher::new();
                (me, block).hash(&mut order);
                (since, order.finish(), block)
            })
            .collect();
        late.sort_unstable();
        late.into_iter().map(|(.., block)| block).collect()
    }

    /// A block to copy, for a worker that has none.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub(super) fn take<L: Ledger>(
        &mut self,
        desk: &Desk<L>,
        now: Duration,
    ) -> Result<Option<Lease>, FarmError> {
        if self.wanted(desk.me(), now).is_empty() {
            return Ok(None);
        }
        self.settled.extend(blocks(desk.ledger().list(Kind::Copy)?, u64::MAX));
        for block in self.wanted(desk.me(), now).into_iter().take(AT_ONCE) {
            self.settled.insert(block);
            if desk.receipt(block)?.is_none()
                && let Some(lease) = desk.copy(block, 1)?
            {
                return Ok(Some(lease));
            }
        }
        Ok(None)
    }
}
