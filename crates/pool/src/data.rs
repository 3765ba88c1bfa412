//! Data parallel: many devices share a stream of tasks.
//!
//! One thread, the caller's, decides who does what; one thread makes tasks as they are needed; each device has a
//! thread of its own. A device that is idle gets a batch, and the next one while it computes. Near the end the
//! batches shrink, so that all devices finish together ([`crate::pace`]), and a device that runs dry gets what
//! still waits at another one's side.
//!
//! Every task is in one place at a time: in the queue, or with one device. It goes back to the queue when the
//! device fails ([`crate::work::Failure`]), and its result counts only if it comes from the device that has it.
//! So none is lost and none is delivered twice, whatever fails when.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::crew::{Post, suspect};
use crate::maker::{End, Made};
use crate::pace::{Cost, Hand, allot};
use crate::queue::{Item, Queue};
use crate::seat::{self, Done, Event};
use crate::stats::{Fault, FaultKind, Report};
use crate::work::{Failure, Member, Terms};

/// How often the word to stop is looked for while nothing happens.
const POLL: Duration = Duration::from_millis(10);
/// How long a lone task waits for others to share its batch.
const LINGER: Duration = Duration::from_millis(1);

/// Why the tasks were not all done. Results that were there before were delivered.
#[derive(Debug, thiserror::Error)]
pub enum PoolError<E> {
    /// There are no devices.
    #[error("no device was given to do the tasks: at least one is needed")]
    NoCrew,
    /// A member cannot have empty batches.
    #[error("device {0} was given batches of 0 tasks: at least 1 is needed")]
    EmptyBatch(String),
    /// A device's thread could not be started.
    #[error("no thread could be started for device {0}: {1}")]
    Thread(String, #[source] std::io::Error),
    /// A task could not be made.
    #[error("{0}")]
    Tasks(E),
    /// A result could not be taken.
    #[error("{0}")]
    Sink(E),
    /// A task cannot be done.
    #[error("task {task} cannot be done: {reason} (tried {tries} times, last on {device})")]
    Task {
        /// Its number.
        task: usize,
        /// How often it was tried.
        tries: usize,
        /// Where it failed last.
        device: String,
        /// Why.
        reason: String,
        /// What had happened until then.
        report: Box<Report>,
    },
    /// All devices were given up.
    #[error("no device is left after {} tasks: {}", report.tasks, reasons.join("; "))]
    Dead {
        /// Each device's reason.
        reasons: Vec<String>,
        /// What had happened until then.
        report: Box<Report>,
    },
}

/// Shares tasks among devices.
///
/// `tasks` is drawn from on a thread of its own, as the tasks are needed: at most [`Terms::ahead`] wait, and at
/// most two batches are with each device, so that memory is bounded; no new batches are begun while the sink lags
/// behind. If its `size_hint` is exact, the end is planned from the start. `sink` gets each result on the caller's
/// thread with its task's number, counted from 0, in no certain order. Once `stop` says so, nothing new is begun,
/// and what runs is finished and delivered; it is asked about every 10 ms.
///
/// The call returns when the iterator's last `next` has returned, and, save for devices that hang, when
/// every worker is dropped.
///
/// # Errors
///
/// [`PoolError`]: no crew, a task that cannot be made or done, no device left, or what the sink returned.
///
/// # Panics
///
/// If `tasks`, `stop` or `sink` panics; workers' panics are faults.
pub fn share<T, R, E>(
    crew: Vec<Member<T, R>>,
    tasks: impl Iterator<Item = Result<T, E>> + Send,
    terms: &Terms,
    stop: &(dyn Fn() -> bool + Sync),
    sink: &mut dyn FnMut(usize, R) -> Result<(), E>,
) -> Result<Report, PoolError<E>>
where
    T: Send + Sync + 'static,
    R: Send + 'static,
    E: Send,
{
    let total = match tasks.size_hint() {
        (least, Some(most)) if least == most => Some(least),
        _ => None,
    };
    let (events, inbox) = mpsc::channel();
    let posts = seated(crew, &events)?;
    let (asks, asked) = mpsc::channel();
    let made = Made::new();
    let (sunk, closing, report) = std::thread::scope(|scope| {
        scope.spawn(|| made.make(tasks, asked, events));
        let mut sharing = Sharing::new(posts, inbox, asks, total, terms);
        let failed = || made.failed();
        let sunk = sharing.run(stop, &failed, sink);
        let report = sharing.report();
        made.quit();
        let closing = sharing.leave();
        (sunk, closing, report)
    });
    sunk.map_err(PoolError::Sink)?;
    match made.end() {
        End::Failed(error) => return Err(PoolError::Tasks(error)),
        End::Panicked(panic) => std::panic::resume_unwind(panic),
        End::Whole => (),
    }
    match closing {
        Some(Closing::Task { task, tries, device, reason }) => {
            Err(PoolError::Task { task, tries, device, reason, report: Box::new(report) })
        }
        Some(Closing::Dead(reasons)) => Err(PoolError::Dead { reasons, report: Box::new(report) }),
        _ => Ok(report),
    }
}

/// As [`share`], with the results in the tasks' order.
///
/// If the run was stopped ([`Report::stopped`]), they are those before the first that is missing.
///
/// # Errors
///
/// As [`share`].
pub fn share_ordered<T, R, E>(
    crew: Vec<Member<T, R>>,
    tasks: impl Iterator<Item = Result<T, E>> + Send,
    terms: &Terms,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<(Vec<R>, Report), PoolError<E>>
where
    T: Send + Sync + 'static,
    R: Send + 'static,
    E: Send,
{
    let mut results: Vec<Option<R>> = Vec::new();
    let report = share(crew, tasks, terms, stop, &mut |number, result| {
        if results.len() <= number {
            results.resize_with(number + 1, || None);
        }
        results[number] = Some(result);
        Ok(())
    })?;
    Ok((results.into_iter().map_while(|result| result).collect(), report))
}

/// Starts the crew's threads.
fn seated<T: Send + Sync + 'static, R: Send + 'static, E>(
    crew: Vec<Member<T, R>>,
    events: &Sender<Event<T, R>>,
) -> Result<Vec<Post<T>>, PoolError<E>> {
    if crew.is_empty() {
        return Err(PoolError::NoCrew);
    }
    let mut posts = Vec::with_capacity(crew.len());
    for (index, Member { name, batch, make }) in crew.into_iter().enumerate() {
        if batch == 0 {
            return Err(PoolError::EmptyBatch(name));
        }
        match seat::open(index, &name, make, events.clone()) {
            Ok(seat) => posts.push(Post::new(name, batch, seat)),
            Err(error) => return Err(PoolError::Thread(name, error)),
        }
    }
    Ok(posts)
}

/// Why nothing new is begun.
enum Closing {
    /// The caller, or a worker, said so.
    Stopped,
    /// A task could not be made; the maker knows why.
    Unmade,
    /// A task cannot be done.
    Task { task: usize, tries: usize, device: String, reason: String },
    /// All devices were given up, for these reasons.
    Dead(Vec<String>),
}

/// One run, as the caller's thread sees it.
struct Sharing<'a, T, R> {
    crew: Vec<Post<T>>,
    terms: &'a Terms,
    queue: Queue<T>,
    inbox: Receiver<Event<T, R>>,
    /// Results that the sink has not got yet.
    finished: VecDeque<(usize, R)>,
    faults: Vec<Fault>,
    closing: Option<Closing>,
    start: Instant,
    /// Asks the maker for a task.
    asks: Sender<()>,
    /// Tasks that it was asked for and that have not come.
    asked: usize,
    made: usize,
    done: usize,
    delivered: usize,
    held: usize,
    total: Option<usize>,
    ended: bool,
    batches: u64,
}

impl<'a, T, R> Sharing<'a, T, R> {
    fn new(
        crew: Vec<Post<T>>,
        inbox: Receiver<Event<T, R>>,
        asks: Sender<()>,
        total: Option<usize>,
        terms: &'a Terms,
    ) -> Self {
        Self {
            crew,
            terms,
            queue: Queue::new(),
            inbox,
            finished: VecDeque::new(),
            faults: Vec::new(),
            closing: None,
            start: Instant::now(),
            asks,
            asked: 0,
            made: 0,
            done: 0,
            delivered: 0,
            held: 0,
            total,
            ended: false,
            batches: 0,
        }
    }

