//! A device's thread: loads models, computes batches, answers.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::board::{Given, Turned};
use super::call::{Answered, Call};
use super::catalog::Entry;
use super::hub::Next;
use super::queue::{Job, Limit};
use super::refusal::Refusal;
use super::shared::Shared;
use super::stages::Stages;
use super::worker::{Command, Worker};
use crate::model::{Answer, Batch, Executor, Fault, Stop, Work};

/// How often a device's thread looks whether a full batch waits, while it computes another.
const LOOK: Duration = Duration::from_millis(4);
/// The same while it computes several, of which any may be the next to be done.
const SHORT_LOOK: Duration = Duration::from_millis(1);

/// Works until there is nothing left to do.
pub(crate) fn run(index: usize, shared: &Shared) {
    let mut bench = Bench { index, shared, executors: HashMap::new(), landed: Instant::now() };
    loop {
        match shared.hub.next(index) {
            Next::Batch(given) => bench.work(given),
            Next::Command(Command::Load(entry)) => bench.load(&entry),
            Next::Command(Command::Unload(entry)) => bench.unload(&entry),
            Next::End => break,
        }
    }
    bench.abandon();
}

/// What a device's thread has.
struct Bench<'a> {
    index: usize,
    shared: &'a Shared,
    executors: HashMap<u64, Box<dyn Executor>>,
    /// When the last batch was computed.
    landed: Instant,
}

/// A batch on its way.
struct Flight {
    id: u64,
    calls: Vec<Arc<Call>>,
    work: Box<dyn Work>,
    input: Duration,
    launched: Instant,
    /// How it broke while it was waited for.
    broke: Option<Fault>,
}

/// Where a batch's time went.
struct Computed {
    stages: Stages,
    /// What of its computing no other batch of the device is charged with.
    busy: Duration,
    launched: Instant,
}

/// Batches of a device: those that compute, the oldest first, and one that is prepared.
#[derive(Default)]
struct Flights {
    computing: Vec<Flight>,
    prepared: Option<Flight>,
}

impl Flights {
    /// Waits a moment for a batch; the place of one that is computed, or of one that failed, as it says when it is finished.
    fn settled(&mut self) -> Option<usize> {
        // With nothing more to prepare, there is nothing to look for meanwhile.
        if let ([_], Some(_)) = (&self.computing[..], &self.prepared) {
            return Some(0);
        }
        let look = if self.computing.len() > 1 { SHORT_LOOK } else { LOOK };
        let mut waits = std::iter::once(look).chain(std::iter::repeat(Duration::ZERO));
        self.computing.iter_mut().position(|flight| {
            let wait = waits.next().unwrap_or_default();
            caught(|| Ok(flight.work.settles_within(wait))).unwrap_or_else(|fault| {
                flight.broke = Some(fault);
                true
            })
        })
    }
}

