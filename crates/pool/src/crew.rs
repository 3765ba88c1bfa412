//! Data parallel: many devices share a stream of tasks.
//!
//! One thread, the caller's, decides who does what; one thread makes tasks as they are needed; each device has a
//! thread of its own. A device that is idle gets a batch, and the next one while it computes. Near the end the
//! batches shrink, so that all devices finish together, by what was learnt of their speeds, and a device that runs
//! dry gets what still waits at another one's side.
//!
//! Every task is in one place at a time: in the queue, or with one device. It goes back to the queue when the
//! device fails ([`Failure`]), and its result counts only if it comes from the device that has it.
//! So none is lost and none is delivered twice, whatever fails when.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

pub(crate) use self::allotment::{Hand, allot};
use self::event::CrewEvent;
pub use self::failure::Failure;
use self::member::ActiveMember;
use self::producer::{Producer, QuitsAtLast, TasksEnd};
pub use self::report::{Fault, FaultKind, Latency, MemberReport, MemberState, Report, percentile};
use self::scheduler::{Closing, Scheduler};
pub(crate) use self::speed::Cost;
pub use self::worker::{Arrive, MakeWorker, Member, Terms, Worker};
use crate::clock::Clock;

mod allotment;
mod event;
mod failure;
pub mod fault_injection;
mod member;
mod producer;
mod queue;
mod report;
mod scheduler;
pub mod simulated;
mod speed;
mod thread;
mod worker;

