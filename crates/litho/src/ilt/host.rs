//! Steps of the descent on the processor, image by image.
//!
//! As tensor operations a step goes through memory some ninety times, and its products are those of general matrices. Here
//! each pixel is touched a few times, and products are over a quarter of the rows ([`waves`]). The numbers are those of
//! [`crate::Simulator`], [`crate::loss::PrintLoss`] and `Descent` in Burn, which stay the reference.
//!
//! ```text
//! p ─ box, sigmoid ─► mask [n,n] ─ fold, waves ─► [35,35] ─ kernels ─► I [72,72] ─► waves [69,69] ─ unfold ─► image [n,n]
//! p ◄─ Adam, box, sigmoid' ─ [n,n] ◄─ waves, unfold ─ [35,35] ◄─ kernels ─ [72,72] ◄─ [69,69] ◄─ fold ─ loss' [n,n] ◄─┘
//! ```

mod fields;
mod rows;
mod waves;

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::steps::{DescentStep, Plan, PrintWeights, Stand};
use crate::images::values;
use crate::loss::Goal;
use crate::{Sampling, Simulator, pixel_average};
use fields::{Exposed, Fields};
pub use rows::sigmoid;
use rows::{Changed, GoalRow, adam, error, gradient, soft_mask, sums_along_rows};
use waves::{Waves, fold, folded, quarters, quarters_mut, unfold};

/// The optics of a grid of masks and images, in this process's memory.
pub(crate) struct Host {
    n: usize,
    mask: Waves,
    fields: Fields,
    /// Waves of the intensity at the coarse points, which are divided by their squares, and at the pixels.
    coarse: Waves,
    image: Waves,
}

/// What should print, of a batch.
struct GoalValues {
    target: Vec<f32>,
    design: Vec<f32>,
    strips: Vec<f32>,
}

impl GoalValues {
    fn new(goal: &Goal) -> Self {
        let (target, design) = (values(goal.target.clone()), values(goal.design.clone()));
        let strips = goal.strips.clone().map_or_else(|| vec![0.0; target.len()], values);
        Self { target, design, strips }
    }

    /// Rows of a clip of `n * n` pixels, in the order of [`quarters`].
    fn rows(&self, clip: usize, n: usize) -> impl IndexedParallelIterator<Item = [GoalRow<'_>; 4]> {
        let own = clip * n * n..(clip + 1) * n * n;
        let target = quarters(&self.target[own.clone()], n);
        let others = quarters(&self.design[own.clone()], n).zip(quarters(&self.strips[own], n));
        target.zip(others).map(|(target, (design, strips))| {
            [0, 1, 2, 3].map(|i| GoalRow {
                target: target[i],
                design: design[i],
                strips: strips[i],
            })
        })
    }
}

/// What is made anew at each exposure.
struct Scratch {
    /// Images in focus and out of it, or the gradient by them: folded, `[n / 4, 4, n]`.
    best: Vec<f32>,
    defocus: Vec<f32>,
    /// An image, and one that is folded.
    pixels: Vec<f32>,
    folded: Vec<f32>,
    exposed: Exposed,
}

impl Host {
    /// The optics of a simulator on the processor; none if the grid has no quarters.
    pub(crate) fn new(simulator: &Simulator, grid: &Sampling) -> Option<Self> {
        let (n, half) = (grid.size, simulator.half);
        let kept = |f: usize| pixel_average(f as f64, n, grid.points) / n as f64;
        let points = simulator.coarse;
        let inverse = |f: usize| {
            simulator.left_by_diffusion(f) * if f == 0 { 1.0 } else { 2.0 } / points as f64
        };
        n.is_multiple_of(4).then(|| Self {
            n,
            mask: Waves::new(n, half, kept),
            fields: Fields::new(simulator),
            coarse: Waves::new(points, 2 * half, inverse),
            image: Waves::new(n, 2 * half, |_| 1.0),
        })
    }

