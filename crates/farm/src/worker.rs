//! A worker: takes blocks, computes them, commits their results, and leaves nothing half done.
//!
//! ```text
//! source ─ leases ─► Work (draws blocks as it needs them) ─ bytes ─► committers: file, then receipt
//!    ▲                                                                    │
//!    └────────── renewals, three in the time of a lease ◄─────────────────┘
//! ```
//!
//! Blocks are drawn while earlier ones are computed, so that no device waits for a lease, and none is drawn while results wait to be
//! committed. At the end of a job a block may be computed by two workers: who has nothing but blocks with results computes no further.
//! Whatever ends a worker, what it holds goes to others: at once if it can say so, else when its leases run out.

mod committer;
mod held;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::desk::{Ended, Fate, Lease};
use crate::events::{Events, What};
use crate::manifest::{Block, Manifest};
use crate::source::{Beat, BlockSource, Next};
use crate::tally::Tally;
use crate::{FarmError, Results};
pub(crate) use committer::BEHIND;
use committer::Committers;
use held::Held;

/// Between two questions to a source that has nothing at the moment.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);
/// How often the beating thread looks whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often a worker that gets no more blocks of its own looks whether those that it has were another one's meanwhile.
pub(crate) const RESULTS_EVERY: Duration = Duration::from_millis(250);

/// What is computed of blocks.
pub trait Work {
    /// Computes blocks as they are drawn, several at a time if it likes, until there are none, and hands in each one's result.
    ///
    /// # Errors
    ///
    /// [`WorkError`]; blocks that were drawn and not handed in go to other workers. What `done` returns is passed on.
    fn run(
        &mut self,
        blocks: &mut (dyn Iterator<Item = (u64, Block)> + Send),
        stop: &(dyn Fn() -> bool + Sync),
        done: &mut dyn FnMut(u64, Vec<u8>) -> Result<(), WorkError>,
    ) -> Result<(), WorkError>;
}

/// Why work ended early.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// A block cannot be computed; others may be.
    #[error("block {block}: {reason}")]
    Block {
        /// Its number.
        block: u64,
        /// Why.
        reason: String,
    },
    /// This machine computes nothing any more.
    #[error("{0}")]
    Machine(String),
    /// Results are not taken any more; the worker knows why.
    #[error("results are not taken any more")]
    Closed,
}

/// What a worker is.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Its name, unique over all machines.
    pub name: String,
    /// Its devices, for people.
    pub device: String,
    /// How long a lease is.
    pub lease: Duration,
    /// How long a source that cannot be reached is asked again before the worker gives up.
    pub patience: Duration,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is left to compute.
    Finished,
    /// It was asked to leave.
    Drained,
    /// The user stopped it.
    Stopped,
}

/// A worker of a job.
pub struct Worker<'a> {
    /// Who hands out blocks.
    pub source: &'a dyn BlockSource,
    /// The blocks.
    pub manifest: &'a Manifest,
    /// Where results go.
    pub results: &'a Results,
    /// What happened.
    pub events: &'a Events,
    /// Its counters.
    pub tally: Arc<Tally>,
    /// What it is.
    pub terms: Terms,
}

/// What the worker's threads share.
struct Shift<'a> {
    worker: &'a Worker<'a>,
    held: Held,
    stop: &'a (dyn Fn() -> bool + Sync),
    /// No more blocks are drawn.
    closing: AtomicBool,
    /// Every block of this round has a result, which was another worker's.
    is_over: AtomicBool,
    error: Mutex<Option<FarmError>>,
    /// What the source said last when it had no block.
    last: Mutex<Next>,
    start: Instant,
}

impl Worker<'_> {
    /// Works until nothing is left, it is asked to leave, or `stop` says so. `watch` hears of every beat.
    ///
    /// # Errors
    ///
    /// [`FarmError`] if this machine cannot go on; what it held goes to others.
    pub fn work(
        &self,
        work: &mut dyn Work,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &(dyn Fn(&Beat) + Sync),
    ) -> Result<Outcome, FarmError> {
        let run = Shift {
            worker: self,
            held: Held::default(),
            stop,
            closing: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            error: Mutex::new(None),
            last: Mutex::new(Next::Wait),
            start: Instant::now(),
        };
        self.events.note(What::Joined, None, &self.terms.device);
        let ended = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| run.beat_until(&ended, watch));
            let _ending = Ending(&ended);
            run.all(work)
        });
        run.leave();
        self.events.note(
            What::Left,
            None,
            &outcome.as_ref().map_or_else(ToString::to_string, |o| format!("{o:?}")),
        );
        outcome
    }
}

