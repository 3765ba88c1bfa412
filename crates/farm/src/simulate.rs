//! A farm of any size on one machine: the same source and ledger, under a clock that is set by hand.
//!
//! Cards are events in a queue. As a [worker](crate::worker) does, one asks for a block, computes for a time that is drawn, asks for the
//! next one meanwhile, and has results written and committed beside that; it beats three times in a lease; and some die. The file system
//! is a server that transfers so many bytes a second and answers late; the ledger is one that does so many operations a second. What
//! they are asked is not modelled: it is counted while [`Shared`] works.

mod card;
mod store;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use crate::FarmError;
use crate::clock::Set;
use crate::desk::{Committed, Desk, Ended};
use crate::ledger::{About, Entry, Kind, Ledger};
use crate::source::{BlockSource, Next, Shared};
use crate::worker::{PAUSE, RESULTS_EVERY};
use card::Card;
use store::{Counted, Server};

/// Most cards and blocks.
const MOST: [u64; 2] = [100_000, 1 << 24];
/// The largest number that something may be; it keeps the clock from its end.
const LARGEST: f64 = 1e12;
/// When nothing happens any more: the clock counts nanoseconds.
const NEVER: Duration = Duration::from_secs(10_000_000_000);
/// Seconds of a hundred years.
const YEARS_S: f64 = 3.2e9;

/// A farm to simulate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Farm {
    /// Cards, each a worker.
    pub cards: usize,
    /// Blocks.
    pub blocks: u64,
    /// Seconds that a block takes on average.
    pub block_s: f64,
    /// Standard deviation of blocks' times, as a part of the average.
    pub spread: f64,
    /// Seconds from a worker's start to its first block.
    pub start_s: f64,
    /// Seconds of a lease.
    pub lease_s: f64,
    /// Part of the workers that die, at any time of an ideal run.
    pub deaths: f64,
    /// Seconds after which the site's scheduler has started a dead worker anew.
    pub return_s: f64,
    /// Bytes of a result.
    pub result_bytes: u64,
    /// Bytes a second that the file system takes from all together.
    pub store_bytes_per_s: f64,
    /// Seconds that the file system takes to answer.
    pub store_s: f64,
    /// Operations a second that the ledger does for all together.
    pub ledger_per_s: f64,
    /// Seconds that the ledger takes to answer.
    pub ledger_s: f64,
    /// Blocks a second that the merge puts together, beside the work.
    pub merge_per_s: f64,
    /// Seed of all that is drawn.
    pub seed: u64,
}

/// How a simulated farm went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FarmRun {
    /// Seconds until the last block was committed.
    pub seconds: f64,
    /// Seconds of as many cards that never wait, start or die.
    pub ideal_s: f64,
    /// Ideal seconds over seconds.
    pub efficiency: f64,
    /// Seconds until the merge had the last block.
    pub merged_s: f64,
    /// Blocks that were committed.
    pub committed: u64,
    /// Results that came after another.
    pub late: u64,
    /// Blocks that a second worker began beside the first.
    pub copies: u64,
    /// Workers that died.
    pub died: usize,
    /// Card-seconds that were spent on results that did not count.
    pub lost_s: f64,
    /// Operations of the ledger.
    pub operations: u64,
    /// Part of the time in which the ledger was busy.
    pub ledger_busy: f64,
    /// Part of the time in which the file system was busy.
    pub store_busy: f64,
    /// Bytes of the ledger's entries.
    pub ledger_bytes: u64,
    /// Longest time from a death until every block of the dead was another one's.
    pub recovery_s: f64,
}

/// What happens next to a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Start,
    Ask,
    /// The block that was asked for is there.
    Drawn,
    /// A block is computed.
    Computed(u64),
    /// A block's result is written.
    Written(u64),
    Beat,
    /// It looks whether what it has is another one's by now.
    Look,
    Die,
}

/// When, in which order among equals, to which card in which life, what.
type Due = Reverse<(Duration, u64, usize, u32, Event)>;

