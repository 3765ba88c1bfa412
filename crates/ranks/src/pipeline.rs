//! Stages on threads of their own, with several items in flight.
//!
//! While stage 2 works on the first item, stage 1 works on the second. A stage's thread lives as long as the pipeline: on
//! CUDA a host thread is a stream and a memory pool. An item that cannot be computed travels on as an error, so everything that was put
//! in comes out, and nobody waits for ever; a stage that panicked computes nothing more, and one that hangs is left behind.
//!
//! With S stages that take `tₛ` seconds an item, M items take at best `Σ tₛ + (M-1) max tₛ`; for equal stages the share of time that
//! they stand idle, the bubble, is then `(S-1)/(M+S-1)` (Huang et al., "GPipe", NeurIPS 2019).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use lithoburn_compare::largest;
use serde::Serialize;

use crate::error::{PipelineError, caught};
use crate::thread::{Make, Patience, Silence, started};

struct Parcel<A> {
    number: usize,
    value: Result<A, PipelineError>,
    /// Seconds that each stage so far took.
    busy: Vec<f64>,
}

/// What the caller hears of the stages.
enum Arrival<A> {
    /// The first stage took an item: there is room for another one.
    Taken,
    /// An item came out.
    Out(Parcel<A>),
}

/// Stages one after the other, each on its thread.
#[derive(Debug)]
pub struct Pipeline<A> {
    /// Held for a whole run: one at a time.
    ends: Mutex<Ends<A>>,
    threads: Vec<JoinHandle<()>>,
    /// Items that may wait before the first stage.
    room: usize,
    pulse: Arc<Pulse>,
    patience: Patience,
}

#[derive(Debug)]
struct Ends<A> {
    /// None while it is dropped.
    first: Option<Sender<Parcel<A>>>,
    last: Receiver<Arrival<A>>,
    /// The failure that ended it.
    ended: Option<String>,
    /// Whether a thread cannot be joined.
    hung: bool,
}

/// The stages' signs of life.
#[derive(Debug)]
struct Pulse {
    stages: Vec<(String, AtomicBool)>,
    beats: AtomicU64,
}

impl Pulse {
    fn new<'a>(names: impl Iterator<Item = &'a String>) -> Self {
        let stages = names.map(|name| (name.clone(), AtomicBool::new(false))).collect();
        Self { stages, beats: AtomicU64::new(0) }
    }

    fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// A stage begins or ends its work on an item.
    fn works(&self, stage: usize, works: bool) {
        self.stages[stage].1.store(works, Ordering::Relaxed);
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Says which stages are at work, after there was no sign of life for so long.
    fn hung(&self, patience: &Patience) -> PipelineError {
        let working = self.stages.iter().filter(|(_, works)| works.load(Ordering::Relaxed));
        let names: Vec<&str> = working.map(|(name, _)| name.as_str()).collect();
        let seconds = patience.longest.as_secs_f64();
        PipelineError::Hung(format!("{}: no sign of life for {seconds:.0} s", names.join(", ")))
    }
}

