//! One run of the scheduler: what comes in, what fails, when it is over.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use self::dispatch::LINGER;
use super::event::{CrewEvent, Returned};
use super::failure::Failure;
use super::member::{ActiveMember, suspect};
use super::queue::{Item, Queue};
use super::report::{Fault, FaultKind, Report};
use super::worker::Terms;
use crate::clock::Clock;

mod dispatch;

/// How often the word to stop is looked for while nothing happens.
const POLL: Duration = Duration::from_millis(10);

/// Why nothing new is begun.
pub(crate) enum Closing {
    /// The caller, or a worker, said so.
    Stopped,
    /// A task could not be made; the maker knows why.
    Unmade,
    /// A task cannot be done.
    Task { task: usize, tries: usize, device: String, reason: String },
    /// All devices were given up, for these reasons.
    Dead(Vec<String>),
    /// The sink takes no more.
    Sunk,
}

/// One run, as the caller's thread sees it.
pub(crate) struct Scheduler<'a, T, R> {
    pub(crate) crew: &'a mut [ActiveMember<T>],
    terms: &'a Terms,
    pub(crate) queue: Queue<T>,
    inbox: &'a Receiver<CrewEvent<T, R>>,
    /// Results that the sink has not got yet.
    pub(crate) finished: VecDeque<(usize, R)>,
    faults: Vec<Fault>,
    pub(crate) closing: Option<Closing>,
    clock: &'a Clock,
    start: Duration,
    /// Asks the maker for so many tasks.
    asks: Sender<usize>,
    /// Tasks that it was asked for and that have not come.
    pub(crate) asked: usize,
    pub(crate) made: usize,
    done: usize,
    delivered: usize,
    held: usize,
    pub(crate) total: Option<usize>,
    pub(crate) ended: bool,
    pub(crate) batches: &'a mut u64,
}

impl<'a, T, R> Scheduler<'a, T, R> {
    pub(crate) fn new(
        crew: &'a mut [ActiveMember<T>],
        inbox: &'a Receiver<CrewEvent<T, R>>,
        batches: &'a mut u64,
        asks: Sender<usize>,
        total: Option<usize>,
        terms: &'a Terms,
        clock: &'a Clock,
    ) -> Self {
        Self {
            crew,
            terms,
            queue: Queue::new(),
            inbox,
            finished: VecDeque::new(),
            faults: Vec::new(),
            closing: None,
            clock,
            start: clock.now(),
            asks,
            asked: 0,
            made: 0,
            done: 0,
            delivered: 0,
            held: 0,
            total,
            ended: false,
            batches,
        }
    }

    /// Shares until all is done or the run closes, and nothing runs. Returns the sink's error.
    pub(crate) fn run<E>(
        &mut self,
        stop: &(dyn Fn() -> bool + Sync),
        failed: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(usize, R) -> Result<(), E>,
    ) -> Option<E> {
        let mut sunk = None;
        loop {
            while let Ok(event) = self.inbox.try_recv() {
                self.heed(event, failed);
            }
            self.expire();
            self.close_if_dead();
            if self.closing.is_none() && self.unfinished() && stop() {
                self.close(Closing::Stopped);
            }
            self.ask();
            self.dispatch();
            if let Some((number, result)) = self.finished.pop_front() {
                if sunk.is_none() {
                    sunk = self.deliver(number, result, sink);
                }
            } else if self.over() {
                return sunk;
            } else {
                self.wait(failed);
            }
        }
    }

    /// Hands a result to the sink. Returns its error.
    fn deliver<E>(
        &mut self,
        number: usize,
        result: R,
        sink: &mut dyn FnMut(usize, R) -> Result<(), E>,
    ) -> Option<E> {
        let error = sink(number, result).err();
        if error.is_some() {
            self.close(Closing::Sunk);
        } else {
            self.delivered += 1;
        }
        error
    }

    /// Whether a task may be left to do.
    fn unfinished(&self) -> bool {
        !self.ended || self.done < self.made
    }

    /// Whether nothing is left to wait for.
    fn over(&self) -> bool {
        let quiet = self.crew.iter().all(|post| !post.busy());
        quiet && (self.closing.is_some() || !self.unfinished())
    }

    /// Asks for tasks, so that enough wait.
    fn ask(&mut self) {
        if self.ended || self.closing.is_some() {
            return;
        }
        let has = self.queue.len().saturating_add(self.asked);
        let lacks = self.terms.ahead.max(1).saturating_sub(has);
        if lacks > 0 {
            // A maker that is gone has said, or will say, that it ended.
            let _ = self.asks.send(lacks);
            self.asked += lacks;
        }
    }