struct Simulation<'a> {
    farm: &'a Farm,
    clock: Set,
    ledger: Arc<Counted>,
    desk: Server,
    store: Server,
    cards: Vec<Card>,
    due: BinaryHeap<Due>,
    number: u64,
    random: StdRng,
    /// When each block was committed, in that order.
    commits: Vec<Duration>,
    run: FarmRun,
    /// Blocks whose worker died, and when.
    orphans: Vec<(u64, Duration)>,
}

impl Farm {
    /// Runs the farm until every block is committed.
    ///
    /// # Errors
    ///
    /// [`FarmError::Setting`] if a number is out of range.
    pub fn run(&self) -> Result<FarmRun, FarmError> {
        self.check()?;
        let mut simulation = Simulation::new(self);
        while let Some(Reverse((now, _, card, life, event))) = simulation.due.pop() {
            simulation.clock.to(now);
            if simulation.cards[card].life == life {
                simulation.happen(now, card, event)?;
            }
            if simulation.run.committed == self.blocks {
                break;
            }
        }
        simulation.end()
    }

    fn check(&self) -> Result<(), FarmError> {
        let counts = [("cards", self.cards as u64, MOST[0]), ("blocks", self.blocks, MOST[1])];
        for (name, count, most) in counts {
            if !(1..=most).contains(&count) {
                return Err(FarmError::Setting(format!("{name} must be 1 to {most}, got {count}")));
            }
        }
        let positive = [
            ("block", self.block_s),
            ("lease", self.lease_s),
            ("store bytes", self.store_bytes_per_s),
            ("ledger operations", self.ledger_per_s),
            ("merge blocks", self.merge_per_s),
        ];
        let not_negative = [
            ("spread", self.spread),
            ("start", self.start_s),
            ("deaths", self.deaths),
            ("return", self.return_s),
            ("store latency", self.store_s),
            ("ledger latency", self.ledger_s),
        ];
        let wrong = |(name, value, what): (&str, f64, &str)| {
            Err(FarmError::Setting(format!("{name} must be {what}, got {value}")))
        };
        for (name, value) in positive {
            if !(value > 0.0 && value <= LARGEST) {
                return wrong((name, value, "more than 0 and at most 1e12"));
            }
        }
        for (name, value) in not_negative {
            if !(0.0..=LARGEST).contains(&value) {
                return wrong((name, value, "0 to 1e12"));
            }
        }
        match self.ideal_s() {
            s if s > YEARS_S => Err(FarmError::Setting(format!(
                "{} blocks of {} s keep {} cards busy for more than a hundred years",
                self.blocks, self.block_s, self.cards
            ))),
            _ => Ok(()),
        }
    }

    fn ideal_s(&self) -> f64 {
        self.blocks as f64 * self.block_s / self.cards as f64
    }
}

fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).map_or(NEVER, |time| time.min(NEVER))
}

impl<'a> Simulation<'a> {
    fn new(farm: &'a Farm) -> Self {
        let mut simulation = Self {
            farm,
            clock: Set::default(),
            ledger: Arc::default(),
            desk: Server::new(1.0 / farm.ledger_per_s, farm.ledger_s),
            store: Server::new(1.0 / farm.store_bytes_per_s, farm.store_s),
            cards: (0..farm.cards).map(Card::new).collect(),
            due: BinaryHeap::new(),
            number: 0,
            random: StdRng::seed_from_u64(farm.seed),
            commits: Vec::new(),
            run: FarmRun::none(farm),
            orphans: Vec::new(),
        };
        for card in 0..farm.cards {
            simulation.at(seconds(farm.start_s), card, Event::Start);
            if simulation.random.random_bool(farm.deaths.min(1.0)) {
                let when = farm.start_s + simulation.random.random_range(0.0..1.0) * farm.ideal_s();
                simulation.at(seconds(when), card, Event::Die);
            }
        }
        simulation
    }

    fn at(&mut self, when: Duration, card: usize, event: Event) {
        self.number += 1;
        let life = self.cards[card].life;
        self.due.push(Reverse((when.min(NEVER), self.number, card, life, event)));
    }

