//! Inverse lithography: gradient descent on the mask's pixels.
//!
//! The mask is `sigmoid(steepness * (smooth(p) - 1/2))` of free parameters p, one per pixel, smoothed by
//! a box so that no feature is smaller than it. The gradient of the print's error is exact (autodiff
//! through [`Simulator`]); OpenILT's hand-written one is not. Levels go from coarse to fine pixels.
//! Of the last level's iterates, the one is kept whose *hard* mask has the least L2 + PV band.
//!
//! Source: multi-level ILT (Sun et al., DAC 2023) as in OpenILT; loss weights and schedule are ours.

use std::f64::consts::PI;

use burn::tensor::{Device, Tensor, activation::sigmoid};
use serde::{Deserialize, Serialize};

use crate::loss::PrintLoss;
use crate::{LithoError, Sampling, Simulator};

/// One resolution of the descent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Side of a pixel, in nm.
    pub pixel_nm: f64,
    /// Steps of Adam.
    pub iterations: usize,
    /// Step size at the level's start; it falls along a cosine to a twentieth.
    pub learning_rate: f64,
    /// Slope of the mask's sigmoid at the level's start and end.
    pub steepness: [f64; 2],
    /// Side of the smoothing box, in nm.
    pub smooth_nm: f64,
}

/// How to descend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IltConfig {
    /// Resolutions, coarse to fine.
    pub levels: Vec<Level>,
    /// Side of the square in which the mask may be open, in nm; outside it is dark.
    pub free_nm: f64,
    /// Parameter of a pixel inside the target at the start; outside it is 0.
    pub start: f64,
    /// Adam's decay of the gradient's mean and of its square's.
    pub betas: [f64; 2],
    /// Weight of the mask's grey pixels, growing over a level.
    pub grey: f64,
    /// The error to minimise.
    pub loss: PrintLoss,
    /// Size of a point of the mask that the levels' pixels are made of, in nm.
    pub point_nm: f64,
}

impl Default for IltConfig {
    fn default() -> Self {
        let level = |pixel_nm, iterations, learning_rate, steepness, smooth_nm| Level {
            pixel_nm,
            iterations,
            learning_rate,
            steepness,
            smooth_nm,
        };
        Self {
            levels: vec![
                level(8.0, 100, 0.2, [4.0, 4.0], 24.0),
                level(4.0, 100, 0.05, [4.0, 4.0], 20.0),
                level(2.0, 40, 0.02, [4.0, 16.0], 30.0),
            ],
            free_nm: 1536.0,
            start: 0.5,
            betas: [0.8, 0.99],
            grey: 0.02,
            loss: PrintLoss::default(),
            point_nm: 1.0,
        }
    }
}

impl IltConfig {
    /// The correction of a mask that a network proposes: `iterations` steps, the last quarter of them
    /// at 2 nm. The mask is nearly right, so the coarsest level is left out.
    pub fn correction(iterations: usize) -> Self {
        let fine = iterations / 4;
        let mut config = Self::default();
        config.levels.remove(0);
        config.levels[0].iterations = iterations - fine;
        config.levels[1].iterations = fine;
        config.levels.retain(|level| level.iterations > 0);
        config
    }

    /// Steps of all levels.
    pub fn iterations(&self) -> usize {
        self.levels.iter().map(|level| level.iterations).sum()
    }
}

/// Where a descent stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
    /// Error per clip at the last look, in nm²; looks are rare, because each waits for the device.
    pub loss_nm2: Option<f64>,
}

/// What a descent starts from.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one per descent")]
pub enum Start {
    /// The target itself.
    Target,
    /// A mask in 0 to 1, `[batch, n, n]`, on any grid that divides or is divided by the levels'.
    Mask(Tensor<3>),
}

/// Steps between looks at the loss.
const LOOK_EVERY: usize = 10;
/// Iterates of the last level that are tried as hard masks.
const CANDIDATES: usize = 8;

/// A descent on a batch of clips.
pub struct Ilt<'a> {
    config: &'a IltConfig,
    simulator: &'a Simulator,
}

/// Adam's memory.
struct Moments {
    mean: Tensor<3>,
    square: Tensor<3>,
}

