//! A member of the crew at work: what it has, how fast it is, what it did.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::queue::Item;
use super::report::{Latency, MemberReport, MemberState};
use super::speed::{Cost, Pace};
use super::thread::{Batch, Mailbox};
use super::worker::Terms;
use crate::clock::Clock;

/// A batch that a member has.
pub(crate) struct Given<T> {
    id: u64,
    /// Its tasks.
    pub items: Vec<Item<T>>,
}

/// A member at work.
pub(crate) struct ActiveMember<T> {
    /// Name.
    pub name: String,
    /// Most tasks in a batch, now.
    pub batch: usize,
    /// Why it was given up, if it was.
    pub dead: Option<String>,
    /// Since when its device is waited for, if it is still being opened.
    absent: Option<Duration>,
    /// How often its worker broke since it last did a batch.
    pub breaks: usize,
    /// What it has: the first runs, the second waits.
    given: VecDeque<Given<T>>,
    /// The number of the last batch that came back, expected or not.
    returned: u64,
    clock: Clock,
    mailbox: Arc<Mailbox<T>>,
    pace: Pace,
    /// Whether its worker has not done a batch yet.
    fresh: bool,
    halved: usize,
    tasks: usize,
    making: Duration,
    seconds: Vec<f64>,
}

/// The tasks had their part in a failure of `member`; tells the one that was tried most, and how often.
pub(crate) fn suspect<T>(items: &mut [Item<T>], member: usize) -> Option<(usize, usize)> {
    for item in items.iter_mut() {
        item.tries += 1;
        item.avoid = Some(member);
    }
    let worst = items.iter().max_by_key(|item| (item.tries, Reverse(item.number)))?;
    Some((worst.number, worst.tries))
}

/// A worker whose sharer is gone must not wait for ever.
impl<T> Drop for ActiveMember<T> {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}

impl<T> ActiveMember<T> {
    pub(crate) fn new(name: String, batch: usize, mailbox: Arc<Mailbox<T>>, clock: Clock) -> Self {
        Self {
            name,
            batch,
            dead: None,
            absent: None,
            breaks: 0,
            given: VecDeque::new(),
            returned: 0,
            clock,
            mailbox,
            pace: Pace::default(),
            fresh: true,
            halved: 0,
            tasks: 0,
            making: Duration::ZERO,
            seconds: Vec::new(),
        }
    }

    /// The same, whose device is still being opened.
    pub(crate) fn absent(mut self) -> Self {
        self.absent = Some(self.clock.now());
        self
    }

    /// Begins a run: its numbers are counted anew.
    pub(crate) fn begin(&mut self) {
        // Nothing is left of a run, unless its sink panicked.
        self.take_back();
        self.given.clear();
        self.tasks = 0;
        self.making = Duration::ZERO;
        self.seconds.clear();
    }

    pub(crate) fn alive(&self) -> bool {
        self.dead.is_none()
    }

    /// Whether its device is there and was not given up.
    pub(crate) fn present(&self) -> bool {
        self.alive() && self.absent.is_none()
    }

    /// Its device is there.
    pub(crate) fn arrived(&mut self) {
        self.absent = None;
    }

    /// Whether it has nothing to do.
    pub(crate) fn idle(&self) -> bool {
        self.present() && self.given.is_empty()
    }

    /// Whether one batch runs and no other waits.
    pub(crate) fn could_prefetch(&self) -> bool {
        self.alive() && self.given.len() == 1
    }

    /// Whether a batch runs, or is about to.
    pub(crate) fn busy(&self) -> bool {
        !self.given.is_empty()
    }

    /// Whether a batch waits behind another.
    pub(crate) fn prefetched(&self) -> bool {
        self.given.len() > 1
    }

    /// Hands it a batch.
    pub(crate) fn give(&mut self, id: u64, items: Vec<Item<T>>) {
        let tasks = items.iter().map(|item| item.task.clone()).collect();
        self.given.push_back(Given { id, items });
        self.mailbox.give(Batch { id, tasks });
    }

    /// Takes back what was not begun.
    pub(crate) fn take_back(&mut self) -> Vec<Item<T>> {
        let kept = self.given.len().saturating_sub(self.mailbox.take_back());
        self.given.drain(kept..).flat_map(|given| given.items).collect()
    }

    /// The batch `id` came back. `None` if it is not expected, because the member was given up.
    pub(crate) fn returned(&mut self, id: u64) -> Option<Given<T>> {
        self.returned = id;
        if self.given.front()?.id == id { self.given.pop_front() } else { None }
    }

