//! Where clients and devices meet: the rules of [`super::board`] behind one lock, and a signal for each device.
//!
//! Who changes what waits wakes a device that has to look, before the lock is released; who takes a batch and leaves some wakes the next. So no
//! wake-up is lost, whatever is interleaved with what.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::board::{Board, Given, Refused, Turned};
use super::place::Condition;
use super::queue::{Job, Kindred, Limit, Turn};
use super::sync::{Condvar, Mutex, MutexGuard, wait};
use crate::model::Fault;

/// What a device's thread does next.
pub(crate) enum Next<P, C> {
    /// Compute this.
    Batch(Given<P>),
    /// Do this.
    Command(C),
    /// End.
    End,
}

/// A request as it comes.
pub(crate) struct Arrival<P> {
    /// 0 is served first.
    pub priority: u32,
    /// Until when it may wait.
    pub deadline: Option<Instant>,
    /// Items of its batch axis.
    pub items: usize,
    /// Pixels of all its items.
    pub pixels: usize,
    /// What is asked, and who waits for it.
    pub what: P,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No new work is taken.
    Closing,
    /// So many wait already.
    Full(usize),
    /// No device has the model.
    Nobody,
    /// No device holds more pixels than this.
    TooLarge(usize),
}

/// The meeting place.
pub(crate) struct Hub<P, C> {
    state: Mutex<Board<P, C>>,
    signals: Vec<Condvar>,
}

impl<P: Kindred + Clone, C> Hub<P, C> {
    pub(crate) fn new(names: Vec<String>, capacity: usize) -> Self {
        let signals = names.iter().map(|_| Condvar::new()).collect();
        Self { state: Mutex::new(Board::new(names, capacity)), signals }
    }

    /// Nothing panics while it holds the lock, so that a poisoned one is whole.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Board<P, C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, state: &mut Board<P, C>, now: Instant) {
        if let Some(device) = state.call(now) {
            self.signals[device].notify_one();
        }
    }

    fn call_all(&self) {
        self.signals.iter().for_each(|signal| signal.notify_one());
    }

    /// A request comes. Returns its turn, by which it can be withdrawn.
    ///
    /// # Errors
    ///
    /// [`Denied`].
    pub(crate) fn submit(&self, arrival: Arrival<P>) -> Result<Turn, Denied> {
        let Arrival { priority, deadline, items, pixels, what } = arrival;
        let now = Instant::now();
        let mut state = self.lock();
        if state.closing {
            return Err(Denied::Closing);
        }
        let most = state.most(what.model()).ok_or(Denied::Nobody)?;
        if pixels > most {
            return Err(Denied::TooLarge(most));
        }
        if state.queue.len() >= state.capacity {
            return Err(Denied::Full(state.queue.len()));
        }
        let turn = (priority, state.number());
        state.queue.owed(what.model()).came(now, items);
        let job = Job { turn, since: now, deadline, items, pixels, tries: 0, avoid: None, what };
        state.queue.push(job);
        self.call(&mut state, now);
        Ok(turn)
    }

    /// A request is withdrawn. `None` if it is computed already, or answered.
    pub(crate) fn withdraw(&self, turn: Turn) -> Option<Job<P>> {
        let mut state = self.lock();
        let job = state.queue.remove(turn);
        self.end_if_quiet(&state);
        job
    }

    /// A device's thread waits for what it is to do.
    pub(crate) fn next(&self, device: usize) -> Next<P, C> {
        let mut state = self.lock();
        if !state.places[device].gone() {
            state.places[device].condition = Condition::Idle(Instant::now());
        }
        loop {
            let now = Instant::now();
            let place = &mut state.places[device];
            (place.called, place.lingers) = (false, None);
            if place.gone() {
                return Next::End;
            }
            if let Some(command) = place.commands.pop_front() {
                place.condition = Condition::Busy;
                // It may have been called for a request, which another has to take now.
                self.call(&mut state, now);
                return Next::Command(command);
            }
            match state.hand(device, now) {
                Ok(given) => {
                    self.call(&mut state, now);
                    return Next::Batch(given);
                }
                Err(None) if state.closing && state.quiet() => return Next::End,
                Err(until) => {
                    state.places[device].lingers = until;
                    state = wait(&self.signals[device], state, until);
                }
            }
        }
    }

    /// A batch to be begun beside the one that computes, or prepared meanwhile.
    pub(crate) fn ahead(&self, device: usize) -> Option<Given<P>> {
        self.lock().ahead(device, Instant::now())
    }

    /// A device that has computed the batch `done` begins with one that it prepared, if it may.
    pub(crate) fn begin(&self, device: usize, id: u64, done: u64) -> Turned {
        self.lock().begin(device, id, done, Instant::now())
    }

    /// A batch is left undone.
    pub(crate) fn put_back(&self, device: usize, id: u64) {
        self.changed(|state| state.leave(device, id));
    }

    /// A batch is computed. `None` if it is not expected any more, because the device was given up.
    pub(crate) fn finished(&self, device: usize, id: u64, took: Duration) -> Option<Vec<Job<P>>> {
        let mut state = self.lock();
        let jobs = state.finished(device, id, Instant::now(), took);
        self.end_if_quiet(&state);
        jobs
    }

    /// A batch failed; returns those that are given up.
    pub(crate) fn failed(&self, device: usize, id: u64, fault: &Fault) -> Vec<Refused<P>> {
        self.changed(|state| state.failed(device, id, fault))
    }

    /// A device is given up; returns the requests that no other can do.
    pub(crate) fn give_up(&self, device: usize, why: &str) -> Vec<Refused<P>> {
        self.changed(|state| state.give_up(device, why))
    }

    /// A device has a model now.
    pub(crate) fn serves(&self, device: usize, model: u64, limit: Limit) {
        self.lock().places[device].limits.insert(model, limit);
    }

    /// A device has a model no more; returns the requests that no other can do.
    pub(crate) fn drops(&self, device: usize, model: u64) -> Vec<Refused<P>> {
        self.changed(|state| {
            state.places[device].limits.remove(&model);
            state.refuse_orphans()
        })
    }

    /// A device is to do this before its next batch. `false` if it was given up.
    pub(crate) fn command(&self, device: usize, command: C) -> bool {
        let mut state = self.lock();
        if state.places[device].gone() {
            return false;
        }
        state.places[device].commands.push_back(command);
        self.signals[device].notify_one();
        true
    }

    /// No new work is taken; threads end when all that waits is done.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.call_all();
    }

    /// Time has passed; devices that take too long are given up, and the requests that no other can do returned.
    pub(crate) fn pass(
        &self,
        time: Duration,
        patience: impl Fn(Option<Duration>) -> Duration,
    ) -> Vec<Refused<P>> {
        let late = self.lock().pass(time, patience);
        let gave_up = late.into_iter().map(|(device, computed)| {
            self.give_up(device, &format!("no answer for {:.0} s", computed.as_secs_f64()))
        });
        gave_up.flatten().collect()
    }

    /// Changes what may matter to every device.
    fn changed<A>(&self, change: impl FnOnce(&mut Board<P, C>) -> A) -> A {
        let mut state = self.lock();
        let answer = change(&mut state);
        self.call_all();
        answer
    }

    fn end_if_quiet(&self, state: &Board<P, C>) {
        if state.closing && state.quiet() {
            self.call_all();
        }
    }
}
