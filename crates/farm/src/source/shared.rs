//! Workers that share nothing but a ledger: the source without a daemon.
//!
//! * A worker claims the nearest block that it believes open; of two that claim one, one succeeds. All work in one part of the job, which
//!   moves on from its front, so that whoever puts results together follows close behind.
//! * Workers watch each other's beats ([`watch`](super::watch)). Whoever finds one gone ends its tries in the ledger, and the next worker that asks
//!   takes its blocks.
//! * Clocks of two machines are never compared, nor with the file server's: a beat that does not change is measured by the watcher's own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::open::OpenBlocks;
use super::watch::{Life, Watch};
use super::{Beat, BlockSource, Next};
use crate::FarmError;
use crate::clock::Clock;
use crate::desk::{Committed, Desk, Ended, Fate, Lease, Progress, Receipt, json};
use crate::ledger::{About, Entry, Kind, Ledger};

/// After so many blocks that others have, a worker goes on elsewhere: here somebody else is at work.
const COLLISIONS: u64 = 4;
/// After so many since the last listing, the board is out of date; of large jobs, whose listings take longer, after one for so many
/// blocks.
const STALE: [u64; 2] = [64, 512];
/// At most this part of the time goes into listing the ledger.
const LISTING: f64 = 0.02;
/// Least part of a job that all workers are in, as one of so many, and blocks of it for each of them.
const PARTS: u64 = 16;
const EACH: u64 = 8;
/// So many workers at most stay together.
const MANY: u64 = 32;
/// Between two workers' first blocks, as a part of those that all are in: any number of workers is spread evenly.
const GOLDEN: f64 = 0.618_033_988_749_895;
/// Open tries whose workers are looked up by one that has nothing to do, each time.
const LOOKED_UP: usize = 4;

/// A worker's view of a ledger that others write into too.
#[derive(Debug)]
pub struct Shared<L, C> {
    desk: Desk<L>,
    clock: C,
    total: u64,
    lease: Duration,
    seen: Mutex<Seen>,
}

/// What a worker has seen.
#[derive(Debug)]
struct Seen {
    open: OpenBlocks,
    /// Blocks to try again, the last first.
    again: Vec<u64>,
    /// Tries without an end, at the last listing.
    running: Vec<(u64, u32)>,
    /// The next block of first choice.
    near: u64,
    /// Where in the part that all workers are in this one begins, from 0 to 1.
    place: f64,
    /// Blocks of that part.
    reach: u64,
    /// Workers that ever joined, at the last look.
    workers: u64,
    watch: Watch,
    watched: Option<Duration>,
    listed: Option<Duration>,
    /// How long listing took.
    listing: Duration,
    /// Until the next listing, the longer the longer there was no block.
    pause: Duration,
    /// Blocks since the last listing that turned out to be others'.
    collisions: u64,
    /// What others did since the last listing is not on the board.
    is_stale: bool,
    drained: bool,
    progress: Progress,
}

/// Blocks of a job that so many workers are in at once: few, so that results come in their order, but the more the more often one
/// would meet the others there, and all where they are many.
fn reach(total: u64, workers: u64) -> u64 {
    match workers {
        0..=MANY => (total / PARTS).max(workers * EACH.max(workers)).max(1),
        _ => total,
    }
}

impl Seen {
    /// Goes to where this worker begins, or to the front if all there is others'.
    fn begin(&mut self) {
        self.go_to(self.place);
        let front = self.open.nearest(0).unwrap_or(0);
        let block = self.open.nearest(self.near).unwrap_or(front);
        if block - front >= self.reach {
            self.near = front;
        }
    }

    /// Goes on elsewhere than at a block.
    fn jump(&mut self, block: u64) {
        let front = self.open.nearest(0).unwrap_or(0);
        let place = block.saturating_sub(front) as f64 / self.within(front) as f64;
        self.go_to((place + GOLDEN).fract());
    }

    /// Goes to a place of the part that all workers are in, from 0 to 1.
    fn go_to(&mut self, place: f64) {
        let front = self.open.nearest(0).unwrap_or(0);
        self.near = front + (place * self.within(front) as f64) as u64;
    }

    /// Blocks of that part.
    fn within(&self, front: u64) -> u64 {
        self.reach.min(self.open.total() - front).max(1)
    }
}