/// The best hard masks so far, one per clip, and their errors.
struct Best {
    masks: Tensor<3>,
    errors: Tensor<3>,
}

impl<'a> Ilt<'a> {
    /// A descent with this configuration through this simulator.
    pub fn new(config: &'a IltConfig, simulator: &'a Simulator) -> Self {
        Self { config, simulator }
    }

    /// Finds masks for targets `[batch, n, n]` with pixels no coarser than the finest level's.
    /// Returns masks of 0 and 1 on the last level's grid.
    ///
    /// `watch` hears of the progress after every step; false stops the descent.
    ///
    /// # Errors
    ///
    /// [`LithoError::Grid`] if a level does not fit the field; [`LithoError::Interrupted`] if `watch`
    /// said stop; [`LithoError::Device`] if a value could not be read back.
    pub fn run(
        &self,
        target: &Tensor<3>,
        start: &Start,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Tensor<3>, LithoError> {
        let mut progress = Progress { done: 0, total: self.config.iterations(), loss_nm2: None };
        let mut parameters: Option<Tensor<3>> = None;
        let mut best = None;
        for (index, level) in self.config.levels.iter().enumerate() {
            let grid = self.grid(level)?;
            let target = resized(target.clone(), grid.size);
            let first = parameters.take().map(|p| resized(p, grid.size));
            let first = first.unwrap_or_else(|| self.first(&target, start, level, grid.size));
            let last = index + 1 == self.config.levels.len();
            let mut descent = Descent::new(self, level, &grid, target, first);
            for step in 0..level.iterations {
                descent.step(step, &mut progress)?;
                if last && is_candidate(step, level.iterations) {
                    best = Some(descent.keep_better(best.take()));
                }
                progress.done += 1;
                if !watch(progress) {
                    return Err(LithoError::Interrupted);
                }
            }
            parameters = Some(descent.parameters);
        }
        match best {
            Some(best) => Ok(best.masks),
            None => Err(LithoError::Grid("the descent has no step in its last level".into())),
        }
    }

    fn grid(&self, level: &Level) -> Result<Sampling, LithoError> {
        let points = (level.pixel_nm / self.config.point_nm).round().max(1.0) as usize;
        self.simulator.sampling(level.pixel_nm, points)
    }

    fn first(&self, target: &Tensor<3>, start: &Start, level: &Level, size: usize) -> Tensor<3> {
        match start {
            Start::Target => target.clone() * self.config.start,
            Start::Mask(mask) => {
                // The inverse of the mask's sigmoid, where it is not saturated.
                let mask = resized(mask.clone(), size).clamp(0.02, 0.98);
                let logit = (mask.clone() / (mask * -1.0 + 1.0)).log();
                logit / level.steepness[0] + 0.5
            }
        }
    }
}

/// The descent at one level.
struct Descent<'a> {
    ilt: &'a Ilt<'a>,
    level: &'a Level,
    grid: &'a Sampling,
    target: Tensor<3>,
    window: Tensor<3>,
    parameters: Tensor<3>,
    moments: Option<Moments>,
    mask: Tensor<3>,
}

impl<'a> Descent<'a> {
    fn new(
        ilt: &'a Ilt,
        level: &'a Level,
        grid: &'a Sampling,
        target: Tensor<3>,
        first: Tensor<3>,
    ) -> Self {
        let window = free_window(grid, ilt.config.free_nm, &target.device());
        let mask = first.clone();
        Self { ilt, level, grid, target, window, parameters: first, moments: None, mask }
    }