impl<A: Send + 'static> Pipeline<A> {
    /// Makes the stages, all at once. Between two of them up to `ahead` finished items wait; with 0, a stage keeps an item until
    /// the next one takes it.
    ///
    /// # Errors
    ///
    /// That of the first stage that could not be made; [`PipelineError::Hung`] if one is not made in half an hour.
    pub fn new(stages: Vec<(String, Make<A>)>, ahead: usize) -> Result<Self, PipelineError> {
        Self::with_patience(stages, ahead, Patience::default())
    }

    fn with_patience(
        stages: Vec<(String, Make<A>)>,
        ahead: usize,
        patience: Patience,
    ) -> Result<Self, PipelineError> {
        if stages.is_empty() {
            return Err(PipelineError::Failed("a pipeline needs a stage".into()));
        }
        let pulse = Arc::new(Pulse::new(stages.iter().map(|(name, _)| name)));
        let (first, mut input) = channel();
        let (result, last) = channel();
        let (mut threads, mut made) = (Vec::new(), Vec::new());
        let count = stages.len();
        for (index, (_, make)) in stages.into_iter().enumerate() {
            let (output, next) = match index + 1 == count {
                true => (Output::Last(result.clone()), None),
                false => {
                    let (output, next) = sync_channel(ahead);
                    (Output::Next(output), Some(next))
                }
            };
            let (report, answer) = channel();
            made.push(answer);
            let taken = (index == 0).then(|| result.clone());
            let stage = StageThread { index, input, output, taken, pulse: Arc::clone(&pulse) };
            threads.push(started(&format!("stage-{index}"), move || stage.attend(make, &report))?);
            let Some(next) = next else { break };
            input = next;
        }
        let ends = Mutex::new(Ends { first: Some(first), last, ended: None, hung: false });
        let room = ahead.max(1);
        let mut pipeline = Self { ends, threads, room, pulse, patience };
        pipeline.await_stages(&made)?;
        Ok(pipeline)
    }

    /// Waits until all stages are made.
    fn await_stages(
        &mut self,
        made: &[Receiver<Result<(), PipelineError>>],
    ) -> Result<(), PipelineError> {
        for (answer, (name, _)) in made.iter().zip(&self.pulse.stages) {
            match self.patience.wait(answer, || self.pulse.beats()) {
                Ok(answer) => answer?,
                Err(Silence::Gone) => return Err(gone()),
                Err(Silence::Hangs) => {
                    self.ends.get_mut().unwrap_or_else(PoisonError::into_inner).hung = true;
                    let seconds = self.patience.longest.as_secs_f64();
                    let text = format!("{name}: it was not made in {seconds:.0} s");
                    return Err(PipelineError::Hung(text));
                }
            }
        }
        Ok(())
    }

    /// Sends items through all stages; `sink` is given each result with its item's number, in order, as soon as the
    /// caller's thread is free.
    ///
    /// # Errors
    ///
    /// That of the first item that failed; the others have been computed, but only those before it were given to `sink`. After
    /// [`PipelineError::Panicked`] and [`PipelineError::Hung`] (no stage finished anything in half an hour), every further run is
    /// [`PipelineError::Ended`].
    pub fn run(
        &self,
        items: impl IntoIterator<Item = A>,
        mut sink: impl FnMut(usize, A),
    ) -> Result<PipelineReport, PipelineError> {
        let mut ends =
            self.ends.lock().map_err(|_| PipelineError::Ended("a run panicked".into()))?;
        if let Some(reason) = &ends.ended {
            return Err(PipelineError::Ended(reason.clone()));
        }
        let mut run = InFlight::new(self);
        let fed = run.feed(&ends, items.into_iter(), &mut sink);
        // What is in flight comes out, whatever happened.
        let result = fed.and_then(|()| run.drain(&ends, &mut sink));
        let error = run.failed.take().map_or(result, Err).err();
        if let Some(PipelineError::Panicked(reason) | PipelineError::Hung(reason)) = &error {
            ends.ended = Some(reason.clone());
            ends.hung = matches!(error, Some(PipelineError::Hung(_)));
        }
        error.map_or_else(|| Ok(run.report()), Err)
    }

    /// Number of stages.
    pub fn stages(&self) -> usize {
        self.threads.len()
    }
}

fn gone() -> PipelineError {
    PipelineError::Ended("a stage's thread is gone".into())
}

enum Output<A> {
    Next(SyncSender<Parcel<A>>),
    /// Without a bound: the caller is not always listening.
    Last(Sender<Arrival<A>>),
}

/// A stage's thread, and its ways to the others.
struct StageThread<A> {
    index: usize,
    input: Receiver<Parcel<A>>,
    output: Output<A>,
    /// Where the first stage tells that it took an item.
    taken: Option<Sender<Arrival<A>>>,
    pulse: Arc<Pulse>,
}

impl<A> StageThread<A> {
    fn attend(self, make: Make<A>, made: &Sender<Result<(), PipelineError>>) {
        let name = &self.pulse.stages[self.index].0;
        let mut work = match caught(make) {
            Ok(work) => work,
            Err(error) => return drop(made.send(Err(error.of(name)))),
        };
        drop(made.send(Ok(())));
        let mut ended: Option<String> = None;
        while let Ok(Parcel { number, value, mut busy }) = self.input.recv() {
            if let Some(taken) = &self.taken {
                drop(taken.send(Arrival::Taken));
            }
            let start = Instant::now();
            self.pulse.works(self.index, true);
            let value = value.and_then(|value| match &ended {
                Some(reason) => Err(PipelineError::Ended(reason.clone())),
                None => caught(|| work(value)).map_err(|error| error.of(name)),
            });
            self.pulse.works(self.index, false);
            if let Err(PipelineError::Panicked(reason)) = &value {
                ended.get_or_insert_with(|| reason.clone());
            }
            busy.push(start.elapsed().as_secs_f64());
            let parcel = Parcel { number, value, busy };
            let sent = match &self.output {
                Output::Next(next) => next.send(parcel).is_ok(),
                Output::Last(last) => last.send(Arrival::Out(parcel)).is_ok(),
            };
            if !sent {
                return;
            }
        }
    }
}

/// What a run knows so far.
struct InFlight<'a, A> {
    pipeline: &'a Pipeline<A>,
    start: Instant,
    sent: usize,
    taken: usize,
    done: usize,
    busy: Vec<f64>,
    failed: Option<PipelineError>,
}

