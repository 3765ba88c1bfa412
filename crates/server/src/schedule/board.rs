//! The scheduler's rules, without threads: who takes what, and what becomes of a batch that fails.
//!
//! - **One queue for all devices, late binding.** A batch is made when a device asks, of what waits then.
//! - **Spread.** Where k devices are idle, each takes a k-th of what waits.
//! - **No padding.** A batch holds requests of one model and shape, the one whose turn is next decides which; its limit is in pixels.
//! - **Hands.** A device may compute several batches at once. A hand that is free begins with half of a full batch, unless a device is idle.
//! - **Prepared ahead.** While batches compute, the next one is prepared, but only if it is full and no device is idle, since otherwise later
//!   requests could still join it. An idle device takes over what another has only prepared.
//! - **A fault costs no request.** Those of a device that fails go back, with their old turn. What was in a batch that broke an executor is
//!   tried alone, elsewhere if there is an elsewhere, at most [`TRIES`] times.

use std::time::{Duration, Instant};

use super::place::{Condition, Held, Place};
use super::queue::{Job, Kindred, Limit, Queue, Turn};
use super::refusal::Refusal;
use crate::model::Fault;

/// How often a request is tried.
pub(crate) const TRIES: usize = 3;
/// How often in a row a device's executor may break.
const BREAKS: usize = 3;

/// What a device is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Try this request again, alone.
    Retry(Turn),
    /// Take so many items of that lane.
    Take { lane: usize, share: usize },
    /// Wait until then: more are about to come.
    Linger(Instant),
    /// Nothing waits for it.
    Nothing,
}

/// A batch for a device, and what waited too long to be in it.
pub(crate) struct Given<P> {
    /// Its number.
    pub id: u64,
    /// Its requests.
    pub jobs: Vec<P>,
    /// Those whose deadline is past.
    pub expired: Vec<Job<P>>,
    /// Whether it is to be computed at once, or only prepared.
    pub begun: bool,
}

/// What becomes of a batch that was prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// It is computed from now on.
    Begun,
    /// Its device has no hand for it yet.
    Waits,
    /// It is this device's no more.
    Gone,
}

/// A request that is given up, and what its client is told.
pub(crate) type Refused<P> = (Job<P>, Refusal);

/// All that waits and all who work.
pub(crate) struct Board<P, C> {
    /// What waits.
    pub queue: Queue<P>,
    /// The devices.
    pub places: Vec<Place<P, C>>,
    /// Most requests that may wait.
    pub capacity: usize,
    /// Whether no new work is taken.
    pub closing: bool,
    /// Names of the devices.
    names: Vec<String>,
    numbers: u64,
}

impl<P: Kindred + Clone, C> Board<P, C> {
    pub(crate) fn new(names: Vec<String>, capacity: usize) -> Self {
        let places = names.iter().map(|_| Place::new()).collect();
        Self { queue: Queue::new(), places, capacity, closing: false, names, numbers: 0 }
    }

    /// Pixels of the largest request of a model that a device can do; `None` if none has the model.
    pub(crate) fn most(&self, model: u64) -> Option<usize> {
        let alive = self.places.iter().filter(|place| !place.gone());
        alive.filter_map(|place| place.limits.get(&model)).map(|limit| limit.most).max()
    }

    /// The next number of a request or a batch.
    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Whether requests of a model wait or are computed.
    pub(crate) fn has_work(&self, model: u64) -> bool {
        let held = self.places.iter().flat_map(|place| &place.held).flat_map(|held| &held.jobs);
        self.queue.of_model(model) > 0 || held.into_iter().any(|job| job.what.model() == model)
    }

    /// Whether nothing waits and nothing is computed.
    pub(crate) fn quiet(&self) -> bool {
        self.queue.len() == 0 && self.places.iter().all(|place| place.held.is_empty())
    }

    /// Whether a device may try this request again: another than the last one, if there is another.
    fn may_retry(&self, device: usize, job: &Job<P>) -> bool {
        let able = |place: &Place<P, C>| place.serves(job.what.model());
        let others = self.places.iter().enumerate();
        let elsewhere = || others.filter(|&(at, _)| at != device).any(|(_, place)| able(place));
        able(&self.places[device]) && (job.avoid != Some(device) || !elsewhere())
    }

    fn decide(&mut self, device: usize, now: Instant) -> Decision {
        if let Some(turn) = self.queue.suspect(|job| self.may_retry(device, job)) {
            return Decision::Retry(turn);
        }
        let place = &self.places[device];
        let Some(at) = self.queue.next_lane(|model| place.serves(model)) else {
            return Decision::Nothing;
        };
        let lane = self.queue.lane(at);
        let Some(head) = lane.head() else { return Decision::Nothing };
        let (model, since, items) = (head.what.model(), head.since, lane.items());
        let full = lane.fill(place.limits[&model]).1;
        let idle = self.places.iter().filter(|place| place.idle_for(model)).count().max(1);
        let idle_since = match place.condition {
            Condition::Idle(idle_since) => idle_since,
            _ => now,
        };
        let owed = self.queue.owed(model);
        let longest = since.max(idle_since) + owed.window();
        let share = items.div_ceil(idle);
        match owed.expected(now) {
            Some((more, until)) if !full && now < until.min(longest) => {
                let share = (items + more).div_ceil(idle);
                if items >= share {
                    Decision::Take { lane: at, share }
                } else {
                    Decision::Linger(until.min(longest))
                }
            }
            Some((more, _)) if full => {
                Decision::Take { lane: at, share: (items + more).div_ceil(idle) }
            }
            _ => Decision::Take { lane: at, share },
        }
    }