    /// Something happens to a card.
    fn happen(&mut self, now: Duration, card: usize, event: Event) -> Result<(), FarmError> {
        match event {
            Event::Start => self.start(now, card),
            Event::Ask => self.ask(now, card),
            Event::Drawn => {
                self.go_on(now, card);
                Ok(())
            }
            Event::Computed(block) => {
                self.computed(now, card, block);
                Ok(())
            }
            Event::Written(block) => self.commit(now, card, block),
            Event::Beat => self.beat(now, card),
            Event::Look => self.look(now, card),
            Event::Die => {
                self.die(now, card);
                Ok(())
            }
        }
    }

    /// The time at which the ledger has done what it was asked since the last call.
    fn answered(&mut self, now: Duration) -> Duration {
        let operations = self.ledger.take();
        self.run.operations += operations;
        self.desk.serve(now, operations as f64)
    }

    fn start(&mut self, now: Duration, card: usize) -> Result<(), FarmError> {
        let desk = Desk::new(self.ledger.clone(), self.cards[card].name());
        let (clock, lease) = (self.clock.clone(), seconds(self.farm.lease_s));
        self.cards[card].source = Some(Shared::join(desk, clock, self.farm.blocks, lease)?);
        let joined = self.answered(now);
        self.at(joined, card, Event::Ask);
        self.at(joined, card, Event::Beat);
        Ok(())
    }

    fn ask(&mut self, now: Duration, card: usize) -> Result<(), FarmError> {
        let Some(source) = &self.cards[card].source else { return Ok(()) };
        let next = source.next()?;
        let answered = self.answered(now);
        match next {
            Next::Block(lease) => {
                self.found(lease.block, now);
                if lease.is_copy {
                    self.run.copies += 1;
                    self.at(answered + RESULTS_EVERY, card, Event::Look);
                }
                self.cards[card].drawn = Some((lease, answered));
                self.at(answered, card, Event::Drawn);
            }
            // A worker ends what it has before it asks again.
            Next::Wait if self.cards[card].waits() => {
                self.at(answered + RESULTS_EVERY, card, Event::Look);
            }
            Next::Wait => self.at(answered + PAUSE, card, Event::Ask),
            Next::Finished | Next::Drained => {}
        }
        Ok(())
    }

    /// Begins the block that was drawn, if the card is free and its results do not lag, and asks for the next one.
    fn go_on(&mut self, now: Duration, card: usize) {
        if let Some(lease) = self.cards[card].begin(now) {
            let (block, is_copy) = (lease.block, lease.is_copy);
            let took = self.draw();
            self.at(now + took, card, Event::Computed(block));
            match is_copy {
                // Nothing else is open.
                true => drop(self.cards[card].waits()),
                false => self.at(now, card, Event::Ask),
            }
        }
    }

    fn computed(&mut self, now: Duration, card: usize, block: u64) {
        if self.cards[card].computed(block) {
            let done = self.store.serve(now, self.farm.result_bytes as f64);
            self.at(done, card, Event::Written(block));
        }
        self.go_on(now, card);
    }

    /// A block's time: log-normal, as times of work with a heavy end are.
    fn draw(&mut self) -> Duration {
        let variance = (1.0 + self.farm.spread.powi(2)).ln();
        let [u, v] = [0, 1].map(|_| self.random.random_range(f64::MIN_POSITIVE..1.0));
        let normal = (-2.0 * f64::ln(u)).sqrt() * (std::f64::consts::TAU * v).cos();
        let mean = self.farm.block_s.ln() - variance / 2.0;
        seconds((mean + variance.sqrt() * normal).exp())
    }

    fn commit(&mut self, now: Duration, card: usize, block: u64) -> Result<(), FarmError> {
        let bytes = self.farm.result_bytes;
        let Some((lease, receipt)) = self.cards[card].written(block, now, bytes) else {
            return Ok(());
        };
        let Some(source) = &self.cards[card].source else { return Ok(()) };
        let committed = source.commit(&lease, &receipt)?;
        let answered = self.answered(now);
        match committed {
            Committed::First => {
                self.run.committed += 1;
                self.commits.push(answered);
            }
            Committed::Same(_) | Committed::Different(_) => {
                self.run.late += 1;
                self.run.lost_s += receipt.seconds;
            }
        }
        self.go_on(now, card);
        self.ask_again(answered, card);
        Ok(())
    }