impl Bench<'_> {
    fn worker(&self) -> &Worker {
        &self.shared.workers[self.index]
    }

    /// Loads a version and computes once.
    fn load(&mut self, entry: &Arc<Entry>) {
        let device = self.worker().device.clone();
        let made = caught(|| {
            let mut executor = entry.model.executor(&device)?;
            executor.warm_up()?;
            let (pixels, hands) = (executor.pixels(), executor.hands().max(1));
            Ok((executor, pixels, hands))
        });
        match made {
            Ok((executor, pixels, hands)) => {
                self.executors.insert(entry.id, executor);
                let items = entry.model.signature().max_batch.max(1);
                let limit = Limit { items, pixels: (pixels / hands).max(1), most: pixels, hands };
                self.shared.hub.serves(self.index, entry.id, limit);
                entry.settle(self.index, None);
            }
            Err(fault) => self.could_not_load(entry, &fault),
        }
        self.shared.settled.notify_waiters();
    }

    fn could_not_load(&mut self, entry: &Entry, fault: &Fault) {
        let (device, name) = (&self.worker().device, entry.name());
        tracing::error!(%device, model = name, version = entry.version(), "cannot load: {fault}");
        self.worker().count().faults += 1;
        if let Fault::Lost(why) = fault {
            let refused = self.shared.hub.give_up(self.index, why);
            refuse(refused);
        }
        entry.settle(self.index, Some(fault.to_string()));
    }

    fn unload(&mut self, entry: &Entry) {
        refuse(self.shared.hub.drops(self.index, entry.id));
        drop_quietly(self.executors.remove(&entry.id));
        entry.settle(self.index, None);
    }

    /// Computes a batch, and those that come meanwhile.
    fn work(&mut self, given: Given<Arc<Call>>) {
        let mut flights = Flights::default();
        self.take(given, &mut flights);
        while !flights.computing.is_empty() {
            self.look_ahead(&mut flights);
            if let Some(at) = flights.settled() {
                let flight = flights.computing.remove(at);
                self.land(flight, &mut flights);
            }
        }
    }

    /// Prepares a batch, and launches it if it is to be.
    fn take(&mut self, given: Given<Arc<Call>>, flights: &mut Flights) {
        let begun = given.begun;
        match self.prepare(given) {
            Some(flight) if begun => flights.computing.extend(self.launch(flight)),
            prepared => flights.prepared = prepared,
        }
    }

    /// Begins further batches while hands are free, and prepares a full one.
    fn look_ahead(&mut self, flights: &mut Flights) {
        while flights.prepared.is_none()
            && let Some(given) = self.shared.hub.ahead(self.index)
        {
            self.take(given, flights);
        }
    }

    /// Stage one. A batch that fails here is dealt with.
    fn prepare(&mut self, given: Given<Arc<Call>>) -> Option<Flight> {
        given.expired.into_iter().for_each(|job| job.what.refuse(Refusal::Deadline));
        let (id, calls) = (given.id, given.jobs);
        let entry = calls.first()?.entry.clone();
        let start = Instant::now();
        match self.prepared(&entry, &calls) {
            Ok(work) => {
                let input = start.elapsed();
                Some(Flight { id, calls, work, input, launched: start, broke: None })
            }
            Err(fault) => {
                self.failed(id, &entry, &fault);
                None
            }
        }
    }

    fn prepared(&mut self, entry: &Entry, calls: &[Arc<Call>]) -> Result<Box<dyn Work>, Fault> {
        let requests = calls.iter().map(|call| call.request.clone()).collect();
        let stop = Stop::when_all(calls.iter().map(|call| call.gone.clone()).collect());
        if stop.asked() {
            return Err(Fault::Stopped);
        }
        let device = self.shared.workers[self.index].device.clone();
        let executors = &mut self.executors;
        caught(|| {
            let executor = match executors.entry(entry.id) {
                std::collections::hash_map::Entry::Occupied(there) => there.into_mut(),
                // The last one broke.
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(entry.model.executor(&device)?)
                }
            };
            executor.prepare(&Batch { requests, stop })
        })
    }

    fn launch(&mut self, mut flight: Flight) -> Option<Flight> {
        flight.launched = Instant::now();
        match caught(|| flight.work.launch()) {
            Ok(()) => Some(flight),
            Err(fault) => {
                self.drop_flight(flight, &fault);
                None
            }
        }
    }

    /// Finishes a batch and answers it.
    fn land(&mut self, mut flight: Flight, flights: &mut Flights) {
        let broke = flight.broke.take();
        if let Err(fault) = broke.map_or_else(|| caught(|| flight.work.finish()), Err) {
            let done = flight.id;
            self.drop_flight(flight, &fault);
            // What a client did wrong is nobody else's fault.
            return match fault {
                Fault::Request(_) | Fault::Stopped => self.begin(flights, done),
                _ => self.leave(flights),
            };
        }
        let now = Instant::now();
        let infer = now - flight.launched;
        // Of the time that two hands compute at once, each has a part.
        let busy = now - flight.launched.max(self.landed);
        self.landed = now;
        // The device goes on before its answers are looked at.
        self.begin(flights, flight.id);
        if !self.answer(flight, infer, busy) {
            self.leave(flights);
        }
    }

    /// Launches the prepared batch, unless it has to wait or another device has taken it over.
    fn begin(&mut self, flights: &mut Flights, done: u64) {
        let Some(flight) = flights.prepared.take() else { return };
        match self.shared.hub.begin(self.index, flight.id, done) {
            Turned::Begun => flights.computing.extend(self.launch(flight)),
            Turned::Waits => flights.prepared = Some(flight),
            Turned::Gone => drop_quietly(flight.work),
        }
    }

    /// Leaves all undone: what broke may have broken these too.
    fn leave(&mut self, flights: &mut Flights) {
        for flight in flights.computing.drain(..).chain(flights.prepared.take()) {
            self.shared.hub.put_back(self.index, flight.id);
            drop_quietly(flight.work);
        }
    }

    /// Stage three, and the answers. `false` if it failed.
    fn answer(&mut self, flight: Flight, infer: Duration, busy: Duration) -> bool {
        let Flight { id, calls, work, input, launched, .. } = flight;
        let Some(entry) = calls.first().map(|call| call.entry.clone()) else { return true };
        let start = Instant::now();
        let answers = match caught(|| work.collect()).and_then(|answers| whole(answers, &calls)) {
            Ok(answers) => answers,
            Err(fault) => {
                self.failed(id, &entry, &fault);
                return false;
            }
        };
        let stages = Stages { queue: Duration::ZERO, input, infer, output: start.elapsed() };
        if let Some(jobs) = self.shared.hub.finished(self.index, id, input + infer) {
            self.deliver(&entry, jobs, answers, &Computed { stages, busy, launched });
        }
        true
    }

    fn deliver(
        &self,
        entry: &Entry,
        jobs: Vec<Job<Arc<Call>>>,
        answers: Vec<Answer>,
        computed: &Computed,
    ) {
        let Computed { stages, busy, launched } = computed;
        let batch = jobs.iter().map(|job| job.items).sum();
        let pixels = jobs.iter().map(|job| job.pixels).sum();
        // Counted first, so that who reads the counts after an answer finds it there.
        entry.count(|counts| counts.executed(batch, stages));
        let of_device = Stages { infer: *busy, ..*stages };
        self.worker().count().did(jobs.len(), batch, pixels, &of_device);
        for (job, outputs) in jobs.into_iter().zip(answers) {
            let waited = launched.saturating_duration_since(job.what.came);
            let stages = Stages { queue: waited.saturating_sub(stages.input), ..*stages };
            let (device, version) = (self.worker().label.clone(), entry.version());
            job.what.answer(Answered { outputs, stages, device, batch, version });
        }
    }

    fn drop_flight(&mut self, flight: Flight, fault: &Fault) {
        let Flight { id, calls, work, .. } = flight;
        drop_quietly(work);
        if let Some(call) = calls.first() {
            self.failed(id, &call.entry.clone(), fault);
        }
    }

    /// A batch failed.
    fn failed(&mut self, id: u64, entry: &Entry, fault: &Fault) {
        if *fault != Fault::Stopped {
            let device = &self.worker().device;
            tracing::warn!(%device, model = entry.name(), "a batch failed: {fault}");
            self.worker().count().faults += 1;
        }
        match fault {
            Fault::Lost(_) => self.abandon(),
            Fault::Broken(_) => drop_quietly(self.executors.remove(&entry.id)),
            _ => (),
        }
        refuse(self.shared.hub.failed(self.index, id, fault));
        self.shared.settled.notify_waiters();
    }

    /// Drops all executors.
    fn abandon(&mut self) {
        self.executors.drain().for_each(|(_, executor)| drop_quietly(executor));
    }
}