    /// It did a batch of `n` tasks.
    pub(crate) fn did(&mut self, n: usize, took: Duration, first: bool) {
        self.breaks = 0;
        self.fresh = false;
        self.tasks += n;
        self.seconds.push(took.as_secs_f64());
        self.pace.learn(n, took.as_secs_f64(), first);
    }

    /// Its worker was made, or was tried to be.
    pub(crate) fn made(&mut self, took: Duration) {
        self.making += took;
    }

    /// Its worker broke, and will be made anew.
    pub(crate) fn broke(&mut self) {
        self.breaks += 1;
        self.fresh = true;
    }

    /// A batch of `n` did not fit. `false` if there is no smaller one.
    pub(crate) fn halve(&mut self, n: usize) -> bool {
        if n <= 1 {
            return false;
        }
        // The next batch, begun before this was known, may fail at the same size: that is not news.
        if n / 2 < self.batch {
            self.batch = n / 2;
            self.halved += 1;
        }
        true
    }

    /// One of the tasks that run may be at fault; tells the one that was tried most, and how often.
    pub(crate) fn suspect(&mut self, member: usize) -> Option<(usize, usize)> {
        let front = self.given.front_mut()?;
        suspect(&mut front.items, member)
    }

    /// Gives it up; what it had comes back.
    pub(crate) fn give_up(&mut self, reason: String) -> Vec<Item<T>> {
        self.dead = Some(reason);
        self.mailbox.close();
        self.given.drain(..).flat_map(|given| given.items).collect()
    }

    /// Its thread ended: that of one that was given up, or whose device was lost in a batch that nobody expects any more.
    pub(crate) fn left(&mut self) -> Vec<Item<T>> {
        match self.alive() {
            true => self.give_up("its thread ended".into()),
            false => Vec::new(),
        }
    }

    /// What a batch costs it, if that is known.
    pub(crate) fn cost(&self) -> Option<Cost> {
        self.pace.cost()
    }

    /// Seconds until it has done what it has, at this cost.
    pub(crate) fn free_in(&self, cost: Cost) -> f64 {
        let seconds = |given: &Given<T>| cost.of(given.items.len());
        let waiting: f64 = self.given.iter().skip(1).map(seconds).sum();
        let Some(front) = self.given.front() else { return 0.0 };
        let expected = seconds(front);
        let elapsed = self.since().map_or(0.0, |since| self.clock.since(since).as_secs_f64());
        // One that is late is likely to be later the later it is.
        waiting + (expected - elapsed).abs()
    }

    /// When the batch that runs was begun. It may be one of an earlier run, which nobody expects any more.
    fn since(&self) -> Option<Duration> {
        let (id, since) = self.mailbox.running()?;
        let ours = self.given.front()?.id == id;
        (ours || id > self.returned).then_some(since)
    }

    /// When the batch that runs has to be done, or the device has to be there, by the crew's clock.
    pub(crate) fn deadline(&self, terms: &Terms) -> Option<Duration> {
        match self.absent.filter(|_| self.alive()) {
            Some(since) => Some(since.saturating_add(terms.first_deadline)),
            None => Some(self.since()?.saturating_add(self.allowed(terms))),
        }
    }

    /// How long the batch that runs may take.
    fn allowed(&self, terms: &Terms) -> Duration {
        let tasks = self.given.front().map_or(0, |given| given.items.len());
        let expected = self.cost().map_or(0.0, |cost| terms.patience * cost.of(tasks));
        let expected = Duration::try_from_secs_f64(expected).unwrap_or(Duration::MAX);
        if !self.fresh {
            return expected.max(terms.least_deadline);
        }
        let further = u32::try_from(tasks.saturating_sub(1)).unwrap_or(u32::MAX);
        let unknown = terms.first_deadline_each.saturating_mul(further);
        terms.first_deadline.saturating_add(unknown.max(expected))
    }

    /// Lets its thread go when it is done.
    pub(crate) fn close(&self) {
        self.mailbox.close();
    }

    /// What it did in a run of `wall` seconds.
    pub(crate) fn report(&self, wall: f64) -> MemberReport {
        let busy_seconds: f64 = self.seconds.iter().sum();
        let state = match (&self.dead, self.halved) {
            (Some(reason), _) => MemberState::Dead(reason.clone()),
            (None, 0) => MemberState::Fine,
            (None, times) => MemberState::Halved(times),
        };
        MemberReport {
            name: self.name.clone(),
            tasks: self.tasks,
            batches: self.seconds.len(),
            busy_seconds,
            making_seconds: self.making.as_secs_f64(),
            utilisation: if wall > 0.0 { busy_seconds / wall } else { 0.0 },
            batch: self.batch,
            state,
            latency: Latency::of(&self.seconds),
        }
    }
}
