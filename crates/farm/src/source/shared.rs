//! Workers that share nothing but a ledger: the source without a daemon.
//!
//! * A worker claims the nearest block that it believes open; of two that claim one, one succeeds. All work in one part of the job, which
//!   moves on from its front, so that whoever puts results together follows close behind.
//! * Workers watch each other's beats ([`watch`](super::watch)). Whoever finds one gone ends its tries in the ledger, and the next worker that asks
//!   takes its blocks.
//! * Whoever has nothing to do computes what another one has had for long too ([`copies`](super::copies)).
//! * Clocks of two machines are never compared, nor with the file server's: a beat that does not change is measured by the watcher's own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::copies::Copies;
use super::listing::Listing;
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
const PARTS: u64 = 128;
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
    /// Where in the part that all workers are in this one begins, from 0 to 1, and where it was sent last.
    place: f64,
    at: f64,
    /// Blocks of that part.
    reach: u64,
    /// Workers that ever joined, at the last look.
    workers: u64,
    copies: Copies,
    /// Which of those that run was looked up last.
    looked_up: usize,
    watch: Watch,
    watched: Option<Duration>,
    listed: Option<Duration>,
    /// When those that run were asked about last.
    asked: Option<Duration>,
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
    /// Goes to where this worker begins.
    fn begin(&mut self) {
        self.go_to(self.place);
    }

    /// Goes on elsewhere than it is.
    fn jump(&mut self) {
        self.go_to((self.at + GOLDEN).fract());
    }

    /// Goes to a place of what is open in the part that all workers are in, from 0 to 1: workers are spread over open blocks, and not
    /// over those that are others' by now.
    fn go_to(&mut self, place: f64) {
        let front = self.open.nearest(0).unwrap_or(0);
        let end = front + self.within(front);
        let before = (place * self.open.count(front, end) as f64) as u64;
        (self.at, self.near) = (place, self.open.nth(front, end, before).unwrap_or(front));
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
            at: 0.0,
            workers: before + 1,
            reach: reach(total, before + 1),
            copies: Copies::default(),
            looked_up: 0,
            watch: Watch::default(),
            watched: None,
            listed: None,
            asked: None,
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
        self.list(seen, true)?;
        for (block, attempt) in seen.running.clone() {
            if self.desk.holder(block, attempt)?.as_deref() == Some(name) {
                self.desk.end(&Lease::of(block, attempt), &Ended::Failed(why.into()))?;
                seen.is_stale = true;
            }
        }
        Ok(())
    }

    /// Reads what all others did; if `whole`, also what is running, and how far the job is.
    fn list(&self, seen: &mut Seen, whole: bool) -> Result<(), FarmError> {
        let start = self.clock.now();
        let listing = Listing::of(&self.desk, self.total, whole)?;
        (seen.open, seen.again) = (listing.open, listing.again);
        if let Some(whole) = listing.whole {
            seen.copies.see(whole.running.iter().copied(), start);
            (seen.running, seen.progress) = (whole.running, whole.progress);
        }
        (seen.is_stale, seen.collisions) = (false, 0);
        // At the front itself all workers would meet.
        if seen.open.nearest(0).is_some_and(|front| seen.near < front) {
            seen.begin();
        }
        seen.listed = Some(self.clock.now());
        seen.listing = self.clock.now().saturating_sub(start);
        Ok(())
    }

    /// Lists again, unless that was done a moment ago: the more seldom, the longer listing takes, and the longer it brings nothing. Who has
    /// nothing to do asks for the whole, and among few workers sooner. Tells whether it did.
    fn list_if_due(&self, seen: &mut Seen, whole: bool) -> Result<bool, FarmError> {
        let is_small = seen.workers <= MANY;
        let soonest = if whole && is_small { self.lease / 600 } else { self.lease / 60 };
        let least = seen.listing.div_f64(LISTING).clamp(soonest, self.lease / 6);
        let pause = least.max(seen.pause);
        if seen.listed.is_some_and(|last| self.clock.now() < last + pause) {
            return Ok(false);
        }
        seen.pause = (2 * pause).min(self.lease / 6);
        self.list(seen, whole)?;
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
            if !is_soon && self.list_if_due(seen, false)? {
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
                match self.list_if_due(seen, false)? {
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
                seen.jump();
            }
        }
        Ok(None)
    }

    /// Looks up some workers that have the last blocks: one whose beat was lost would never be watched.
    fn look_up(&self, seen: &mut Seen) -> Result<(), FarmError> {
        let (now, count) = (self.clock.now(), seen.running.len());
        seen.looked_up = (seen.looked_up + LOOKED_UP) % count.max(1);
        let some = seen.running.iter().cycle().skip(seen.looked_up).take(count.min(LOOKED_UP));
        for (block, attempt) in some.copied() {
            match self.desk.holder(block, attempt)? {
                Some(name) if name != self.desk.me() => seen.watch.add(name, now),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether nothing is open and the tries that ran at the last listing have ended by now: perhaps the job has, too, and the next
    /// listing, for which an idle worker waits the longer the longer it is idle, would tell. A question is three reads about one that
    /// still runs; where workers are many, they leave the ledger to those that compute.
    fn running_have_ended(&self, seen: &mut Seen) -> Result<bool, FarmError> {
        let (now, any) = (self.clock.now(), !seen.running.is_empty());
        let is_soon = seen.asked.is_some_and(|last| now < last + self.lease / 600);
        if is_soon || seen.workers > MANY || seen.open.nearest(0).is_some() {
            return Ok(false);
        }
        seen.asked = Some(now);
        while let Some(&(block, attempt)) = seen.running.last() {
            if self.desk.receipt(block)?.is_none() && !self.desk.has_ended(block, attempt)? {
                return Ok(false);
            }
            seen.running.pop();
        }
        Ok(any)
    }

    /// What there is to do.
    fn ask(&self, seen: &mut Seen) -> Result<Next, FarmError> {
        self.watch(seen)?;
        if seen.drained {
            return Ok(Next::Drained);
        }
        if seen.is_stale {
            self.list(seen, false)?;
        }
        if let Some(lease) = self.claim(seen)? {
            return Ok(Next::Block(lease));
        }
        let may_be_over = self.running_have_ended(seen)?;
        if may_be_over {
            self.list(seen, true)?;
        }
        if may_be_over || self.list_if_due(seen, true)? {
            if let Some(lease) = self.claim(seen)? {
                return Ok(Next::Block(lease));
            }
            self.look_up(seen)?;
        }
        if seen.progress.is_finished() {
            return Ok(Next::Finished);
        }
        let copy = seen.copies.take(&self.desk, self.clock.now())?;
        Ok(copy.map_or(Next::Wait, Next::Block))
    }
}

impl<L: Ledger, C: Clock> BlockSource for Shared<L, C> {
    fn next(&self) -> Result<Next, FarmError> {
        let seen = &mut *self.seen();
        let next = self.ask(seen)?;
        if let Next::Block(lease) = &next {
            seen.copies.got(lease.block, self.clock.now());
        }
        Ok(next)
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
        let committed = self.desk.commit(lease, receipt)?;
        self.seen().copies.committed(lease.block, self.clock.now());
        Ok(committed)
    }

    fn fail(&self, lease: &Lease, ended: &Ended) -> Result<Fate, FarmError> {
        let fate = self.desk.end(lease, ended)?;
        let seen = &mut *self.seen();
        seen.copies.gave_back(lease.block);
        seen.is_stale = true;
        Ok(fate)
    }

    fn has_result(&self, block: u64) -> Result<bool, FarmError> {
        Ok(self.desk.receipt(block)?.is_some())
    }

    fn progress(&self) -> Result<Progress, FarmError> {
        self.desk.progress(self.total)
    }
}

#[cfg(test)]
mod tests;