    /// Where a descent stands after the steps of a plan, and their last soft mask.
    pub(super) fn descend(
        &self,
        stand: Stand,
        window: &Tensor<3>,
        goal: &Goal,
        plan: &Plan,
    ) -> (Stand, Tensor<3>) {
        let (shape, device) = (stand.parameters.dims(), stand.parameters.device());
        let [mut parameters, mut mean, mut square] =
            [stand.parameters, stand.mean, stand.square].map(values);
        let (window, goal) = (values(window.clone()), GoalValues::new(goal));
        let mut masks = vec![0.0; parameters.len()];
        let (pixels, mut scratch) = (self.n * self.n, self.scratch());
        for (clip, mask) in masks.chunks_exact_mut(pixels).enumerate() {
            let own = clip * pixels..(clip + 1) * pixels;
            for step in &plan.steps {
                let changed = Changed {
                    parameters: &mut parameters[own.clone()],
                    mean: &mut mean[own.clone()],
                    square: &mut square[own.clone()],
                };
                let goal = goal.rows(clip, self.n);
                self.step(changed, &window[own.clone()], mask, goal, (plan, step), &mut scratch);
            }
        }
        let tensor = |v: Vec<f32>| Tensor::from_data(TensorData::new(v, shape), &device);
        let stand =
            Stand { parameters: tensor(parameters), mean: tensor(mean), square: tensor(square) };
        (stand, tensor(masks))
    }

    /// Errors of a batch of masks, in pixels, `[batch, 1, 1]`, hard or soft.
    pub(super) fn errors(
        &self,
        masks: Tensor<3>,
        goal: &Goal,
        weights: &PrintWeights,
        hard: bool,
    ) -> Tensor<3> {
        let ([batch, _, _], device, n) = (masks.dims(), masks.device(), self.n);
        let (masks, goal, mut scratch) = (values(masks), GoalValues::new(goal), self.scratch());
        let mut error_of = |clip: usize| -> f32 {
            self.expose(&masks[clip * n * n..][..n * n], &mut scratch);
            let images = scratch.best.par_chunks(4 * n).zip(scratch.defocus.par_chunks(4 * n));
            let parts: Vec<f64> = images
                .zip(goal.rows(clip, n))
                .map(|((best, defocus), goals)| {
                    let mut lights = [vec![0.0; 4 * n], vec![0.0; 4 * n]];
                    let [mut best_rows, mut defocus_rows] =
                        lights.each_mut().map(|v| quartet(v, n));
                    unfold(best, best_rows.each_mut().map(|row| &mut **row));
                    unfold(defocus, defocus_rows.each_mut().map(|row| &mut **row));
                    let of_row =
                        |i: usize| error(weights, hard, goals[i], best_rows[i], defocus_rows[i]);
                    (0..4).map(of_row).sum()
                })
                .collect();
            parts.iter().sum::<f64>() as f32
        };
        let errors: Vec<f32> = (0..batch).map(&mut error_of).collect();
        Tensor::from_data(TensorData::new(errors, [batch, 1, 1]), &device)
    }

    /// The loss's derivative by the pixels of masks.
    pub(super) fn slopes(
        &self,
        masks: Tensor<3>,
        goal: &Goal,
        weights: &PrintWeights,
    ) -> Tensor<3> {
        let (shape, device, n) = (masks.dims(), masks.device(), self.n);
        let (mut masks, goal, mut scratch) = (values(masks), GoalValues::new(goal), self.scratch());
        for (clip, mask) in masks.chunks_exact_mut(n * n).enumerate() {
            self.expose(mask, &mut scratch);
            self.loss_gradient(weights, goal.rows(clip, n), &mut scratch);
            self.pull_back(&mut scratch);
            let parts = quarters_mut(mask, n).zip(scratch.folded.par_chunks(4 * n));
            parts.for_each(|(rows, folded)| unfold(folded, rows));
        }
        Tensor::from_data(TensorData::new(masks, shape), &device)
    }

    fn scratch(&self) -> Scratch {
        let image = || vec![0.0; self.n * self.n];
        let exposed = Exposed::default();
        Scratch { best: image(), defocus: image(), pixels: image(), folded: image(), exposed }
    }

    /// One step of Adam.
    fn step<'a>(
        &self,
        changed: Changed,
        window: &[f32],
        mask: &mut [f32],
        goal: impl IndexedParallelIterator<Item = [GoalRow<'a>; 4]>,
        (plan, step): (&Plan, &DescentStep),
        scratch: &mut Scratch,
    ) {
        let (n, reach) = (self.n, plan.reach);
        sums_along_rows(changed.parameters, n, reach, &mut scratch.pixels);
        soft_mask(&scratch.pixels, window, (n, reach, step.steepness), mask);
        self.expose(mask, scratch);
        self.loss_gradient(&plan.weights, goal, scratch);
        self.pull_back(scratch);
        let rows = quarters_mut(&mut scratch.pixels, n).zip(quarters(mask, n));
        rows.zip(scratch.folded.par_chunks(4 * n)).for_each(|((mut rows, masks), folded)| {
            unfold(folded, rows.each_mut().map(|row| &mut **row));
            for (row, mask) in rows.into_iter().zip(masks) {
                row.iter_mut().zip(mask).for_each(|(g, m)| {
                    *g = (*g + (1.0 - 2.0 * m) * step.grey) * m * (1.0 - m) * step.steepness;
                });
            }
        });
        sums_along_rows(&scratch.pixels, n, reach, &mut scratch.folded);
        adam(&scratch.folded, (n, reach), plan.betas, step, changed);
    }

