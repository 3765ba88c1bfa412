//! Stages on threads of their own, with several items in flight.
//!
//! While stage 2 works on the first item, stage 1 works on the second. A stage's thread lives as long as the pipeline: on
//! CUDA a host thread is a stream and a memory pool. An item that cannot be computed travels on as an error, so everything that was put
//! in comes out, and nobody waits for ever; a stage that panicked computes nothing more.
//!
//! With S stages that take `tₛ` seconds an item, M items take at best `Σ tₛ + (M-1) max tₛ`; for equal stages the share of time that
//! they stand idle, the bubble, is then `(S-1)/(M+S-1)` (Huang et al., "GPipe", NeurIPS 2019).

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use serde::Serialize;

use crate::error::{PipelineError, caught};
use crate::thread::{Make, started};

struct Parcel<A> {
    number: usize,
    value: Result<A, PipelineError>,
    /// Seconds that each stage so far took.
    busy: Vec<f64>,
}

/// Stages one after the other, each on its thread.
#[derive(Debug)]
pub struct Pipeline<A> {
    /// Held for a whole run: one at a time.
    ends: Mutex<Ends<A>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Ends<A> {
    /// None while it is dropped.
    first: Option<SyncSender<Parcel<A>>>,
    last: Receiver<Parcel<A>>,
    /// The panic that ended it.
    ended: Option<String>,
}

impl<A: Send + 'static> Pipeline<A> {
    /// Makes the stages, all at once. Between two of them up to `ahead` finished items wait; with 0, a stage keeps an item until
    /// the next one takes it.
    ///
    /// # Errors
    ///
    /// That of the first stage that could not be made.
    pub fn new(stages: Vec<(String, Make<A>)>, ahead: usize) -> Result<Self, PipelineError> {
        let (first, mut input) = sync_channel(ahead);
        let (result, last) = channel();
        let (mut threads, mut made) = (Vec::new(), Vec::new());
        let count = stages.len();
        if count == 0 {
            return Err(PipelineError::Failed("a pipeline needs a stage".into()));
        }
        for (index, (name, make)) in stages.into_iter().enumerate() {
            let (output, next) = match index + 1 == count {
                true => (Output::Last(result.clone()), None),
                false => {
                    let (output, next) = sync_channel(ahead);
                    (Output::Next(output), Some(next))
                }
            };
            let (report, answer) = channel();
            made.push(answer);
            let attend = move || attend(&name, make, &input, &output, &report);
            threads.push(started(&format!("stage-{index}"), attend)?);
            let Some(next) = next else { break };
            input = next;
        }
        let ends = Mutex::new(Ends { first: Some(first), last, ended: None });
        let pipeline = Self { ends, threads };
        for answer in made {
            let gone = |_| Err(PipelineError::Ended("a stage's thread is gone".into()));
            answer.recv().unwrap_or_else(gone)?;
        }
        Ok(pipeline)
    }

    /// Sends items through all stages; `sink` is given each result with its item's number, in order, as soon as the
    /// caller's thread is free.
    ///
    /// # Errors
    ///
    /// That of the first item that failed; the others have been computed, but only those before it were given to `sink`. After
    /// [`PipelineError::Panicked`], every further run is [`PipelineError::Ended`].
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
        let mut run = InFlight::new(self.threads.len());
        let fed = run.feed(&ends, items.into_iter(), &mut sink);
        // What is in flight comes out, whatever happened.
        let result = run.drain(&ends, &mut sink).and(fed);
        if let Some(PipelineError::Panicked(reason)) = &run.failed {
            ends.ended = Some(reason.clone());
        }
        match (run.failed.take(), result) {
            (Some(error), _) | (None, Err(error)) => Err(error),
            (None, Ok(())) => Ok(run.report()),
        }
    }

    /// Number of stages.
    pub fn stages(&self) -> usize {
        self.threads.len()
    }
}

enum Output<A> {
    Next(SyncSender<Parcel<A>>),
    /// Without a bound: the caller is not always listening.
    Last(Sender<Parcel<A>>),
}

/// A stage's thread.
fn attend<A>(
    name: &str,
    make: Make<A>,
    input: &Receiver<Parcel<A>>,
    output: &Output<A>,
    made: &Sender<Result<(), PipelineError>>,
) {
    let mut work = match caught(make) {
        Ok(work) => work,
        Err(error) => return drop(made.send(Err(error.of(name)))),
    };
    drop(made.send(Ok(())));
    let mut ended: Option<String> = None;
    while let Ok(Parcel { number, value, mut busy }) = input.recv() {
        let start = Instant::now();
        let value = value.and_then(|value| match &ended {
            Some(reason) => Err(PipelineError::Ended(reason.clone())),
            None => caught(|| work(value)).map_err(|error| error.of(name)),
        });
        if let Err(PipelineError::Panicked(reason)) = &value {
            ended.get_or_insert_with(|| reason.clone());
        }
        busy.push(start.elapsed().as_secs_f64());
        let parcel = Parcel { number, value, busy };
        let sent = match output {
            Output::Next(next) => next.send(parcel).is_ok(),
            Output::Last(last) => last.send(parcel).is_ok(),
        };
        if !sent {
            return;
        }
    }
}

/// What a run knows so far.
struct InFlight {
    start: Instant,
    sent: usize,
    done: usize,
    busy: Vec<f64>,
    failed: Option<PipelineError>,
}

impl InFlight {
    fn new(stages: usize) -> Self {
        Self { start: Instant::now(), sent: 0, done: 0, busy: vec![0.0; stages], failed: None }
    }

    fn feed<A>(
        &mut self,
        ends: &Ends<A>,
        items: impl Iterator<Item = A>,
        sink: &mut impl FnMut(usize, A),
    ) -> Result<(), PipelineError> {
        let gone = || PipelineError::Ended("the first stage's thread is gone".into());
        let first = ends.first.as_ref().ok_or_else(gone)?;
        for value in items {
            // Results have room without a bound, so this waits for the first stage alone.
            let parcel = Parcel { number: self.sent, value: Ok(value), busy: Vec::new() };
            first.send(parcel).map_err(|_| gone())?;
            self.sent += 1;
            while let Ok(parcel) = ends.last.try_recv() {
                self.put(parcel, sink);
            }
            if self.failed.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn drain<A>(
        &mut self,
        ends: &Ends<A>,
        sink: &mut impl FnMut(usize, A),
    ) -> Result<(), PipelineError> {
        let gone = |_| PipelineError::Ended("the last stage's thread is gone".into());
        while self.done < self.sent {
            let parcel = ends.last.recv().map_err(gone)?;
            self.put(parcel, sink);
        }
        Ok(())
    }

    fn put<A>(&mut self, parcel: Parcel<A>, sink: &mut impl FnMut(usize, A)) {
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
        if let Ok(ends) = self.ends.get_mut() {
            ends.first = None;
        }
        for thread in self.threads.drain(..) {
            // It catches its panics, so there is nothing to learn here.
            drop(thread.join());
        }
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
    let slowest = seconds.iter().copied().fold(0.0, f64::max);
    let wall = work + items.saturating_sub(1) as f64 * slowest;
    if wall > 0.0 { 1.0 - work * items as f64 / (seconds.len() as f64 * wall) } else { 0.0 }
}

#[cfg(test)]
mod tests;