    /// Asks again, if nothing was open and everything is done since.
    fn ask_again(&mut self, now: Duration, card: usize) {
        if self.cards[card].is_through() {
            self.at(now + PAUSE, card, Event::Ask);
        }
    }

    /// Gives up what it has if all of that is another one's by now.
    fn look(&mut self, now: Duration, card: usize) -> Result<(), FarmError> {
        let leases = self.cards[card].leases();
        let Some(source) = &self.cards[card].source else { return Ok(()) };
        let mut is_over = true;
        for lease in &leases {
            is_over = is_over && source.has_result(lease.block)?;
        }
        if is_over {
            for lease in &leases {
                source.fail(lease, &Ended::Released("another worker was first".into()))?;
            }
        }
        let answered = self.answered(now);
        if !is_over {
            self.at(answered + RESULTS_EVERY, card, Event::Look);
            return Ok(());
        }
        for (_, since) in self.cards[card].give_up() {
            self.run.lost_s += now.saturating_sub(since).as_secs_f64();
        }
        self.ask_again(answered, card);
        Ok(())
    }

    fn beat(&mut self, now: Duration, card: usize) -> Result<(), FarmError> {
        let one = &mut self.cards[card];
        let (leases, beat) = (one.leases(), one.beat());
        let Some(source) = &one.source else { return Ok(()) };
        source.renew(&leases, &beat)?;
        self.answered(now);
        self.at(now + seconds(self.farm.lease_s / 3.0), card, Event::Beat);
        Ok(())
    }

    /// A worker is gone with what it holds; the scheduler starts another one in its place.
    fn die(&mut self, now: Duration, card: usize) {
        self.run.died += 1;
        for (lease, since) in self.cards[card].die() {
            self.run.lost_s += now.saturating_sub(since).as_secs_f64();
            self.orphans.push((lease.block, now));
        }
        self.at(now + seconds(self.farm.return_s + self.farm.start_s), card, Event::Start);
    }

    /// A block is somebody's again.
    fn found(&mut self, block: u64, now: Duration) {
        if let Some(i) = self.orphans.iter().position(|(orphan, _)| *orphan == block) {
            let (_, since) = self.orphans.swap_remove(i);
            let took = now.saturating_sub(since).as_secs_f64();
            self.run.recovery_s = self.run.recovery_s.max(took);
        }
    }

    fn end(mut self) -> Result<FarmRun, FarmError> {
        let last = self.commits.iter().max().copied().unwrap_or_default();
        let mut merged = Duration::ZERO;
        self.commits.sort_unstable();
        for commit in &self.commits {
            merged = merged.max(*commit) + seconds(1.0 / self.farm.merge_per_s);
        }
        let whole = last.as_secs_f64().max(f64::MIN_POSITIVE);
        self.run.seconds = last.as_secs_f64();
        self.run.merged_s = merged.as_secs_f64();
        self.run.efficiency = self.run.ideal_s / whole;
        self.run.ledger_busy = self.desk.busy().as_secs_f64() / whole;
        self.run.store_busy = self.store.busy().as_secs_f64() / whole;
        self.run.ledger_bytes = self.ledger.bytes()?;
        Ok(self.run)
    }
}

impl FarmRun {
    fn none(farm: &Farm) -> Self {
        Self {
            seconds: 0.0,
            ideal_s: farm.ideal_s(),
            efficiency: 0.0,
            merged_s: 0.0,
            committed: 0,
            late: 0,
            copies: 0,
            died: 0,
            lost_s: 0.0,
            operations: 0,
            ledger_busy: 0.0,
            store_busy: 0.0,
            ledger_bytes: 0,
            recovery_s: 0.0,
        }
    }
}

#[cfg(test)]
mod tests;