    /// What this device does next, if there is anything: a batch, else until when it should linger.
    pub(crate) fn hand(
        &mut self,
        device: usize,
        now: Instant,
    ) -> Result<Given<P>, Option<Instant>> {
        let jobs = match self.decide(device, now) {
            Decision::Retry(turn) => self.queue.remove(turn).into_iter().collect(),
            Decision::Take { lane, share } => {
                let model = self.queue.lane(lane).head().map(|job| job.what.model());
                let limit = model.and_then(|model| self.places[device].limits.get(&model));
                let limit =
                    limit.copied().unwrap_or(Limit { items: 1, pixels: 0, most: 0, hands: 1 });
                self.queue.take(lane, share, limit)
            }
            Decision::Linger(until) => return Err(Some(until)),
            Decision::Nothing => return self.take_over(device, now).ok_or(None),
        };
        Ok(self.give(device, jobs, now, true))
    }

    /// Makes a batch of these.
    fn give(&mut self, device: usize, jobs: Vec<Job<P>>, now: Instant, begun: bool) -> Given<P> {
        let (expired, jobs): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.expired(now));
        let id = self.number();
        let what = jobs.iter().map(|job| job.what.clone()).collect();
        if !jobs.is_empty() {
            let began = begun.then_some(now);
            let held = Held { id, jobs, began, computed: Duration::ZERO };
            self.places[device].held.push_back(held);
            self.places[device].condition = Condition::Busy;
        }
        Given { id, jobs: what, expired, begun }
    }

    /// A batch that another device has only prepared.
    fn take_over(&mut self, device: usize, now: Instant) -> Option<Given<P>> {
        let able = |held: &Held<P>| {
            let job = held.jobs.first();
            held.began.is_none()
                && job.is_some_and(|job| self.places[device].serves(job.what.model()))
        };
        let from = self.places.iter().position(|place| place.held.iter().any(able))?;
        let held = self.places[from].release_prepared()?;
        Some(self.give(device, held.jobs, now, true))
    }

    /// A batch for a device that computes: for a hand that is free, at least half of one, to be begun at once; else a full one, to be prepared.
    pub(crate) fn ahead(&mut self, device: usize, now: Instant) -> Option<Given<P>> {
        let place = &self.places[device];
        if place.gone() || !place.commands.is_empty() || place.has_prepared() {
            return None;
        }
        let at = self.queue.next_lane(|model| place.serves(model))?;
        let lane = self.queue.lane(at);
        let head = lane.head()?;
        let model = head.what.model();
        let limit = place.limits[&model];
        let free = place.has_hand(model, head.pixels.max(limit.pixels), limit, None);
        let enough = lane.fill(if free { limit.half() } else { limit }).1;
        // What is prepared is no more refused at its deadline, and it would wait for as long as the last batch computes.
        if !enough
            || (!free && lane.is_hurried())
            || self.places.iter().any(|place| place.idle_for(model))
        {
            return None;
        }
        let (items, _) = lane.fill(limit);
        let jobs = self.queue.take(at, items, limit);
        Some(self.give(device, jobs, now, free))
    }

    /// A device that has computed the batch `done` begins with one that it prepared, if that is still its own and a hand is free.
    pub(crate) fn begin(&mut self, device: usize, id: u64, done: u64, now: Instant) -> Turned {
        let place = &mut self.places[device];
        let Some(at) = place.held.iter().position(|held| held.id == id) else {
            return Turned::Gone;
        };
        let jobs = &place.held[at].jobs;
        let pixels = jobs.iter().fold(0, |all: usize, job| all.saturating_add(job.pixels));
        let model = jobs.first().map(|job| job.what.model());
        let limit = model.and_then(|model| Some((model, *place.limits.get(&model)?)));
        if limit.is_some_and(|(model, limit)| !place.has_hand(model, pixels, limit, Some(done))) {
            return Turned::Waits;
        }
        place.held[at].began = Some(now);
        Turned::Begun
    }

    /// A batch is left undone: its requests wait again.
    pub(crate) fn leave(&mut self, device: usize, id: u64) {
        if let Some(held) = self.places[device].release(id) {
            self.put_back(held.jobs);
        }
    }

    /// A batch is computed. `None` if it is not expected any more, because the device was given up.
    pub(crate) fn finished(
        &mut self,
        device: usize,
        id: u64,
        now: Instant,
        took: Duration,
    ) -> Option<Vec<Job<P>>> {
        let held = self.places[device].release(id)?;
        self.places[device].breaks = 0;
        if let Some(first) = held.jobs.first() {
            let owed = self.queue.owed(first.what.model());
            owed.took(took);
            held.jobs.iter().for_each(|job| owed.answered(now, job.items));
        }
        Some(held.jobs)
    }

    /// A batch failed; returns those that are given up. The others wait again.
    pub(crate) fn failed(&mut self, device: usize, id: u64, fault: &Fault) -> Vec<Refused<P>> {
        let Some(Held { jobs, .. }) = self.places[device].release(id) else { return Vec::new() };
        match fault {
            Fault::Lost(why) => {
                self.put_back(jobs);
                self.give_up(device, why)
            }
            Fault::OutOfMemory(_) if jobs.len() > 1 => {
                self.halve(device, &jobs);
                self.put_back(jobs);
                Vec::new()
            }
            Fault::Request(why) if jobs.len() == 1 => {
                jobs.into_iter().map(|job| (job, Refusal::Wrong(why.clone()))).collect()
            }
            Fault::Stopped => jobs.into_iter().map(|job| (job, Refusal::Canceled)).collect(),
            Fault::OutOfMemory(why) | Fault::Request(why) => self.suspect(device, jobs, why),
            Fault::Broken(why) => {
                let mut refused = self.suspect(device, jobs, why);
                self.places[device].breaks += 1;
                if self.places[device].breaks >= BREAKS {
                    refused.extend(self.give_up(device, why));
                }
                refused
            }
        }
    }

    /// The device takes no batch as large any more.
    fn halve(&mut self, device: usize, jobs: &[Job<P>]) {
        let pixels: usize = jobs.iter().map(|job| job.pixels).sum();
        let model = jobs.first().map(|job| job.what.model());
        if let Some(limit) = model.and_then(|model| self.places[device].limits.get_mut(&model)) {
            limit.pixels = limit.pixels.min(pixels / 2);
        }
    }

    fn put_back(&mut self, jobs: Vec<Job<P>>) {
        jobs.into_iter().for_each(|job| self.queue.push(job));
    }

    /// Each had its part in a failure and is tried alone, unless it was tried often enough.
    fn suspect(&mut self, device: usize, jobs: Vec<Job<P>>, why: &str) -> Vec<Refused<P>> {
        let mut refused = Vec::new();
        for mut job in jobs {
            job.tries += 1;
            job.avoid = Some(device);
            if job.tries < TRIES {
                self.queue.push(job);
            } else {
                let (tries, device) = (job.tries, self.names[device].clone());
                refused.push((job, Refusal::Failed { tries, device, why: why.into() }));
            }
        }
        refused
    }

    /// A device is given up: what it has goes back, and what no other can do is refused.
    pub(crate) fn give_up(&mut self, device: usize, why: &str) -> Vec<Refused<P>> {
        let place = &mut self.places[device];
        place.condition = Condition::Gone(why.into());
        place.lingers = None;
        let jobs: Vec<_> = place.held.drain(..).flat_map(|held| held.jobs).collect();
        self.put_back(jobs);
        self.refuse_orphans()
    }

    /// Takes out what no device can do any more.
    pub(crate) fn refuse_orphans(&mut self) -> Vec<Refused<P>> {
        let places = &self.places;
        let orphan = |job: &Job<P>| !places.iter().any(|place| place.serves(job.what.model()));
        let orphans = self.queue.drain(orphan);
        orphans.into_iter().map(|job| (job, Refusal::NoDevice(String::new()))).collect()
    }

    /// Time has passed, in which devices were seen to compute; returns those that take too long, and how long.
    pub(crate) fn pass(
        &mut self,
        time: Duration,
        patience: impl Fn(Option<Duration>) -> Duration,
    ) -> Vec<(usize, Duration)> {
        let mut late = Vec::new();
        for (device, place) in self.places.iter_mut().enumerate() {
            for held in place.held.iter_mut().filter(|held| held.began.is_some()) {
                held.computed += time;
                let model = held.jobs.first().map(|job| job.what.model());
                let batch = model.and_then(|model| self.queue.owed(model).batch());
                if held.computed > patience(batch) {
                    late.push((device, held.computed));
                }
            }
        }
        late
    }

    /// An idle device that should look, if there is one that was not called; it counts as called.
    pub(crate) fn call(&mut self, now: Instant) -> Option<usize> {
        if self.queue.len() == 0 {
            return None;
        }
        let mut idle: Vec<(Instant, usize)> =
            self.places.iter().enumerate().filter_map(waits).collect();
        idle.sort_unstable();
        let lingers = self.places.iter().any(|place| place.lingers.is_some() || place.called);
        for (_, device) in idle {
            let wanted = match self.decide(device, now) {
                Decision::Retry(_) | Decision::Take { .. } => true,
                Decision::Linger(_) => !lingers,
                Decision::Nothing => false,
            };
            if wanted {
                self.places[device].called = true;
                return Some(device);
            }
        }
        None
    }
}

/// Since when a device waits that was not called.
fn waits<P, C>((at, place): (usize, &Place<P, C>)) -> Option<(Instant, usize)> {
    match place.condition {
        Condition::Idle(since) if !place.called => Some((since, at)),
        _ => None,
    }
}
