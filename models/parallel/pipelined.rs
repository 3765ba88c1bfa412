//! Layers on several devices, with several images in flight.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use burn::tensor::{DType, Tensor};
use lithoburn_ranks::pipeline::{Pipeline, PipelineReport};
use lithoburn_ranks::{Make, Work};

use super::cost::Extent;
use super::stage::{Cargo, StageLayers, synced};
use super::{Distributed, ParallelError, Place, Summary, check_image};
use crate::head::Head;
use crate::program::{Activations, Program};

/// How a pipeline works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineTerms {
    /// Images that travel together. More of them fill a card better; fewer make the bubble smaller.
    pub micro_batch: usize,
    /// Finished micro-batches that may wait between two stages.
    pub ahead: usize,
    /// Precision in which the weights are kept; images have their own.
    pub precision: DType,
}

impl Default for PipelineTerms {
    fn default() -> Self {
        Self { micro_batch: 1, ahead: 1, precision: DType::F32 }
    }
}

/// A network cut into stages, each with its weights on its device.
#[derive(Debug)]
pub struct Pipelined {
    head: Head,
    stride: usize,
    pipeline: Pipeline<Cargo>,
    terms: PipelineTerms,
    /// With bytes and seconds of moving images between stages.
    report: Mutex<(PipelineReport, (u64, f64))>,
}

impl Pipelined {
    /// Lays the layers of `cuts[i]` on `places[i]`. The weights of a stage go to its device alone.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Cut`] if the cuts are not consecutive parts of the program, [`ParallelError::Rank`] if weights do not fit
    /// their place.
    pub fn new(
        program: &Program,
        places: &[Place],
        cuts: &[Range<usize>],
        terms: PipelineTerms,
    ) -> Result<Self, ParallelError> {
        check_cuts(program.layers.len(), places.len(), cuts)?;
        let whole = Arc::new(program.clone());
        let stage = |(i, (place, range)): (usize, (&Place, &Range<usize>))| {
            let name = format!("stage {i} on {}", place.budget.device());
            let (program, place, range) = (Arc::clone(&whole), place.clone(), range.clone());
            let make: Make<Cargo> = Box::new(move || {
                let mut stage = StageLayers::new(&program, range, &place, terms.precision)?;
                drop(program);
                let work: Work<Cargo> = Box::new(move |cargo| stage.run(cargo));
                Ok(work)
            });
            (name, make)
        };
        let stages = places.iter().zip(cuts).enumerate().map(stage).collect();
        Ok(Self {
            head: program.head,
            stride: program.stride,
            pipeline: Pipeline::new(stages, terms.ahead)?,
            terms,
            report: Mutex::default(),
        })
    }

    /// Logits of micro-batches as they come: the next one is asked for when the first stage has room, and `sink` is given logits in
    /// order, on their images' device, while later ones are in flight. So reading images and writing masks hide behind the stages.
    ///
    /// # Errors
    ///
    /// As [`Distributed::try_logits`].
    pub fn stream(
        &self,
        images: impl IntoIterator<Item = Tensor<4>>,
        mut sink: impl FnMut(Tensor<4>),
    ) -> Result<(), ParallelError> {
        let mut refused = None;
        let cargo = |x: Tensor<4>| -> Result<Cargo, ParallelError> {
            let (extent, home) = (Extent::of(check_image(&x, self.stride)?), x.device());
            // Another thread reads it: what this one has asked for has to be done.
            synced(&home)?;
            let state = Activations { x, skips: Vec::new() };
            Ok(Cargo { state, extent, held: None, home, moved: (0, 0.0) })
        };
        let items = images.into_iter().map_while(|x| cargo(x).map_err(|e| refused = Some(e)).ok());
        let mut moved = (0, 0.0);
        let report = self.pipeline.run(items, |_, cargo| {
            moved = (moved.0 + cargo.moved.0, moved.1 + cargo.moved.1);
            sink(cargo.state.x);
        })?;
        if let Ok(mut last) = self.report.lock() {
            *last = (report, moved);
        }
        refused.map_or(Ok(()), Err)
    }