    /// Shares until all is done or the run closes. An error is the sink's.
    fn run<E>(
        &mut self,
        stop: &(dyn Fn() -> bool + Sync),
        failed: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(usize, R) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            while let Ok(event) = self.inbox.try_recv() {
                self.heed(event, failed);
            }
            self.expire();
            if self.closing.is_none() && self.unfinished() && stop() {
                self.close(Closing::Stopped);
            }
            self.ask();
            self.dispatch();
            if let Some((number, result)) = self.finished.pop_front() {
                sink(number, result)?;
                self.delivered += 1;
            } else if self.over() {
                return Ok(());
            } else {
                self.wait(failed);
            }
        }
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
        while self.queue.len() + self.asked < self.terms.ahead.max(1) {
            // A maker that is gone has said, or will say, that it ended.
            let _ = self.asks.send(());
            self.asked += 1;
        }
    }

    fn heed(&mut self, event: Event<T, R>, failed: &dyn Fn() -> bool) {
        match event {
            Event::Made(task) => self.take_in(task),
            Event::Ended => {
                self.ended = true;
                if failed() {
                    self.close(Closing::Unmade);
                }
            }
            Event::Done(done) => self.returned(done),
            // Only those that were given up leave before the end.
            Event::Left(_) => (),
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
    fn returned(&mut self, done: Done<R>) {
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
            Failure::Task(reason) => {
                if let Some(item) = items.first() {
                    self.refuse(item.number, item.tries + 1, member, reason);
                }
            }
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

    /// A task cannot be done: the run closes.
    fn refuse(&mut self, task: usize, tries: usize, member: usize, reason: String) {
        let device = self.crew[member].name.clone();
        self.close(Closing::Task { task, tries, device, reason });
    }

    /// Members whose batch is past its deadline are given up.
    fn expire(&mut self) {
        for member in 0..self.crew.len() {
            let deadline = self.crew[member].deadline(self.terms);
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.hung(member);
            }
        }
    }

    /// A member hangs: either one of its tasks or itself is at fault.
    fn hung(&mut self, member: usize) {
        let reason = "hung: a batch was not done by its deadline".to_string();
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
        if self.closing.is_none() && self.unfinished() && !self.crew.iter().any(Post::alive) {
            let reason = |post: &Post<T>| {
                post.dead.as_ref().map(|reason| format!("{}: {reason}", post.name))
            };
            let reasons = self.crew.iter().filter_map(reason).collect();
            self.close(Closing::Dead(reasons));
        }
        had
    }

    /// Tasks go back to the queue, unless they are not wanted any more.
    fn put_back(&mut self, items: Vec<Item<T>>) {
        if self.closing.is_none() {
            self.queue.put_back(items);
        }
    }

    fn note(&mut self, member: usize, kind: FaultKind, text: String, requeued: usize) {
        let at = self.start.elapsed().as_secs_f64();
        let member = self.crew[member].name.clone();
        self.faults.push(Fault { at, member, kind, text, requeued });
    }

    /// Nothing new is begun from now on. The first reason stays.
    fn close(&mut self, closing: Closing) {
        if self.closing.is_none() {
            self.closing = Some(closing);
        }
        self.queue.clear();
        for post in &mut self.crew {
            post.take_back();
        }
    }

    /// Hands out what waits.
    fn dispatch(&mut self) {
        // Twice what the devices could bring at once: the sink is behind.
        let lag = 2 * self.crew.iter().map(|post| post.batch).sum::<usize>();
        if self.closing.is_some() || self.finished.len() > lag {
            return;
        }
        self.take_back();
        self.retry();
        let free = |post: &Post<T>| post.idle() || post.could_prefetch();
        if self.queue.ready() > 0 && self.crew.iter().any(free) {
            let wants = self.wants();
            if self.feed_idle(&wants) {
                self.prefetch(&wants);
            }
        }
    }

    /// When a device runs dry and no more tasks come, what waits elsewhere is dealt anew.
    fn take_back(&mut self) {
        let dry = self.ended && self.queue.len() == 0 && self.crew.iter().any(Post::idle);
        if dry && self.crew.iter().any(Post::prefetched) {
            for member in (0..self.crew.len()).rev() {
                let items = self.crew[member].take_back();
                self.put_back(items);
            }
        }
    }

    /// Tasks to be tried again go out alone, to another member than the one that broke if there is one.
    fn retry(&mut self) {
        let only = self.crew.iter().filter(|post| post.alive()).count() == 1;
        for free in [Post::idle, Post::could_prefetch] {
            for member in 0..self.crew.len() {
                if free(&self.crew[member])
                    && let Some(item) = self.queue.take_suspect(member, only)
                {
                    self.give(member, vec![item]);
                }
            }
        }
    }

    /// How many of the tasks to be done each member should do, by what is known of their speeds.
    fn wants(&self) -> Vec<usize> {
        let hands: Vec<(usize, Hand)> = self.hands();
        let mut wants = vec![0; self.crew.len()];
        let list: Vec<Hand> = hands.iter().map(|(_, hand)| *hand).collect();
        for ((member, _), count) in hands.iter().zip(allot(&list, self.to_do())) {
            wants[*member] = count;
        }
        wants
    }

    /// The members alive, as they are to be dealt to. One whose speed is not known is like the others.
    fn hands(&self) -> Vec<(usize, Hand)> {
        let known: Vec<Cost> = self.crew.iter().filter_map(Post::cost).collect();
        let mean =
            |part: fn(&Cost) -> f64| known.iter().map(part).sum::<f64>() / known.len() as f64;
        let usual = match known.len() {
            0 => Cost { start: 0.0, each: 1.0 },
            _ => Cost { start: mean(|cost| cost.start), each: mean(|cost| cost.each) },
        };
        let alive = self.crew.iter().enumerate().filter(|(_, post)| post.alive());
        let hand = |(member, post): (usize, &Post<T>)| {
            let cost = post.cost().unwrap_or(usual);
            (member, Hand { free_in: post.free_in(cost), cost, batch: post.batch })
        };
        alive.map(hand).collect()
    }

    /// Tasks that wait or will come. If that is not known: as many will come as have come.
    fn to_do(&self) -> usize {
        let to_come = match (self.ended, self.total) {
            (true, _) => 0,
            (false, Some(total)) => total.saturating_sub(self.made),
            (false, None) => self.made,
        };
        self.queue.ready() + to_come
    }

    /// Idle members get their part of what waits. `false` if that is put off because more is about to come.
    fn feed_idle(&mut self, wants: &[usize]) -> bool {
        let want = |member: usize, post: &Post<T>| wants[member].min(post.batch);
        let idle: Vec<(usize, usize)> = self
            .crew
            .iter()
            .enumerate()
            .filter(|(_, post)| post.idle())
            .map(|(member, post)| (member, want(member, post)))
            .collect();
        let mut wanted: usize = idle.iter().map(|(_, want)| want).sum();
        if wanted > self.queue.ready() && !self.settled() {
            return false;
        }
        for (member, want) in idle {
            let ready = self.queue.ready();
            let part = if wanted > ready { (want * ready).div_ceil(wanted) } else { want };
            wanted -= want;
            if part > 0 {
                let items = self.queue.take(part);
                self.give(member, items);
            }
        }
        true
    }

    /// Whether no more tasks are about to come.
    fn settled(&self) -> bool {
        self.ended || self.asked == 0 || self.queue.waited() >= LINGER
    }

    /// Members that compute get their next batch, if it is a whole one.
    fn prefetch(&mut self, wants: &[usize]) {
        let mut order: Vec<usize> =
            (0..self.crew.len()).filter(|&member| self.crew[member].could_prefetch()).collect();
        let free_in = |member: &usize| {
            let post = &self.crew[*member];
            post.cost().map_or(0.0, |cost| post.free_in(cost))
        };
        order.sort_by(|a, b| free_in(a).total_cmp(&free_in(b)));
        for member in order {
            let want = wants[member].min(self.crew[member].batch);
            let ready = self.queue.ready();
            if want > 0 && ready > 0 && (want <= ready || self.ended) {
                let items = self.queue.take(want);
                self.give(member, items);
            }
        }
    }

    fn give(&mut self, member: usize, items: Vec<Item<T>>) {
        self.batches += 1;
        self.crew[member].give(self.batches, items);
    }

    /// Waits for something to happen.
    fn wait(&mut self, failed: &dyn Fn() -> bool) {
        let now = Instant::now();
        let deadlines = self.crew.iter().filter_map(|post| post.deadline(self.terms));
        let next = deadlines.map(|deadline| deadline.saturating_duration_since(now)).min();
        let lingering = self.queue.ready() > 0 && self.crew.iter().any(Post::idle);
        let longest = if lingering { LINGER } else { POLL };
        match self.inbox.recv_timeout(next.unwrap_or(longest).min(longest)) {
            Ok(event) => self.heed(event, failed),
            Err(RecvTimeoutError::Timeout) => (),
            // The crew's threads hold senders; without them there is nothing to wait for.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(POLL),
        }
    }

    fn report(&self) -> Report {
        let seconds = self.start.elapsed().as_secs_f64();
        Report {
            members: self.crew.iter().map(|post| post.report(seconds)).collect(),
            faults: self.faults.clone(),
            seconds,
            tasks: self.delivered,
            held: self.held,
            stopped: matches!(self.closing, Some(Closing::Stopped)),
        }
    }

    /// Lets the crew go, and waits until the workers of those that live are dropped.
    fn leave(mut self) -> Option<Closing> {
        let mut staying = self.crew.iter().filter(|post| post.alive()).count();
        self.crew.iter().for_each(Post::close);
        let latest = Instant::now().checked_add(self.terms.least_deadline);
        while staying > 0 {
            let wait =
                latest.map_or(POLL, |latest| latest.saturating_duration_since(Instant::now()));
            match self.inbox.recv_timeout(wait) {
                Ok(Event::Left(member)) if self.crew[member].alive() => staying -= 1,
                Ok(_) => (),
                Err(_) => break,
            }
        }
        self.closing.take()
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