/// Ends the beating thread when it goes out of scope, as it does in a panic.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Shift<'_> {
    /// Rounds of work, until there is no more.
    fn all(&self, work: &mut dyn Work) -> Result<Outcome, FarmError> {
        loop {
            self.is_over.store(false, Ordering::SeqCst);
            let flow = self.round(work);
            let was_over = self.is_over.load(Ordering::SeqCst);
            self.give_back(if was_over { "another worker was first" } else { "its worker ended" });
            if let Some(error) = self.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(error);
            }
            if let ControlFlow::Break(outcome) = flow? {
                return Ok(outcome);
            }
            if (self.stop)() {
                return Ok(Outcome::Stopped);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Computes blocks while there are some, and commits their results beside it.
    fn round(&self, work: &mut dyn Work) -> Result<ControlFlow<Outcome>, FarmError> {
        let ended = std::thread::scope(|scope| {
            let committers = Committers::start(scope, self);
            let mut blocks = std::iter::from_fn(|| self.draw());
            let mut done = |block, bytes| committers.take(block, bytes);
            work.run(&mut blocks, &|| self.is_closing() || self.is_over(), &mut done)
        });
        match ended {
            Ok(()) | Err(WorkError::Closed) => {}
            Err(WorkError::Block { block, reason }) => self.failed(block, reason),
            Err(WorkError::Machine(reason)) => return Err(FarmError::Work(reason)),
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(match last {
            Next::Finished => ControlFlow::Break(Outcome::Finished),
            Next::Drained => ControlFlow::Break(Outcome::Drained),
            Next::Wait | Next::Block(_) => ControlFlow::Continue(()),
        })
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst) || (self.stop)()
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// No more blocks: the worker cannot go on.
    fn close(&self, error: FarmError) {
        self.closing.store(true, Ordering::SeqCst);
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
    }

    /// The next block; none if there is none at the moment.
    fn draw(&self) -> Option<(u64, Block)> {
        if self.is_closing() || self.is_over() {
            return None;
        }
        let asked = Instant::now();
        let next = match self.patiently(|| self.worker.source.next()) {
            Ok(next) => next,
            Err(error) => {
                self.close(error);
                return None;
            }
        };
        self.worker.tally.next.add(asked.elapsed());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = next.clone();
        let Next::Block(lease) = next else { return None };
        let number = lease.block;
        self.worker.tally.copies.fetch_add(u64::from(lease.is_copy), Ordering::Relaxed);
        let text = if lease.is_copy { "a copy" } else { "" };
        self.worker.events.note(What::Leased, Some((number, lease.attempt)), text);
        self.held.add(lease);
        let block = self.worker.manifest.block(number);
        if block.is_none() {
            self.close(FarmError::Refused(format!(
                "the source hands out block {number}, and the job has {}: the server has another job's blocks",
                self.worker.manifest.len()
            )));
        }
        Some((number, block?))
    }

    /// Asks again while a source cannot be reached, as long as the terms allow.
    fn patiently<T>(&self, ask: impl Fn() -> Result<T, FarmError>) -> Result<T, FarmError> {
        let start = Instant::now();
        let mut pause = PAUSE;
        loop {
            match ask() {
                Err(FarmError::Server(text))
                    if start.elapsed() < self.worker.terms.patience && !self.is_closing() =>
                {
                    self.worker.tally.trouble.fetch_add(1, Ordering::Relaxed);
                    self.worker.events.note(What::Trouble, None, &text);
                    std::thread::sleep(pause);
                    pause = (2 * pause).min(Duration::from_secs(2));
                }
                other => return other,
            }
        }
    }

    /// A block cannot be computed here.
    fn failed(&self, block: u64, reason: String) {
        let Some((lease, _)) = self.held.remove(block) else { return };
        self.worker.tally.failed.fetch_add(1, Ordering::Relaxed);
        self.worker.events.note(What::Failed, Some((block, lease.attempt)), &reason);
        self.end(&lease, &Ended::Failed(reason));
    }

    /// What is held and not committed goes to others.
    fn give_back(&self, why: &str) {
        for lease in self.held.leases() {
            self.release(&lease, why);
        }
    }

    fn release(&self, lease: &Lease, why: &str) {
        self.held.remove(lease.block);
        self.worker.tally.released.fetch_add(1, Ordering::Relaxed);
        self.worker.events.note(What::Released, Some((lease.block, lease.attempt)), why);
        self.end(lease, &Ended::Released(why.into()));
    }

    fn end(&self, lease: &Lease, ended: &Ended) {
        // If it cannot be said, the lease runs out.
        if let Ok(Fate::Parked) = self.worker.source.fail(lease, ended) {
            self.worker.events.note(What::Failed, Some((lease.block, lease.attempt)), "parked");
        }
    }

    /// Renews leases until the end.
    fn beat_until(&self, ended: &AtomicBool, watch: &(dyn Fn(&Beat) + Sync)) {
        let mut number = 0;
        let (mut due, mut looks) = (Duration::ZERO, Duration::ZERO);
        while !ended.load(Ordering::SeqCst) {
            let now = self.start.elapsed();
            if now >= due {
                due = now + self.worker.terms.lease / 3;
                number += 1;
                let beat = self.beat(number, false);
                self.renew(&beat);
                watch(&beat);
                self.look_for_results();
            }
            if now >= looks && self.is_near_the_end() {
                looks = now + RESULTS_EVERY;
                self.look_for_results();
            }
            let busy = if self.held.is_empty() { 0 } else { LOOK_EVERY.as_millis() as u64 };
            self.worker.tally.busy_ms.fetch_add(busy, Ordering::Relaxed);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Whether there was no block at the last question, or one that it has is a copy.
    fn is_near_the_end(&self) -> bool {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) == Next::Wait
            || self.held.leases().iter().any(|lease| lease.is_copy)
    }

    /// Ends a round of which nothing is left but blocks that have another worker's results.
    fn look_for_results(&self) {
        let leases = self.held.leases();
        // A source that does not answer is asked again.
        let has_result =
            |lease: &Lease| self.worker.source.has_result(lease.block).is_ok_and(|has| has);
        if !leases.is_empty() && leases.iter().all(has_result) {
            self.is_over.store(true, Ordering::SeqCst);
        }
    }

    fn renew(&self, beat: &Beat) {
        let leases = self.held.leases();
        match self.worker.source.renew(&leases, beat) {
            Ok(lost) => lost.iter().filter(|lease| self.held.lose(lease)).for_each(|lease| {
                self.worker.tally.lost.fetch_add(1, Ordering::Relaxed);
                let about = Some((lease.block, lease.attempt));
                self.worker.events.note(What::Lost, about, "another worker may have it");
            }),
            Err(error) => {
                self.worker.tally.trouble.fetch_add(1, Ordering::Relaxed);
                self.worker.events.note(What::Trouble, None, &error.to_string());
            }
        }
    }

    fn beat(&self, beat: u64, left: bool) -> Beat {
        let tally = &self.worker.tally;
        let holds: Vec<u64> = self.held.leases().into_iter().map(|lease| lease.block).collect();
        tally.held.store(holds.len() as u64, Ordering::Relaxed);
        Beat {
            beat,
            device: self.worker.terms.device.clone(),
            holds,
            done: tally.committed.load(Ordering::Relaxed),
            failed: tally.failed.load(Ordering::Relaxed),
            up_s: self.start.elapsed().as_secs_f64(),
            busy_s: tally.busy_ms.load(Ordering::Relaxed) as f64 * 1e-3,
            left,
        }
    }

    /// Says goodbye; if it cannot, others find out.
    fn leave(&self) {
        let _ = self.worker.source.renew(&[], &self.beat(u64::MAX, true));
    }
}