/// Why there is no crew.
#[derive(Debug, thiserror::Error)]
pub enum CrewError {
    /// There are no devices.
    #[error("no device was given to do the tasks: at least one is needed")]
    Empty,
    /// A member cannot have empty batches.
    #[error("device {0} was given batches of 0 tasks: at least 1 is needed")]
    EmptyBatch(String),
    /// A device's thread could not be started.
    #[error("no thread could be started for device {0}: {1}")]
    Thread(String, #[source] std::io::Error),
}

/// Why the tasks were not all done. Results that were there before were delivered.
#[derive(Debug, thiserror::Error)]
pub enum PoolError<E> {
    /// There is no crew.
    #[error(transparent)]
    Crew(#[from] CrewError),
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

/// Devices that share tasks, run after run.
///
/// Workers, with their weights, their streams and their memory, live as long as the crew, and what was learnt stays
/// known: speeds, batches that fit, and which devices are dead.
pub struct Crew<T, R> {
    members: Vec<ActiveMember<T>>,
    /// Batches handed out in all runs, so that each has a number of its own.
    batches: u64,
    events: Sender<CrewEvent<T, R>>,
    inbox: Receiver<CrewEvent<T, R>>,
    clock: Clock,
    /// Devices that could not be opened, of which no run's report has heard yet.
    away: Vec<(usize, Failure)>,
}

impl<T: Send + Sync + 'static, R: Send + 'static> Crew<T, R> {
    /// Starts a thread for each device. Workers are made there when they get their first batch.
    ///
    /// # Errors
    ///
    /// [`CrewError`]: no members, an empty batch, or no more threads.
    pub fn open(members: Vec<Member<T, R>>) -> Result<Self, CrewError> {
        Self::timed_by(Clock::of_process(), members)
    }

    /// The same, by a certain clock.
    fn timed_by(clock: Clock, members: Vec<Member<T, R>>) -> Result<Self, CrewError> {
        if members.is_empty() {
            return Err(CrewError::Empty);
        }
        let (events, inbox) = mpsc::channel();
        let mut active = Vec::with_capacity(members.len());
        for (index, Member { name, batch, make, arrive }) in members.into_iter().enumerate() {
            if batch == 0 {
                return Err(CrewError::EmptyBatch(name));
            }
            let is_absent = arrive.is_some();
            match thread::start(index, &name, make, arrive, events.clone(), clock.clone()) {
                Ok(mailbox) => {
                    let member = ActiveMember::new(name, batch, mailbox, clock.clone());
                    active.push(if is_absent { member.absent() } else { member });
                }
                Err(error) => return Err(CrewError::Thread(name, error)),
            }
        }
        Ok(Self { members: active, batches: 0, events, inbox, clock, away: Vec::new() })
    }

    /// Devices that have not been given up.
    pub fn alive(&self) -> usize {
        self.members.iter().filter(|member| member.alive()).count()
    }

    /// Shares tasks among the devices.
    ///
    /// `tasks` is drawn from on a thread of its own, as the tasks are needed: at most [`Terms::ahead`] wait, and at
    /// most two batches are with each device, so that memory is bounded; no new batches are begun while the sink
    /// lags behind. If its `size_hint` is exact, the end is planned from the start. `sink` gets each result on the
    /// caller's thread with its task's number, counted from 0, in no certain order. Once `stop` says so, nothing
    /// new is begun, and what runs is finished and delivered; it is asked about every 10 ms.
    ///
    /// The call returns when nothing runs any more, save on devices that hang, and when the iterator's last `next`
    /// has returned.
    ///
    /// # Errors
    ///
    /// [`PoolError`]: a task that cannot be made or done, no device left, or what the sink returned. What runs then
    /// is finished and delivered, as after `stop`; only a sink that failed gets nothing more.
    ///
    /// # Panics
    ///
    /// If `tasks`, `stop` or `sink` panics; workers' panics are faults.
    pub fn share<E: Send>(
        &mut self,
        tasks: impl Iterator<Item = Result<T, E>> + Send,
        terms: &Terms,
        stop: &(dyn Fn() -> bool + Sync),
        sink: &mut dyn FnMut(usize, R) -> Result<(), E>,
    ) -> Result<Report, PoolError<E>> {
        let total = match tasks.size_hint() {
            (least, Some(most)) if least == most => Some(least),
            _ => None,
        };
        self.begin();
        let (asks, asked) = mpsc::channel();
        let made = Producer::new();
        let events = self.events.clone();
        let (members, inbox, batches) = (&mut self.members, &self.inbox, &mut self.batches);
        let away = std::mem::take(&mut self.away);
        let (sunk, closing, report) = std::thread::scope(|scope| {
            scope.spawn(|| made.make(tasks, asked, events));
            // Also if the sink panics.
            let _quits = QuitsAtLast(&made);
            let mut run = Scheduler::new(members, inbox, batches, asks, total, terms, &self.clock);
            away.iter().for_each(|(member, failure)| run.stayed_away(*member, failure));
            let sunk = run.run(stop, &|| made.failed(), sink);
            let report = run.report();
            (sunk, run.closing, report)
        });
        // Tasks that were made and not wanted any more.
        self.forget();
        outcome(sunk, made.end(), closing, report)
    }

    /// Begins a run. Of an earlier one nothing is left, unless its sink panicked.
    fn begin(&mut self) {
        self.members.iter_mut().for_each(ActiveMember::begin);
        self.forget();
    }

    /// Takes no notice of what was made or done, but of threads that ended and devices that came.
    fn forget(&mut self) {
        while let Ok(event) = self.inbox.try_recv() {
            match event {
                CrewEvent::Done(done) => drop(self.members[done.member].returned(done.batch)),
                CrewEvent::Left(member) => drop(self.members[member].left()),
                CrewEvent::Arrived(member, Ok(())) => self.members[member].arrived(),
                CrewEvent::Arrived(member, Err(failure)) => {
                    self.members[member].give_up(format!("it could not be opened: {failure}"));
                    self.away.push((member, failure));
                }
                CrewEvent::Made(_) | CrewEvent::Ended => {}
            }
        }
    }

    /// As [`Crew::share`], with the results in the tasks' order.
    ///
    /// If the run was stopped ([`Report::stopped`]), they are those before the first that is missing.
    ///
    /// # Errors
    ///
    /// As [`Crew::share`].
    pub fn share_ordered<E: Send>(
        &mut self,
        tasks: impl Iterator<Item = Result<T, E>> + Send,
        terms: &Terms,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Vec<R>, Report), PoolError<E>> {
        let mut results: Vec<Option<R>> = Vec::new();
        let report = self.share(tasks, terms, stop, &mut |number, result| {
            if results.len() <= number {
                results.resize_with(number + 1, || None);
            }
            results[number] = Some(result);
            Ok(())
        })?;
        Ok((results.into_iter().map_while(|result| result).collect(), report))
    }

    /// Lets the crew go, and waits until its workers are dropped, but no longer than `patience`.
    ///
    /// A crew that is dropped instead does not wait. Devices that hang, or are still being opened, are never waited for.
    pub fn close(self, patience: Duration) {
        let mut staying = self.members.iter().filter(|member| member.present()).count();
        self.members.iter().for_each(ActiveMember::close);
        let start = Instant::now();
        while staying > 0 {
            let left = patience.saturating_sub(start.elapsed());
            match self.inbox.recv_timeout(left) {
                Ok(CrewEvent::Left(member)) if self.members[member].present() => staying -= 1,
                Ok(_) => (),
                Err(_) => return,
            }
        }
    }
}

/// What a run comes to.
fn outcome<E>(
    sunk: Option<E>,
    end: TasksEnd<E>,
    closing: Option<Closing>,
    report: Report,
) -> Result<Report, PoolError<E>> {
    if let Some(error) = sunk {
        return Err(PoolError::Sink(error));
    }
    match end {
        TasksEnd::Failed(error) => return Err(PoolError::Tasks(error)),
        TasksEnd::Panicked(panic) => std::panic::resume_unwind(panic),
        TasksEnd::Whole => (),
    }
    match closing {
        Some(Closing::Task { task, tries, device, reason }) => {
            Err(PoolError::Task { task, tries, device, reason, report: Box::new(report) })
        }
        Some(Closing::Dead(reasons)) => Err(PoolError::Dead { reasons, report: Box::new(report) }),
        _ => Ok(report),
    }
}

/// Shares tasks among devices once: [`Crew::share`] by a crew that is opened for it and closed after it.
///
/// It returns when every worker is dropped, save those of devices that hang.
///
/// # Errors
///
/// As [`Crew::share`], and [`CrewError`].
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
    let mut crew = Crew::open(crew)?;
    let outcome = crew.share(tasks, terms, stop, sink);
    crew.close(terms.least_deadline);
    outcome
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
    let mut crew = Crew::open(crew)?;
    let outcome = crew.share_ordered(tasks, terms, stop);
    crew.close(terms.least_deadline);
    outcome
}

#[cfg(test)]
mod tests;