    fn heed(&mut self, event: CrewEvent<T, R>, failed: &dyn Fn() -> bool) {
        match event {
            CrewEvent::Made(task) => self.take_in(task),
            CrewEvent::Ended => {
                self.ended = true;
                if failed() {
                    self.close(Closing::Unmade);
                }
            }
            CrewEvent::Done(done) => self.returned(done),
            CrewEvent::Arrived(member, Ok(())) => self.crew[member].arrived(),
            CrewEvent::Arrived(member, Err(failure)) => self.stayed_away(member, &failure),
            CrewEvent::Left(member) => {
                let items = self.crew[member].left();
                self.put_back(items);
            }
        }
    }

    fn take_in(&mut self, task: T) {
        let number = self.made;
        self.made += 1;
        self.asked = self.asked.saturating_sub(1);
        self.held = self.held.max(self.made - self.done);
        // One that is not wanted any more is dropped.
        if self.closing.is_none() {
            self.queue.push(number, task);
        }
    }

    /// A batch came back. From a member that was given up it is not expected, and is ignored.
    fn returned(&mut self, done: Returned<R>) {
        let post = &mut self.crew[done.member];
        let Some(given) = post.returned(done.batch) else { return };
        post.made(done.making.unwrap_or_default());
        match done.result {
            Ok(results) => {
                post.did(given.items.len(), done.took, done.first);
                self.done += results.len();
                let numbers = given.items.iter().map(|item| item.number);
                self.finished.extend(numbers.zip(results));
            }
            Err(failure) if done.unmade => self.unmade(done.member, given.items, failure),
            Err(failure) => self.failed(done.member, given.items, failure),
        }
    }

    /// A device that was being opened will never be there.
    pub(crate) fn stayed_away(&mut self, member: usize, failure: &Failure) {
        let reason = format!("it could not be opened: {failure}");
        self.note(member, kind_of(failure), reason.clone(), 0);
        self.give_up(member, reason);
    }

    /// A worker could not be made; its tasks are not at fault.
    fn unmade(&mut self, member: usize, items: Vec<Item<T>>, failure: Failure) {
        let reason = format!("its worker could not be made: {failure}");
        let kind = kind_of(&failure);
        self.note(member, kind, reason.clone(), items.len());
        self.put_back(items);
        self.crew[member].broke();
        let again = self.crew[member].breaks <= self.terms.retries;
        match failure {
            Failure::Stopped => self.close(Closing::Stopped),
            Failure::Broken(_) if again => (),
            _ => {
                self.give_up(member, reason);
            }
        }
    }

    /// A batch failed.
    fn failed(&mut self, member: usize, items: Vec<Item<T>>, failure: Failure) {
        let (kind, count) = (kind_of(&failure), items.len());
        self.note(member, kind, failure.to_string(), count);
        match failure {
            Failure::OutOfMemory(_) => {
                self.put_back(items);
                self.shrink(member, count, failure.to_string());
            }
            Failure::Lost(_) => {
                self.put_back(items);
                self.give_up(member, failure.to_string());
            }
            Failure::Broken(reason) => self.broke(member, items, reason),
            Failure::Task(reason) => self.wrong_task(member, items, reason),
            Failure::Stopped => {
                self.put_back(items);
                self.close(Closing::Stopped);
            }
        }
    }

    /// A member ran out of memory with a batch of `count`.
    fn shrink(&mut self, member: usize, count: usize, reason: String) {
        if self.crew[member].halve(count) {
            // What waits there may be too large as well.
            let items = self.crew[member].take_back();
            self.put_back(items);
        } else {
            self.give_up(member, format!("{reason} (with a batch of one)"));
        }
    }

    /// A worker broke: either one of its tasks or itself is at fault.
    fn broke(&mut self, member: usize, mut items: Vec<Item<T>>, reason: String) {
        let worst = suspect(&mut items, member);
        self.crew[member].broke();
        if let Some((task, tries)) = worst.filter(|(_, tries)| *tries > self.terms.retries) {
            return self.refuse(task, tries, member, reason);
        }
        self.put_back(items);
        let breaks = self.crew[member].breaks;
        if breaks > self.terms.retries {
            self.give_up(member, format!("broke {breaks} times in a row, last: {reason}"));
        }
    }

