//! What layers cost: memory by counting, time by measuring.

use std::ops::Range;
use std::time::Instant;

use burn::tensor::{DType, Device, Tensor};
use lithoburn_ranks::transfer::computed;
use lithoburn_ranks::{PipelineError, caught};
use serde::Serialize;

use super::ParallelError;
use crate::program::{Activations, Layer, LayerKind, Program};

/// Shapes of what is between two layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The image's: `[batch, 1, height, width]` before the first layer and after the last, channels last between.
    pub x: [usize; 4],
    /// Those of the images that wait.
    pub skips: Vec<[usize; 4]>,
    /// Whether the image is the one that waits: one memory for both.
    shared: bool,
}

impl Extent {
    /// Of images that enter.
    pub fn of(images: [usize; 4]) -> Self {
        Self { x: images, skips: Vec::new(), shared: false }
    }

    /// Takes the shapes of images as they are.
    pub(super) fn measure(&mut self, x: &Tensor<4>, skips: &[Tensor<4>]) {
        *self =
            Self { x: x.dims(), skips: skips.iter().map(Tensor::dims).collect(), shared: false };
    }

    /// Values in all images.
    pub fn values(&self) -> usize {
        let waiting: usize = self.skips.iter().map(count).sum();
        waiting + if self.shared { 0 } else { count(&self.x) }
    }

    /// After a layer.
    #[must_use]
    pub fn after(&self, kind: &LayerKind) -> Self {
        let ([b, h, w, c], mut skips) = (self.x, self.skips.clone());
        let x = match kind {
            LayerKind::Enter => [b, w, c, h],
            LayerKind::Convolve { kernel, .. } => [b, h, w, kernel.to],
            LayerKind::Halve => [b, h / 2, w / 2, c],
            LayerKind::Double => [b, 2 * h, 2 * w, c],
            LayerKind::Fold => [b, h / 2, w / 2, 4 * c],
            LayerKind::Unfold => [b, 2 * h, 2 * w, c / 4],
            LayerKind::Push => {
                skips.push(self.x);
                self.x
            }
            LayerKind::Join => {
                let more = skips.pop().map_or(0, |skip| skip[3]);
                [b, h, w, c + more]
            }
            LayerKind::Leave => [b, c, h, w],
        };
        Self { x, skips, shared: matches!(kind, LayerKind::Push) }
    }

    /// Values in memory at most while a layer works, in whole tensors: an estimate from above. Fused kernels need less.
    pub fn working(&self, kind: &LayerKind) -> usize {
        let output = count(&self.after(kind).x);
        let more = match kind {
            LayerKind::Enter | LayerKind::Leave | LayerKind::Push => 0,
            // The sum before its bias, the weights as the kernel reads them.
            LayerKind::Convolve { kernel, .. } => 2 * output + kernel.count(),
            // Pooling wants its channels second.
            LayerKind::Halve => count(&self.x) + 2 * output,
            // Both neighbours of every row, two mixtures, and these interleaved.
            LayerKind::Double => 7 * output / 2,
            LayerKind::Fold | LayerKind::Unfold | LayerKind::Join => output,
        };
        self.values() + more
    }
}

fn count(shape: &[usize; 4]) -> usize {
    shape.iter().product()
}

/// Operations of a layer: two for each product and sum of a convolution.
pub fn operations(kind: &LayerKind, before: &Extent) -> f64 {
    match kind {
        LayerKind::Convolve { kernel, .. } => {
            let pixels = count(&before.x) / kernel.from;
            2.0 * (pixels * kernel.to * kernel.from * kernel.side * kernel.side) as f64
        }
        _ => 0.0,
    }
}

/// Memory that some consecutive layers need, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StageNeed {
    /// Their weights.
    pub weights: u64,
    /// Images while they work, at most; what enters is among them.
    pub working: u64,
    /// What enters.
    pub input: u64,
    /// What leaves.
    pub output: u64,
}

impl Program {
    /// Shapes before each layer and after the last, for images `[batch, 1, height, width]`.
    pub fn extents(&self, images: [usize; 4]) -> Vec<Extent> {
        let mut extents = vec![Extent::of(images)];
        for layer in &self.layers {
            let next = extents[extents.len() - 1].after(&layer.kind);
            extents.push(next);
        }
        extents
    }