    /// One step of Adam.
    fn step(&mut self, step: usize, progress: &mut Progress) -> Result<(), LithoError> {
        let share = step as f64 / self.level.iterations.saturating_sub(1).max(1) as f64;
        let parameters = self.parameters.clone().autodiff().require_grad();
        let mask = self.soft_mask(parameters.clone(), share);
        let aerial = self.ilt.simulator.aerial(mask.clone(), self.grid, self.grid);
        let config = self.ilt.config;
        let grey = (mask.clone() * (mask.clone() * -1.0 + 1.0)).sum() * (config.grey * share);
        let loss = config.loss.value(&aerial, &self.target) + grey;
        if step.is_multiple_of(LOOK_EVERY) {
            let [batch, _, _] = self.target.dims();
            let sum: f32 = read(loss.clone().inner())?;
            let area = self.level.pixel_nm * self.level.pixel_nm;
            progress.loss_nm2 = Some(f64::from(sum) * area / batch as f64);
        }
        let gradients = loss.backward();
        let gradient = parameters.grad(&gradients).ok_or(LithoError::Device {
            doing: "differentiated the print",
            problem: "no gradient reached the mask".into(),
        })?;
        self.mask = mask.inner();
        self.update(gradient, step, share);
        Ok(())
    }

    /// The mask of some parameters, `share` of the way through the level.
    fn soft_mask(&self, parameters: Tensor<3>, share: f64) -> Tensor<3> {
        let [from, to] = self.level.steepness;
        let box_px = (self.level.smooth_nm / self.level.pixel_nm / 2.0).floor() as usize * 2 + 1;
        let smooth = smoothed(parameters, box_px);
        sigmoid((smooth - 0.5) * (from + (to - from) * share)) * self.window.clone()
    }

    fn update(&mut self, gradient: Tensor<3>, step: usize, share: f64) {
        let [b1, b2] = self.ilt.config.betas;
        let square = gradient.clone() * gradient.clone();
        let moments = match self.moments.take() {
            None => Moments { mean: gradient * (1.0 - b1), square: square * (1.0 - b2) },
            Some(m) => Moments {
                mean: m.mean * b1 + gradient * (1.0 - b1),
                square: m.square * b2 + square * (1.0 - b2),
            },
        };
        let rate = self.level.learning_rate * (0.05 + 0.475 * (1.0 + (PI * share).cos()));
        let unbias = |beta: f64| 1.0 / (1.0 - beta.powi(step as i32 + 1));
        let size = (moments.square.clone() * unbias(b2)).sqrt() + 1e-8;
        let change = moments.mean.clone() * (rate * unbias(b1)) / size;
        self.parameters = self.parameters.clone() - change;
        self.moments = Some(moments);
    }

    /// Compares the last mask, made hard, with the best, clip by clip.
    fn keep_better(&self, best: Option<Best>) -> Best {
        let masks = self.mask.clone().greater_equal_elem(0.5).float();
        let aerial = self.ilt.simulator.aerial(masks.clone(), self.grid, self.grid);
        let loss = &self.ilt.config.loss;
        let print = |c: crate::Corner| {
            aerial.at(c.focus).greater_equal_elem(loss.resist.threshold / c.dose).float()
        };
        let window = &loss.window;
        let target = self.target.clone().greater_equal_elem(0.5).float();
        let off = (print(window.nominal) - target).abs()
            + (print(window.outer) - print(window.inner)).abs();
        let errors = off.sum_dim(2).sum_dim(1);
        match best {
            None => Best { masks, errors },
            Some(best) => {
                let better = errors.clone().lower(best.errors.clone());
                let everywhere = better.clone().expand(masks.dims());
                Best {
                    masks: best.masks.mask_where(everywhere, masks),
                    errors: best.errors.mask_where(better, errors),
                }
            }
        }
    }
}

/// Whether an iterate of the last level is tried: the last one, and some before.
fn is_candidate(step: usize, iterations: usize) -> bool {
    let left = iterations - 1 - step;
    let apart = (iterations * 2 / 5 / CANDIDATES).max(1);
    left.is_multiple_of(apart) && left / apart < CANDIDATES
}

fn read(value: Tensor<1>) -> Result<f32, LithoError> {
    value
        .try_into_scalar::<f32>()
        .map_err(|e| LithoError::Device { doing: "read the loss", problem: e.to_string() })
}

/// 1 inside the free square, 0 outside. `[1, n, n]`.
fn free_window(grid: &Sampling, free_nm: f64, device: &Device) -> Tensor<3> {
    let n = grid.size;
    let middle = n as f64 / 2.0;
    let open = |i: usize| ((i as f64 + 0.5 - middle) * grid.pixel_nm).abs() <= free_nm / 2.0;
    let line: Vec<f32> = (0..n).map(|i| f32::from(u8::from(open(i)))).collect();
    let line = Tensor::<1>::from_floats(line.as_slice(), device);
    line.clone().reshape([1, n, 1]) * line.reshape([1, 1, n])
}