    /// One of a batch's tasks is wrong. Which one is known when each was done alone, on any device.
    fn wrong_task(&mut self, member: usize, mut items: Vec<Item<T>>, reason: String) {
        if let [only] = items.as_slice() {
            return self.refuse(only.number, only.tries + 1, member, reason);
        }
        for item in &mut items {
            item.tries += 1;
        }
        self.put_back(items);
    }

    /// A task cannot be done: the run closes.
    fn refuse(&mut self, task: usize, tries: usize, member: usize, reason: String) {
        let device = self.crew[member].name.clone();
        self.close(Closing::Task { task, tries, device, reason });
    }

    /// Members whose batch is past its deadline are given up.
    fn expire(&mut self) {
        let now = self.clock.now();
        for member in 0..self.crew.len() {
            let deadline = self.crew[member].deadline(self.terms);
            if deadline.is_some_and(|deadline| deadline <= now) {
                self.hung(member);
            }
        }
    }

    /// A member hangs: either one of its tasks or itself is at fault.
    fn hung(&mut self, member: usize) {
        let late = match self.crew[member].present() {
            true => "a batch was not done",
            false => "it was not opened",
        };
        let reason = format!("hung: {late} by its deadline");
        let worst = self.crew[member].suspect(member);
        let had = self.give_up(member, reason.clone());
        self.note(member, FaultKind::Hung, reason.clone(), had);
        if let Some((task, tries)) = worst.filter(|(_, tries)| *tries > self.terms.retries) {
            self.refuse(task, tries, member, reason);
        }
    }

    /// Gives a member up; returns how many tasks it had.
    fn give_up(&mut self, member: usize, reason: String) -> usize {
        let items = self.crew[member].give_up(reason);
        let had = items.len();
        self.put_back(items);
        had
    }

    /// Without devices nothing can be done.
    fn close_if_dead(&mut self) {
        let waits = self.closing.is_none() && self.queue.len() > 0;
        if waits && !self.crew.iter().any(ActiveMember::alive) {
            let reason = |post: &ActiveMember<T>| {
                post.dead.as_ref().map(|reason| format!("{}: {reason}", post.name))
            };
            let reasons = self.crew.iter().filter_map(reason).collect();
            self.close(Closing::Dead(reasons));
        }
    }

    /// Tasks go back to the queue, unless they are not wanted any more.
    pub(crate) fn put_back(&mut self, items: Vec<Item<T>>) {
        if self.closing.is_none() {
            self.queue.put_back(items);
        }
    }

    fn note(&mut self, member: usize, kind: FaultKind, text: String, requeued: usize) {
        let at = self.clock.since(self.start).as_secs_f64();
        let member = self.crew[member].name.clone();
        self.faults.push(Fault { at, member, kind, text, requeued });
    }

    /// Nothing new is begun from now on. The first reason stays.
    fn close(&mut self, closing: Closing) {
        if self.closing.is_none() {
            self.closing = Some(closing);
        }
        self.queue.clear();
        for post in self.crew.iter_mut() {
            post.take_back();
        }
    }

    /// Waits for something to happen.
    fn wait(&mut self, failed: &dyn Fn() -> bool) {
        let now = self.clock.now();
        let deadlines = self.crew.iter().filter_map(|post| post.deadline(self.terms));
        let next = deadlines.map(|deadline| deadline.saturating_sub(now)).min();
        let lingering = self.queue.ready() > 0 && self.crew.iter().any(ActiveMember::idle);
        let longest = if lingering { LINGER } else { POLL };
        match self.inbox.recv_timeout(next.unwrap_or(longest).min(longest)) {
            Ok(event) => self.heed(event, failed),
            Err(RecvTimeoutError::Timeout) => (),
            // The crew's threads hold senders; without them there is nothing to wait for.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(POLL),
        }
    }

    pub(crate) fn report(&self) -> Report {
        let seconds = self.clock.since(self.start).as_secs_f64();
        Report {
            members: self.crew.iter().map(|post| post.report(seconds)).collect(),
            faults: self.faults.clone(),
            seconds,
            tasks: self.delivered,
            held: self.held,
            stopped: matches!(self.closing, Some(Closing::Stopped)),
        }
    }
}

/// A failure's sort, as reported.
fn kind_of(failure: &Failure) -> FaultKind {
    match failure {
        Failure::OutOfMemory(_) => FaultKind::OutOfMemory,
        Failure::Lost(_) => FaultKind::Lost,
        Failure::Broken(_) => FaultKind::Broken,
        Failure::Task(_) => FaultKind::Task,
        Failure::Stopped => FaultKind::Stopped,
    }
}