    /// Memory that a range of layers needs for images `[batch, 1, height, width]` in a precision.
    pub fn need(&self, range: Range<usize>, images: [usize; 4], precision: DType) -> StageNeed {
        let (extents, size) = (self.extents(images), precision.size() as u64);
        let working = |i: usize| extents[i].working(&self.layers[i].kind) as u64;
        let weights: u64 = self.layers[range.clone()].iter().map(|l| l.weight_count() as u64).sum();
        StageNeed {
            weights: weights * size,
            working: range.clone().map(working).max().unwrap_or(0) * size,
            input: extents[range.start].values() as u64 * size,
            output: extents[range.end].values() as u64 * size,
        }
    }

    /// Operations of a range of layers.
    pub fn operations(&self, range: Range<usize>, images: [usize; 4]) -> f64 {
        let extents = self.extents(images);
        range.map(|i| operations(&self.layers[i].kind, &extents[i])).sum()
    }
}

/// Runs of a layer behind each other, whose results are all in memory at once.
const SEVERAL: usize = 4;

/// What one layer costs on a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerCost {
    /// Its name.
    pub name: String,
    /// Seconds, warm, amid others of its kind: the least of some runs.
    pub seconds: f64,
    /// Bytes of its weights.
    pub weight_bytes: u64,
    /// Bytes that travel if the network is cut after it: activation and skips.
    pub output_bytes: u64,
    /// Bytes of images while it works.
    pub peak_bytes: u64,
}

/// Measures every layer on a device, for images `[batch, 1, height, width]` in a precision. One layer's weights are there at a
/// time, so a network can be measured that the device cannot hold.
///
/// # Errors
///
/// [`ParallelError::Rank`] if the device fails.
pub fn costs(
    program: &Program,
    device: &Device,
    images: [usize; 4],
    precision: DType,
    repeats: usize,
) -> Result<Vec<LayerCost>, ParallelError> {
    let (extents, size) = (program.extents(images), precision.size() as u64);
    let x = Tensor::<4>::ones(images, device).cast(precision) * 0.5;
    let measured = || {
        let mut state = Activations { x, skips: Vec::new() };
        let mut costs = Vec::with_capacity(program.layers.len());
        for (layer, around) in program.layers.iter().zip(extents.windows(2)) {
            let (seconds, after) = timed(layer, state, device, precision, repeats)?;
            state = after;
            costs.push(LayerCost {
                name: layer.name.clone(),
                seconds,
                weight_bytes: layer.weight_count() as u64 * size,
                output_bytes: around[1].values() as u64 * size,
                peak_bytes: around[0].working(&layer.kind) as u64 * size,
            });
        }
        Ok(costs)
    };
    Ok(caught(measured)?)
}

fn timed(
    layer: &Layer,
    state: Activations,
    device: &Device,
    precision: DType,
    repeats: usize,
) -> Result<(f64, Activations), PipelineError> {
    let layer = layer.placed(device, precision);
    // The result of one run lives on, so that it is computed; it is what the next layer takes.
    let mut after = Some(run(&layer, &state, 1)?.1);
    let (mut one, mut several) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..repeats.max(1) {
        drop(after.take());
        several = several.min(run(&layer, &state, SEVERAL)?.0);
        let (seconds, done) = run(&layer, &state, 1)?;
        one = one.min(seconds);
        after = Some(done);
    }
    // What asking and reading take is in both, and is no cost of a layer amid others.
    let seconds = ((several - one) / (SEVERAL - 1) as f64).max(0.0);
    Ok((seconds, after.unwrap_or(state)))
}

/// Seconds of some runs behind each other, and the last one's result.
fn run(
    layer: &Layer,
    state: &Activations,
    times: usize,
) -> Result<(f64, Activations), PipelineError> {
    computed(&state.x)?;
    let start = Instant::now();
    let mut done: Vec<Activations> =
        (0..times.max(1)).map(|_| layer.kind.run(state.clone())).collect();
    let last = done.swap_remove(done.len() - 1);
    computed(&last.x)?;
    Ok((start.elapsed().as_secs_f64(), last))
}