impl<'a, A> InFlight<'a, A> {
    fn new(pipeline: &'a Pipeline<A>) -> Self {
        let busy = vec![0.0; pipeline.threads.len()];
        Self { pipeline, start: Instant::now(), sent: 0, taken: 0, done: 0, busy, failed: None }
    }

    fn feed(
        &mut self,
        ends: &Ends<A>,
        items: impl Iterator<Item = A>,
        sink: &mut impl FnMut(usize, A),
    ) -> Result<(), PipelineError> {
        let first = ends.first.as_ref().ok_or_else(gone)?;
        for value in items {
            while self.sent - self.taken >= self.pipeline.room {
                self.hear(ends, sink)?;
            }
            let parcel = Parcel { number: self.sent, value: Ok(value), busy: Vec::new() };
            first.send(parcel).map_err(|_| gone())?;
            self.sent += 1;
            while let Ok(arrival) = ends.last.try_recv() {
                self.note(arrival, sink);
            }
            if self.failed.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn drain(
        &mut self,
        ends: &Ends<A>,
        sink: &mut impl FnMut(usize, A),
    ) -> Result<(), PipelineError> {
        while self.taken < self.sent || self.done < self.sent {
            self.hear(ends, sink)?;
        }
        Ok(())
    }

    /// Waits for a stage to say something.
    fn hear(
        &mut self,
        ends: &Ends<A>,
        sink: &mut impl FnMut(usize, A),
    ) -> Result<(), PipelineError> {
        let Pipeline { patience, pulse, .. } = self.pipeline;
        match patience.wait(&ends.last, || pulse.beats()) {
            Ok(arrival) => self.note(arrival, sink),
            Err(Silence::Gone) => return Err(gone()),
            Err(Silence::Hangs) => return Err(pulse.hung(patience)),
        }
        Ok(())
    }

    fn note(&mut self, arrival: Arrival<A>, sink: &mut impl FnMut(usize, A)) {
        let parcel = match arrival {
            Arrival::Taken => return self.taken += 1,
            Arrival::Out(parcel) => parcel,
        };
        self.done += 1;
        self.busy.iter_mut().zip(&parcel.busy).for_each(|(sum, seconds)| *sum += seconds);
        match parcel.value {
            Ok(value) if self.failed.is_none() => sink(parcel.number, value),
            Ok(_) => {}
            Err(error) => drop(self.failed.get_or_insert(error)),
        }
    }

    fn report(self) -> PipelineReport {
        PipelineReport {
            items: self.done,
            wall_seconds: self.start.elapsed().as_secs_f64(),
            busy_seconds: self.busy,
        }
    }
}

impl<A> Drop for Pipeline<A> {
    fn drop(&mut self) {
        // After a sink that panicked the lock is poisoned, and the ends are whole.
        let ends = self.ends.get_mut().unwrap_or_else(PoisonError::into_inner);
        ends.first = None;
        let patience = if ends.hung { self.patience.none() } else { self.patience.clone() };
        patience.join(self.threads.drain(..));
    }
}

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PipelineReport {
    /// Items that came through.
    pub items: usize,
    /// From the first one in to the last one out.
    pub wall_seconds: f64,
    /// What each stage worked.
    pub busy_seconds: Vec<f64>,
}

impl PipelineReport {
    /// Share of the stages' time in which they stood idle.
    pub fn bubble(&self) -> f64 {
        let whole = self.wall_seconds * self.busy_seconds.len() as f64;
        if whole > 0.0 { 1.0 - self.busy_seconds.iter().sum::<f64>() / whole } else { 0.0 }
    }

    /// How many times faster this was than the stages' work one after the other.
    pub fn speedup(&self) -> f64 {
        let work: f64 = self.busy_seconds.iter().sum();
        if self.wall_seconds > 0.0 { work / self.wall_seconds } else { 0.0 }
    }

    /// The bubble that stages of these means have at best.
    pub fn best_bubble(&self) -> f64 {
        let mean = |busy: &f64| busy / self.items.max(1) as f64;
        bubble(&self.busy_seconds.iter().map(mean).collect::<Vec<_>>(), self.items)
    }
}

/// The bubble of stages that take `seconds` an item, with `items` of them: `(S-1)/(M+S-1)` if they are equal.
pub fn bubble(seconds: &[f64], items: usize) -> f64 {
    let work: f64 = seconds.iter().sum();
    let slowest = largest(seconds);
    let wall = work + items.saturating_sub(1) as f64 * slowest;
    if wall > 0.0 { 1.0 - work * items as f64 / (seconds.len() as f64 * wall) } else { 0.0 }
}

#[cfg(test)]
mod tests;
