//! Requests that wait: lanes of such as can share a batch, and those to be tried again alone.

use std::collections::BTreeMap;
use std::time::Instant;

use super::owed::Owed;

/// Tells which requests can share a batch.
pub(crate) trait Kindred {
    /// Whether one batch may hold both.
    fn kindred(&self, other: &Self) -> bool;

    /// The number of its model.
    fn model(&self) -> u64;
}

/// Where a request stands: by priority, 0 first, then by age.
pub(crate) type Turn = (u32, u64);

/// A request on its way.
pub(crate) struct Job<P> {
    /// Its place in the queue.
    pub turn: Turn,
    /// When it came.
    pub since: Instant,
    /// Until when it may wait.
    pub deadline: Option<Instant>,
    /// Items of its batch axis.
    pub items: usize,
    /// Pixels of all its items.
    pub pixels: usize,
    /// How often it was in a batch that failed.
    pub tries: usize,
    /// The device that failed last while it had it.
    pub avoid: Option<usize>,
    /// What is asked, and who waits for it.
    pub what: P,
}

impl<P> Job<P> {
    pub(crate) fn expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// Requests that can share a batch, those that are next first.
pub(crate) struct Lane<P> {
    jobs: BTreeMap<Turn, Job<P>>,
    items: usize,
}

/// How large a batch may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Items.
    pub items: usize,
    /// Pixels, unless a request alone has more.
    pub pixels: usize,
    /// Pixels of the largest request, and of all batches that are computed at once.
    pub most: usize,
    /// Batches that are computed at once.
    pub hands: usize,
}

impl Limit {
    /// What of a batch a hand that is free begins with: to wait for a full one would leave it idle.
    pub(crate) fn half(self) -> Self {
        Self { items: self.items.div_ceil(2), pixels: self.pixels.div_ceil(2), ..self }
    }
}

impl<P: Kindred> Lane<P> {
    fn new() -> Self {
        Self { jobs: BTreeMap::new(), items: 0 }
    }

    /// Items that wait.
    pub(crate) fn items(&self) -> usize {
        self.items
    }

    /// The one that is next.
    pub(crate) fn head(&self) -> Option<&Job<P>> {
        self.jobs.first_key_value().map(|(_, job)| job)
    }

    /// Whether one of those that wait has a deadline.
    pub(crate) fn is_hurried(&self) -> bool {
        self.jobs.values().any(|job| job.deadline.is_some())
    }

    /// Items of the largest batch that could be made of what waits.
    pub(crate) fn fill(&self, limit: Limit) -> (usize, bool) {
        let (mut items, mut pixels) = (0, 0_usize);
        for job in self.jobs.values() {
            if items > 0 && !fits(items, pixels, job, limit) {
                return (items, true);
            }
            items += job.items;
            pixels = pixels.saturating_add(job.pixels);
        }
        (items, items >= limit.items || pixels >= limit.pixels)
    }

    /// Takes those that are next: up to `share` items, within the limit, but at least one.
    fn take(&mut self, share: usize, limit: Limit) -> Vec<Job<P>> {
        let mut taken: Vec<Job<P>> = Vec::new();
        let (mut items, mut pixels) = (0, 0_usize);
        while let Some(entry) = self.jobs.first_entry() {
            let job = entry.get();
            if items > 0 && (items >= share || !fits(items, pixels, job, limit)) {
                break;
            }
            items += job.items;
            pixels = pixels.saturating_add(job.pixels);
            taken.push(entry.remove());
        }
        self.items -= items;
        taken
    }
}

fn fits<P>(items: usize, pixels: usize, job: &Job<P>, limit: Limit) -> bool {
    items.saturating_add(job.items) <= limit.items
        && pixels.saturating_add(job.pixels) <= limit.pixels
}

/// All that waits.
pub(crate) struct Queue<P> {
    lanes: Vec<Lane<P>>,
    /// Each of these was there when a device failed; alone, the one at fault is found.
    suspects: Vec<Job<P>>,
    len: usize,
    /// Answers to each model's clients, who are likely to ask again.
    owed: BTreeMap<u64, Owed>,
}