/// Whether there is an answer of the right size for each request.
fn whole(answers: Vec<Answer>, calls: &[Arc<Call>]) -> Result<Vec<Answer>, Fault> {
    if answers.len() != calls.len() {
        let (came, expected) = (answers.len(), calls.len());
        return Err(Fault::Broken(format!("{came} answers for {expected} requests")));
    }
    for (answer, call) in answers.iter().zip(calls) {
        let wanted = &call.request.outputs;
        let fits = answer.len() == wanted.len()
            && answer.iter().zip(wanted).all(|(tensor, wanted)| tensor.datatype == wanted.datatype);
        if !fits {
            return Err(Fault::Broken("an answer has other outputs than its request".into()));
        }
    }
    Ok(answers)
}

/// Tells clients that are refused.
pub(crate) fn refuse(refused: Vec<(Job<Arc<Call>>, Refusal)>) {
    for (job, refusal) in refused {
        let refusal =
            if job.what.gone.load(Ordering::Relaxed) { Refusal::Canceled } else { refusal };
        job.what.refuse(refusal);
    }
}

/// What it returns, a panic being a fault.
fn caught<A>(work: impl FnOnce() -> Result<A, Fault>) -> Result<A, Fault> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic: Box<dyn Any + Send>| Err(Fault::of_panic(panic.as_ref())))
}

/// Drops what may panic while it is dropped, as handles of a lost device do.
fn drop_quietly<A>(thing: A) {
    // There is nobody to tell.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(thing)));
}