    /// How the last run went.
    pub fn report(&self) -> PipelineReport {
        self.report.lock().map(|last| last.0.clone()).unwrap_or_default()
    }
}

impl Distributed for Pipelined {
    fn form(&self) -> (Head, usize) {
        (self.head, self.stride)
    }

    fn try_logits(&self, x: Tensor<4>) -> Result<Tensor<4>, ParallelError> {
        self.try_all(vec![x]).map(|mut logits| logits.swap_remove(0))
    }

    /// The pipeline is filled once for all inputs.
    fn try_all(&self, inputs: Vec<Tensor<4>>) -> Result<Vec<Tensor<4>>, ParallelError> {
        let size = self.terms.micro_batch.max(1);
        let mut parts = Vec::new();
        for x in &inputs {
            let [batch, ..] = check_image(x, self.stride)?;
            parts.push(batch.div_ceil(size));
        }
        let mut logits = Vec::with_capacity(parts.iter().sum());
        let micro_batches = inputs.into_iter().flat_map(|x| x.split(size, 0));
        self.stream(micro_batches, |part| logits.push(part))?;
        let mut logits = logits.into_iter();
        let whole = |count| Tensor::cat(logits.by_ref().take(count).collect(), 0);
        Ok(parts.into_iter().map(whole).collect())
    }

    fn summary(&self) -> Summary {
        let (report, moved) = self.report.lock().map(|last| last.clone()).unwrap_or_default();
        Summary {
            wall_seconds: report.wall_seconds,
            best_bubble: Some(report.best_bubble()),
            busy_seconds: report.busy_seconds,
            exchanged_bytes: moved.0,
            exchange_seconds: vec![moved.1],
        }
    }
}

impl Program {
    /// Consecutive stages with about equal numbers of operations: a cut for when nothing has been measured. There are fewer if the
    /// network has too few convolutions.
    pub fn even_cuts(&self, stages: usize, images: [usize; 4]) -> Vec<Range<usize>> {
        let layers = self.layers.len();
        let mut sums = vec![0.0];
        for i in 0..layers {
            sums.push(sums[i] + self.operations(i..i + 1, images));
        }
        let nearest = |share: f64| {
            let off = |i: &usize| (sums[*i] - share * sums[layers]).abs();
            (1..layers).min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or(0)
        };
        let mut ends: Vec<usize> = (1..stages).map(|i| nearest(i as f64 / stages as f64)).collect();
        ends.extend([0, layers]);
        ends.sort_unstable();
        ends.dedup();
        ends.windows(2).map(|pair| pair[0]..pair[1]).collect()
    }

    /// Bytes that a stage needs of its device, for micro-batches `[batch, 1, height, width]`: its weights, the images that it works
    /// on, and those that wait for the next stage.
    pub fn stage_bytes(
        &self,
        range: Range<usize>,
        images: [usize; 4],
        terms: PipelineTerms,
    ) -> u64 {
        let last = range.end == self.layers.len();
        let need = self.need(range, images, terms.precision);
        // One more than wait is on its way to the next device.
        let waiting = if last { 0 } else { (terms.ahead as u64 + 1) * need.output };
        need.weights + need.working + waiting
    }
}

fn check_cuts(layers: usize, places: usize, cuts: &[Range<usize>]) -> Result<(), ParallelError> {
    let wrong = |problem: String| Err(ParallelError::Cut(problem));
    if cuts.len() != places || cuts.is_empty() {
        return wrong(format!("{} stages for {places} devices", cuts.len()));
    }
    let ends = cuts.iter().map(|cut| cut.end);
    let starts = cuts.iter().skip(1).map(|cut| cut.start).chain([layers]);
    let consecutive = cuts[0].start == 0 && ends.eq(starts);
    match consecutive && cuts.iter().all(|cut| cut.start < cut.end) {
        true => Ok(()),
        false => {
            wrong(format!("{cuts:?} are not consecutive stages of the network's {layers} layers"))
        }
    }
}