    /// The images of a mask, still folded.
    fn expose(&self, mask: &[f32], scratch: &mut Scratch) {
        let (n, waves, points) = (self.n, self.mask.count(), self.coarse.n);
        folded(mask, n, &mut scratch.folded);
        let mut along_y = vec![0.0; waves * n];
        self.mask.along_columns(&scratch.folded, &mut along_y);
        let mut sums = vec![0.0; waves * waves];
        self.mask.along_rows(&along_y, &mut sums);
        let intensities = self.fields.intensities(&sums, &mut scratch.exposed);
        let waves = self.coarse.count();
        let (best, defocus) = intensities.split_at(points * points);
        for (intensity, image) in [(best, &mut scratch.best), (defocus, &mut scratch.defocus)] {
            let mut parts = vec![0.0; points * points];
            folded(intensity, points, &mut parts);
            let (mut along_y, mut heights) = (vec![0.0; waves * points], vec![0.0; waves * waves]);
            self.coarse.along_columns(&parts, &mut along_y);
            self.coarse.along_rows(&along_y, &mut heights);
            let mut along_x = vec![0.0; waves * n];
            self.image.rows_of_waves(&heights, &mut along_x);
            self.image.columns_of_waves(&along_x, image);
        }
    }

    /// Makes images the loss's derivative by them.
    fn loss_gradient<'a>(
        &self,
        weights: &PrintWeights,
        goal: impl IndexedParallelIterator<Item = [GoalRow<'a>; 4]>,
        scratch: &mut Scratch,
    ) {
        let n = self.n;
        let Scratch { best, defocus, .. } = scratch;
        let images = best.par_chunks_mut(4 * n).zip(defocus.par_chunks_mut(4 * n)).zip(goal);
        let lights = || [vec![0.0; 4 * n], vec![0.0; 4 * n]];
        images.for_each_init(lights, |lights, ((best, defocus), goals)| {
            let [mut best_rows, mut defocus_rows] = lights.each_mut().map(|v| quartet(v, n));
            unfold(best, best_rows.each_mut().map(|row| &mut **row));
            unfold(defocus, defocus_rows.each_mut().map(|row| &mut **row));
            for i in 0..4 {
                gradient(weights, goals[i], best_rows[i], defocus_rows[i]);
            }
            fold(best_rows.map(|row| &*row), best);
            fold(defocus_rows.map(|row| &*row), defocus);
        });
    }

    /// The mask's gradient from that of the images, both folded: the adjoint of [`Host::expose`].
    fn pull_back(&self, scratch: &mut Scratch) {
        let (n, waves, points) = (self.n, self.coarse.count(), self.coarse.n);
        let mut by_intensity = vec![0.0; 2 * points * points];
        let (best, defocus) = by_intensity.split_at_mut(points * points);
        for (image, intensity) in [(&scratch.best, best), (&scratch.defocus, defocus)] {
            let (mut along_y, mut sums) = (vec![0.0; waves * n], vec![0.0; waves * waves]);
            self.image.along_columns(image, &mut along_y);
            self.image.along_rows(&along_y, &mut sums);
            let (mut along_x, mut parts) = (vec![0.0; waves * points], vec![0.0; points * points]);
            self.coarse.rows_of_waves(&sums, &mut along_x);
            self.coarse.columns_of_waves(&along_x, &mut parts);
            quarters_mut(intensity, points)
                .zip(parts.par_chunks(4 * points))
                .for_each(|(rows, parts)| unfold(parts, rows));
        }
        let heights = self.fields.pull_back(&by_intensity, &mut scratch.exposed);
        let mut along_x = vec![0.0; self.mask.count() * n];
        self.mask.rows_of_waves(&heights, &mut along_x);
        self.mask.columns_of_waves(&along_x, &mut scratch.folded);
    }
}

/// Four rows of `n`.
fn quartet(rows: &mut [f32], n: usize) -> [&mut [f32]; 4] {
    let (first, second) = rows.split_at_mut(2 * n);
    let ((a, b), (c, d)) = (first.split_at_mut(n), second.split_at_mut(n));
    [a, b, c, d]
}

#[cfg(test)]
mod tests;
