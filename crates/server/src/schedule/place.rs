//! A device as the scheduler sees it: what it can do, what it has, whether it waits.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::queue::{Job, Kindred, Limit};

/// What a device is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It waits for work, since then.
    Idle(Instant),
    /// It works.
    Busy,
    /// It was given up, for this reason.
    Gone(String),
}

/// A batch that a device has.
pub(crate) struct Held<P> {
    /// Its number.
    pub id: u64,
    /// Its requests.
    pub jobs: Vec<Job<P>>,
    /// Since when it computes; `None` while it is only prepared.
    pub began: Option<Instant>,
    /// Time that it was seen to compute: a process that is stopped has no devices that hang.
    pub computed: Duration,
}

/// A device.
pub(crate) struct Place<P, C> {
    /// What it is at.
    pub condition: Condition,
    /// Whether it was woken and has not looked yet.
    pub called: bool,
    /// Until when it waits for more requests to come.
    pub lingers: Option<Instant>,
    /// The largest batch of each model that it has.
    pub limits: BTreeMap<u64, Limit>,
    /// What it is to do beside batches.
    pub commands: VecDeque<C>,
    /// Batches: those that compute, one a hand, and perhaps one that is prepared.
    pub held: VecDeque<Held<P>>,
    /// How often its executor broke since it last did a batch.
    pub breaks: usize,
}

impl<P, C> Place<P, C> {
    pub(crate) fn new() -> Self {
        Self {
            condition: Condition::Busy,
            called: false,
            lingers: None,
            limits: BTreeMap::new(),
            commands: VecDeque::new(),
            held: VecDeque::new(),
            breaks: 0,
        }
    }

    pub(crate) fn gone(&self) -> bool {
        matches!(self.condition, Condition::Gone(_))
    }

    /// Whether it waits for work of this model.
    pub(crate) fn idle_for(&self, model: u64) -> bool {
        matches!(self.condition, Condition::Idle(_)) && self.serves(model)
    }

    /// Whether it has this model.
    pub(crate) fn serves(&self, model: u64) -> bool {
        !self.gone() && self.limits.contains_key(&model)
    }

    /// Whether a batch is prepared and waits.
    pub(crate) fn has_prepared(&self) -> bool {
        self.held.iter().any(|held| held.began.is_none())
    }

    /// Whether a hand is free for so many pixels of a model, beside the batches that compute; it is if none does.
    /// A batch that is `done` needs none any more.
    pub(crate) fn has_hand(
        &self,
        model: u64,
        pixels: usize,
        limit: Limit,
        done: Option<u64>,
    ) -> bool
    where
        P: Kindred,
    {
        let at_work = |held: &&Held<P>| held.began.is_some() && Some(held.id) != done;
        let computing = self.held.iter().filter(at_work);
        let (mut hands, mut all) = (0, pixels);
        for job in computing.map(|held| &held.jobs) {
            hands += 1;
            all = job.iter().fold(all, |all, job| all.saturating_add(job.pixels));
            // How much of two models a device holds nobody has tried.
            if job.iter().any(|job| job.what.model() != model) {
                return false;
            }
        }
        hands == 0 || (hands < limit.hands && all <= limit.most)
    }

    /// Takes a batch out.
    pub(crate) fn release(&mut self, id: u64) -> Option<Held<P>> {
        let at = self.held.iter().position(|held| held.id == id)?;
        self.held.remove(at)
    }

    /// Takes out a batch that does not compute yet.
    pub(crate) fn release_prepared(&mut self) -> Option<Held<P>> {
        let at = self.held.iter().position(|held| held.began.is_none())?;
        self.held.remove(at)
    }
}