/// Mean over a box of `side` pixels (odd), zero outside: first along rows, then along columns.
pub fn smoothed(image: Tensor<3>, side: usize) -> Tensor<3> {
    if side <= 1 {
        return image;
    }
    let sums = window_sums(window_sums(image, 2, side), 1, side);
    sums / (side * side) as f64
}

/// Sums over `side` neighbours along a dimension, from sums over 1, 2, 4, … of them.
///
/// Pooling does the same, but Burn's gradient of it takes the time of all the rest on the CPU.
fn window_sums(image: Tensor<3>, dim: usize, side: usize) -> Tensor<3> {
    let mut shape = image.dims();
    let n = shape[dim];
    shape[dim] = side / 2;
    let zeros = Tensor::zeros(shape, &image.device());
    let mut runs = Tensor::cat(vec![zeros.clone(), image, zeros], dim);
    let (mut length, mut start, mut total) = (1, 0, None);
    loop {
        if side & length != 0 {
            let part = runs.clone().narrow(dim, start, n);
            start += length;
            total = Some(total.map_or(part.clone(), |sum: Tensor<3>| sum + part));
        }
        if 2 * length > side {
            break;
        }
        let size = runs.dims()[dim] - length;
        runs = runs.clone().narrow(dim, 0, size) + runs.narrow(dim, length, size);
        length *= 2;
    }
    total.unwrap_or(runs)
}

/// A square image on another grid: block means downwards, repetition upwards.
///
/// # Panics
///
/// If neither size divides the other: our own grids do.
pub fn resized(image: Tensor<3>, size: usize) -> Tensor<3> {
    let [batch, n, _] = image.dims();
    match (n, size) {
        (n, size) if n == size => image,
        (n, size) if n % size == 0 => {
            let factor = n / size;
            let blocks = image.reshape([batch, size, factor, size * factor]).mean_dim(2);
            blocks.reshape([batch, size, size, factor]).mean_dim(3).reshape([batch, size, size])
        }
        (n, size) => {
            assert_eq!(size % n, 0, "grids of {n} and {size} pixels do not nest");
            let factor = size / n;
            let columns = image.reshape([batch, n, n, 1]).repeat_dim(3, factor);
            let rows = columns.reshape([batch, n, 1, size]).repeat_dim(2, factor);
            rows.reshape([batch, size, size])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(values: &[f32], n: usize) -> Tensor<3> {
        Tensor::<1>::from_floats(values, &Device::flex()).reshape([1, n, n])
    }

    fn values(image: Tensor<3>) -> Vec<f32> {
        image.try_into_vec_as::<f32>().expect("f32")
    }

    #[test]
    fn resizing_takes_means_and_repeats() {
        let fine: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let coarse = resized(image(&fine, 4), 2);
        assert_eq!(values(coarse.clone()), [2.5, 4.5, 10.5, 12.5]);
        assert_eq!(values(resized(coarse, 4))[..5], [2.5, 2.5, 4.5, 4.5, 2.5]);
    }

    #[test]
    fn smoothing_is_the_mean_over_a_box() {
        let mut point = vec![0.0; 49];
        point[24] = 9.0;
        let smooth = values(smoothed(image(&point, 7), 3));
        let near = |i: usize| (2..5).contains(&(i % 7)) && (2..5).contains(&(i / 7));
        assert!((0..49).all(|i| (smooth[i] - f32::from(u8::from(near(i)))).abs() < 1e-6));
    }

    #[test]
    fn the_last_iterate_is_always_a_candidate() {
        for iterations in [1, 2, 7, 40, 100] {
            let tried = (0..iterations).filter(|&s| is_candidate(s, iterations)).count();
            assert!(
                is_candidate(iterations - 1, iterations) && tried <= CANDIDATES,
                "{iterations}"
            );
        }
    }
}
