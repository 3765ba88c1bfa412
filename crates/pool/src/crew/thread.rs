//! A member's thread, on which its worker lives, and the mailbox between it and the scheduler.
//!
//! Threads are detached: one that hangs in a driver cannot be joined, and it must not take the program with it.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::event::{CrewEvent, Returned};
use super::failure::Failure;
use super::worker::{Arrive, MakeWorker, Worker};
use tracing::info_span;

use crate::clock::Clock;
use crate::panics::{Panic, caught};

/// Tasks for a worker.
pub(crate) struct Batch<T> {
    /// Its number among all batches.
    pub id: u64,
    /// Its tasks.
    pub tasks: Vec<Arc<T>>,
}

/// The batch that runs and those that wait: one, or two for the moment between a batch's end and the next one's start.
struct Slots<T> {
    waiting: VecDeque<Batch<T>>,
    running: Option<(u64, Duration)>,
    closed: bool,
}

/// What the member's thread and the scheduler both hold.
pub(crate) struct Mailbox<T> {
    places: Mutex<Slots<T>>,
    changed: Condvar,
    clock: Clock,
}

impl<T> Mailbox<T> {
    fn new(clock: Clock) -> Self {
        let places = Slots { waiting: VecDeque::new(), running: None, closed: false };
        Self { places: Mutex::new(places), changed: Condvar::new(), clock }
    }

    /// Nothing panics while it holds the lock, so that a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, Slots<T>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lays a batch beside the one that runs.
    pub(crate) fn give(&self, batch: Batch<T>) {
        self.lock().waiting.push_back(batch);
        self.changed.notify_one();
    }

    /// Takes away what was not begun; returns how many batches that are.
    pub(crate) fn take_back(&self) -> usize {
        self.lock().waiting.drain(..).count()
    }

    /// The batch that runs, and since when by the crew's clock.
    pub(crate) fn running(&self) -> Option<(u64, Duration)> {
        self.lock().running
    }

    /// Lets the thread go once it has done what it runs.
    pub(crate) fn close(&self) {
        let mut places = self.lock();
        places.closed = true;
        places.waiting.clear();
        drop(places);
        self.changed.notify_one();
    }

    /// The next batch, when there is one; `None` when it is closed.
    fn next(&self) -> Option<Batch<T>> {
        let mut places = self.lock();
        places.running = None;
        loop {
            if places.closed {
                return None;
            }
            if let Some(batch) = places.waiting.pop_front() {
                places.running = Some((batch.id, self.clock.now()));
                return Some(batch);
            }
            places = self.changed.wait(places).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Starts a member's thread.
pub(crate) fn start<T: Send + Sync + 'static, R: Send + 'static>(
    member: usize,
    name: &str,
    make: MakeWorker<T, R>,
    arrive: Option<Arrive>,
    events: Sender<CrewEvent<T, R>>,
    clock: Clock,
) -> std::io::Result<Arc<Mailbox<T>>> {
    let mailbox = Arc::new(Mailbox::new(clock));
    let theirs = mailbox.clone();
    let work = move || {
        let is_there = arrive.is_none_or(|arrive| arrived(member, &arrive, &events));
        if is_there {
            serve(member, &theirs, &make, &events);
        }
        // Nobody listens any more if this thread was given up.
        let _ = events.send(CrewEvent::Left(member));
    };
    std::thread::Builder::new().name(format!("pool {name}")).spawn(work)?;
    Ok(mailbox)
}

/// Waits for the device, and tells what came of it.
fn arrived<T, R>(member: usize, arrive: &Arrive, events: &Sender<CrewEvent<T, R>>) -> bool {
    let arrived = caught(|| arrive()).unwrap_or_else(panicked);
    let is_there = arrived.is_ok();
    events.send(CrewEvent::Arrived(member, arrived)).is_ok() && is_there
}

/// Does batches until the mailbox is closed. The worker is made for the first, and again after a panic.
fn serve<T, R>(
    member: usize,
    mailbox: &Mailbox<T>,
    make: &MakeWorker<T, R>,
    events: &Sender<CrewEvent<T, R>>,
) {
    let mut worker: Option<Box<dyn Worker<T, R>>> = None;
    while let Some(batch) = mailbox.next() {
        let first = worker.is_none();
        let (making, made) =
            if first { timed(&mailbox.clock, || made(make, &mut worker)) } else { NOTHING };
        let unmade = made.is_err();
        let span = info_span!("batch", tasks = batch.tasks.len() as u64).entered();
        let (took, result) = timed(&mailbox.clock, || made.and_then(|()| ran(&mut worker, &batch)));
        drop(span);
        let id = batch.id;
        // Before the news, so that what is held can be counted by it.
        drop(batch);
        let lost = matches!(result, Err(Failure::Lost(_)));
        if lost || matches!(result, Err(Failure::Broken(_))) {
            drop_quietly(worker.take());
        }
        let making = first.then_some(making);
        let done = Returned { member, batch: id, result, first, making, unmade, took };
        // A lost device must not be touched again, not even by the batch that waits.
        if events.send(CrewEvent::Done(done)).is_err() || lost {
            break;
        }
    }
    drop_quietly(worker);
}

/// A worker that was there needed no time.
const NOTHING: (Duration, Result<(), Failure>) = (Duration::ZERO, Ok(()));

fn timed<A>(clock: &Clock, work: impl FnOnce() -> A) -> (Duration, A) {
    let start = clock.now();
    let answer = work();
    (clock.since(start), answer)
}

/// Makes the worker.
fn made<T, R>(
    make: &MakeWorker<T, R>,
    worker: &mut Option<Box<dyn Worker<T, R>>>,
) -> Result<(), Failure> {
    *worker = Some(caught(|| make()).unwrap_or_else(panicked)?);
    Ok(())
}

/// Runs a batch. After a panic the worker is dropped: its state may be half changed.
fn ran<T, R>(
    worker: &mut Option<Box<dyn Worker<T, R>>>,
    batch: &Batch<T>,
) -> Result<Vec<R>, Failure> {
    let Some(able) = worker else { return Err(Failure::Broken("there is no worker".into())) };
    let results = match caught(|| able.run(&batch.tasks)) {
        Ok(results) => results?,
        Err(panic) => {
            drop_quietly(worker.take());
            return panicked(panic);
        }
    };
    let (expected, came) = (batch.tasks.len(), results.len());
    if came != expected {
        return Err(Failure::Broken(format!("{came} results for {expected} tasks")));
    }
    Ok(results)
}

fn panicked<A>(panic: Panic) -> Result<A, Failure> {
    Err(Failure::of_caught(&panic))
}

/// Drops what may panic while it is dropped, as handles of a lost device do.
fn drop_quietly<A>(thing: A) {
    let _ = caught(|| drop(thing));
}