impl<P: Kindred> Queue<P> {
    pub(crate) fn new() -> Self {
        Self { lanes: Vec::new(), suspects: Vec::new(), len: 0, owed: BTreeMap::new() }
    }

    /// Requests that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Requests for this model that wait.
    pub(crate) fn of_model(&self, model: u64) -> usize {
        let of = |lane: &&Lane<P>| lane.head().is_some_and(|job| job.what.model() == model);
        let lanes: usize = self.lanes.iter().filter(of).map(|lane| lane.jobs.len()).sum();
        lanes + self.suspects.iter().filter(|job| job.what.model() == model).count()
    }

    /// What is owed to a model's clients.
    pub(crate) fn owed(&mut self, model: u64) -> &mut Owed {
        self.owed.entry(model).or_default()
    }

    /// A model that is not served any more.
    pub(crate) fn forget(&mut self, model: u64) {
        self.owed.remove(&model);
    }

    /// A request, new or to be tried again. Its turn is its own, so that one that comes back is next.
    pub(crate) fn push(&mut self, job: Job<P>) {
        self.len += 1;
        if job.tries > 0 {
            self.suspects.push(job);
            return;
        }
        let kindred = |lane: &Lane<P>| lane.head().is_some_and(|head| head.what.kindred(&job.what));
        let at = self.lanes.iter().position(kindred).unwrap_or_else(|| {
            self.lanes.push(Lane::new());
            self.lanes.len() - 1
        });
        let lane = &mut self.lanes[at];
        lane.items += job.items;
        lane.jobs.insert(job.turn, job);
    }

    /// The lane whose first request is next among those that `serves` can do.
    pub(crate) fn next_lane(&self, serves: impl Fn(u64) -> bool) -> Option<usize> {
        let heads = self.lanes.iter().enumerate().filter_map(|(at, lane)| Some((lane.head()?, at)));
        let able = heads.filter(|(head, _)| serves(head.what.model()));
        able.min_by_key(|(head, _)| head.turn).map(|(_, at)| at)
    }

    /// A lane.
    pub(crate) fn lane(&self, at: usize) -> &Lane<P> {
        &self.lanes[at]
    }

    /// Takes a batch off a lane.
    pub(crate) fn take(&mut self, at: usize, share: usize, limit: Limit) -> Vec<Job<P>> {
        let taken = self.lanes[at].take(share, limit);
        self.len -= taken.len();
        if self.lanes[at].jobs.is_empty() {
            self.lanes.swap_remove(at);
        }
        taken
    }

    /// A request to be tried again, if one `fits`.
    pub(crate) fn suspect(&self, fits: impl Fn(&Job<P>) -> bool) -> Option<Turn> {
        self.suspects.iter().find(|job| fits(job)).map(|job| job.turn)
    }

    /// Takes one out, if it still waits.
    pub(crate) fn remove(&mut self, turn: Turn) -> Option<Job<P>> {
        if let Some(at) = self.suspects.iter().position(|job| job.turn == turn) {
            self.len -= 1;
            return Some(self.suspects.swap_remove(at));
        }
        let at = self.lanes.iter().position(|lane| lane.jobs.contains_key(&turn))?;
        let job = self.lanes[at].jobs.remove(&turn)?;
        self.lanes[at].items -= job.items;
        self.len -= 1;
        if self.lanes[at].jobs.is_empty() {
            self.lanes.swap_remove(at);
        }
        Some(job)
    }

    /// Takes out all for which this holds.
    pub(crate) fn drain(&mut self, gone: impl Fn(&Job<P>) -> bool) -> Vec<Job<P>> {
        let lanes = self.lanes.iter().flat_map(|lane| lane.jobs.values());
        let all = lanes.chain(&self.suspects).filter(|job| gone(job));
        let turns: Vec<Turn> = all.map(|job| job.turn).collect();
        turns.into_iter().filter_map(|turn| self.remove(turn)).collect()
    }
}