impl<L: Ledger, C: Clock> Shared<L, C> {
    /// Joins a job of `total` blocks, whose leases are `lease` long.
    ///
    /// # Errors
    ///
    /// [`FarmError`] of the ledger.
    pub fn join(desk: Desk<L>, clock: C, total: u64, lease: Duration) -> Result<Self, FarmError> {
        let before = desk.ledger().list(Kind::Worker)?.len() as u64;
        desk.ledger().put(&Entry::of_worker(desk.me()), &json(&Beat::default())?)?;
        let mut seen = Seen {
            open: OpenBlocks::open(total),
            again: Vec::new(),
            running: Vec::new(),
            near: 0,
            place: (before as f64 * GOLDEN).fract(),
            workers: before + 1,
            reach: reach(total, before + 1),
            watch: Watch::default(),
            watched: None,
            listed: None,
            listing: Duration::ZERO,
            pause: Duration::ZERO,
            collisions: 0,
            is_stale: before > 0,
            drained: false,
            progress: Progress { total, ..Progress::default() },
        };
        seen.begin();
        Ok(Self { desk, clock, total, lease, seen: Mutex::new(seen) })
    }

    /// The worker's side of the ledger.
    pub fn desk(&self) -> &Desk<L> {
        &self.desk
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // A panic in between loses knowledge that the next listing brings back.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the neighbours' beats, three times in the time of a lease.
    fn watch(&self, seen: &mut Seen) -> Result<(), FarmError> {
        let now = self.clock.now();
        if seen.watched.is_some_and(|last| now < last + self.lease / 3) {
            return Ok(());
        }
        seen.watched = Some(now);
        seen.drained = self.desk.ledger().read(&Entry::drain())?.is_some();
        let workers = self.desk.ledger().list(Kind::Worker)?;
        seen.workers = seen.workers.max(workers.len() as u64);
        let reach = reach(self.total, seen.workers);
        let is_much_more = reach > 2 * seen.reach;
        seen.reach = seen.reach.max(reach);
        if is_much_more {
            // Many joined together, each in the belief that it was among the first.
            seen.begin();
        }
        for about in workers {
            match about {
                About::Name(name) if name != self.desk.me() => seen.watch.add(name, now),
                _ => {}
            }
        }
        let ring = seen.watch.ring(self.desk.me());
        ring.into_iter().try_for_each(|name| self.watch_one(seen, &name, now))
    }

    fn watch_one(&self, seen: &mut Seen, name: &str, now: Duration) -> Result<(), FarmError> {
        let beat = self.desk.ledger().read(&Entry::of_worker(name))?.unwrap_or_default();
        let has_left = serde_json::from_slice(&beat).is_ok_and(|beat: Beat| beat.left);
        match seen.watch.saw(name, beat, has_left, now, self.lease) {
            Some(Life::Left) => self.end_tries(seen, name, "its worker left"),
            Some(_) => {
                let lease = self.lease.as_secs_f64();
                self.end_tries(seen, name, &format!("{name} was not heard of for {lease} s"))
            }
            None => Ok(()),
        }
    }

    /// Ends the tries of a worker that will not.
    fn end_tries(&self, seen: &mut Seen, name: &str, why: &str) -> Result<(), FarmError> {
        self.list(seen)?;
        for (block, attempt) in seen.running.clone() {
            if self.desk.holder(block, attempt)?.as_deref() == Some(name) {
                self.desk.end(&Lease { block, attempt }, &Ended::Failed(why.into()))?;
                seen.is_stale = true;
            }
        }
        Ok(())
    }

    /// Reads what all others did.
    fn list(&self, seen: &mut Seen) -> Result<(), FarmError> {
        let start = self.clock.now();
        let ledger = self.desk.ledger();
        let mut last: HashMap<u64, u32> = HashMap::new();
        let mut open = OpenBlocks::open(self.total);
        // First: what begins after this is found out by a collision.
        for about in ledger.list(Kind::Lease)? {
            if let About::Try(block, attempt) = about {
                open.close(block);
                let latest = last.entry(block).or_insert(attempt);
                *latest = attempt.max(*latest);
            }
        }
        for kind in [Kind::Failed, Kind::Released] {
            for about in ledger.list(kind)? {
                if let About::Try(block, attempt) = about
                    && last.get(&block) == Some(&attempt)
                {
                    last.insert(block, 0);
                }
            }
        }
        let (progress, done) = self.desk.finished(self.total)?;
        for block in done {
            open.close(block);
            last.remove(&block);
        }
        let is_again = |&(_, attempt): &(u64, u32)| attempt == 0;
        let (again, mut running): (Vec<_>, Vec<_>) = last.into_iter().partition(is_again);
        seen.again = again.into_iter().map(|(block, _)| block).collect();
        seen.again.sort_unstable_by(|a, b| b.cmp(a));
        running.sort_unstable();
        (seen.open, seen.running, seen.progress) = (open, running, progress);
        (seen.is_stale, seen.collisions) = (false, 0);
        // At the front itself all workers would meet.
        if seen.open.nearest(0).is_some_and(|front| seen.near < front) {
            seen.begin();
        }
        seen.listed = Some(self.clock.now());
        seen.listing = self.clock.now().saturating_sub(start);
        Ok(())
    }

    /// Lists again, unless that was done a moment ago: the more seldom, the longer listing takes, and the longer it brings nothing.
    /// Tells whether it did.
    fn list_if_due(&self, seen: &mut Seen) -> Result<bool, FarmError> {
        let least = seen.listing.div_f64(LISTING).clamp(self.lease / 60, self.lease / 6);
        let pause = least.max(seen.pause);
        if seen.listed.is_some_and(|last| self.clock.now() < last + pause) {
            return Ok(false);
        }
        seen.pause = (2 * pause).min(self.lease / 6);
        self.list(seen)?;
        Ok(true)
    }

    /// The next block that is believed open, in the part that all workers are in. At its end the ledger is listed, which tells where its
    /// front is by now; if it is too soon for that, the part is too small for blocks as quick as these.
    fn nearest(&self, seen: &mut Seen) -> Result<Option<u64>, FarmError> {
        while let Some(front) = seen.open.nearest(0) {
            let block = seen.open.nearest(seen.near.max(front));
            let block = block.filter(|&block| block - front < seen.reach);
            if block.is_some() || front + seen.reach >= self.total {
                return Ok(block.or(Some(front)));
            }
            // All workers together list no more often than eight would.
            let least = self.lease / 60 * (seen.workers / EACH).clamp(1, 10) as u32;
            let is_soon = seen.listed.is_some_and(|last| self.clock.now() < last + least);
            if !is_soon && self.list_if_due(seen)? {
                seen.begin();
            } else {
                seen.reach *= 2;
            }
        }
        Ok(None)
    }

    /// Claims a block that nobody has; none also if so many turned out to be others' that the board has to be listed again, and it is
    /// too soon for that.
    fn claim(&self, seen: &mut Seen) -> Result<Option<Lease>, FarmError> {
        while let Some(block) = seen.again.pop() {
            if let Some(lease) = self.desk.try_again(block)? {
                return Ok(Some(lease));
            }
        }
        let stale = STALE[0].max(self.total / STALE[1]);
        while let Some(block) = self.nearest(seen)? {
            if seen.collisions >= stale {
                match self.list_if_due(seen)? {
                    true => continue,
                    false => return Ok(None),
                }
            }
            seen.open.close(block);
            if let Some(lease) = self.desk.claim(block, 1)? {
                (seen.near, seen.pause) = (block + 1, Duration::ZERO);
                return Ok(Some(lease));
            }
            seen.collisions += 1;
            if seen.collisions.is_multiple_of(COLLISIONS) {
                seen.jump(block);
            }
        }
        Ok(None)
    }

    /// Looks up some workers that have the last blocks: one whose beat was lost would never be watched.
    fn look_up(&self, seen: &mut Seen) -> Result<(), FarmError> {
        let (now, count) = (self.clock.now(), seen.running.len().min(LOOKED_UP));
        for (block, attempt) in seen.running.drain(..count).collect::<Vec<_>>() {
            match self.desk.holder(block, attempt)? {
                Some(name) if name != self.desk.me() => seen.watch.add(name, now),
                _ => {}
            }
        }
        Ok(())
    }
}

impl<L: Ledger, C: Clock> BlockSource for Shared<L, C> {
    fn next(&self) -> Result<Next, FarmError> {
        let seen = &mut *self.seen();
        self.watch(seen)?;
        if seen.drained {
            return Ok(Next::Drained);
        }
        if seen.is_stale {
            self.list(seen)?;
        }
        if let Some(lease) = self.claim(seen)? {
            return Ok(Next::Block(lease));
        }
        self.list_if_due(seen)?;
        if let Some(lease) = self.claim(seen)? {
            return Ok(Next::Block(lease));
        }
        if seen.progress.is_finished() {
            return Ok(Next::Finished);
        }
        self.look_up(seen)?;
        Ok(Next::Wait)
    }

    fn renew(&self, leases: &[Lease], beat: &Beat) -> Result<Vec<Lease>, FarmError> {
        self.desk.ledger().put(&Entry::of_worker(self.desk.me()), &json(beat)?)?;
        self.watch(&mut self.seen())?;
        let mut lost = Vec::new();
        for lease in leases {
            if self.desk.has_ended(lease.block, lease.attempt)? {
                lost.push(lease.clone());
            }
        }
        Ok(lost)
    }

    fn commit(&self, lease: &Lease, receipt: &Receipt) -> Result<Committed, FarmError> {
        self.desk.commit(lease, receipt)
    }

    fn fail(&self, lease: &Lease, ended: &Ended) -> Result<Fate, FarmError> {
        let fate = self.desk.end(lease, ended)?;
        self.seen().is_stale = true;
        Ok(fate)
    }

    fn progress(&self) -> Result<Progress, FarmError> {
        self.desk.progress(self.total)
    }
}

#[cfg(test)]
mod tests;
