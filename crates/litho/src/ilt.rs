//! Inverse lithography: gradient descent on the mask's pixels.
//!
//! The mask is `sigmoid(steepness * (smooth(p) - 1/2))` of free parameters p, one per pixel, smoothed by
//! a box so that features have a width. The gradient of the print's error is exact (the adjoint of the
//! [`Simulator`], written out); OpenILT's hand-written one is not. Levels go from coarse to fine pixels.
//! The goal is the target with its corners rounded, since no lens prints them; edges that are out of
//! tolerance at the EPE sites cost extra. Twice in the last level the mask is held against its
//! [`MaskConstraint`], and what could not be made is taken out of the descent, which goes on without it.
//! Of the last iterates, the one is kept whose *hard* mask has the least error.
//!
//! On the CPU a step is written in Burn's operations (`descent`). On a GPU those would be ninety launches that take
//! longer than their work, so there many steps are one operation, with kernels of our own (`steps`).
//!
//! Source: multi-level ILT (Sun et al., DAC 2023) as in OpenILT; rounded targets as in CurvyILT (ISPD 2025);
//! loss, constraint and schedule are ours.

mod descent;
mod modelled;
mod steps;

use burn::tensor::{Bool, BoolStore, DType, Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::images::{self, resized};
use crate::loss::{Goal, PrintLoss, probes};
use crate::{LithoError, Sampling, Simulator};
use descent::Descent;
pub use modelled::{Found, ModelledIlt, Usage};
pub(crate) use steps::Optics;

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
    /// Radius of the target's corners, as the width of the Gaussian that rounds them, in nm; 0 leaves them.
    pub corner_nm: f64,
    /// When the mask is held against its constraint, as shares of the last level.
    pub mend_at: Vec<f64>,
    /// Size of a point of the mask that the levels' pixels are made of, in nm.
    pub point_nm: f64,
}

impl Default for IltConfig {
    /// `benches/runs/` has the sweeps that these come from.
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
            free_nm: 2048.0 - 2.0 * FRAME_NM,
            start: 0.5,
            betas: [0.8, 0.99],
            grey: 0.02,
            loss: PrintLoss::default(),
            corner_nm: 12.0,
            mend_at: vec![0.0, 0.375],
            point_nm: 1.0,
        }
    }
}

/// Width of the frame around a field in which the mask stays as it is, in nm.
const FRAME_NM: f64 = 128.0;

impl IltConfig {
    /// The correction of a mask that a network proposes: nearly half of the steps at 8 nm, where they are cheap, three
    /// eighths at 4 nm, the rest at 2 nm. The mask is nearly right and the steps are few, so they are long at the end
    /// and short at the start, unlike the solver's own.
    pub fn correction(iterations: usize) -> Self {
        let (middle, fine) = (iterations * 3 / 8, iterations * 5 / 32);
        let mut config = Self::default();
        let steps = [iterations - middle - fine, middle, fine];
        for ((level, steps), rate) in config.levels.iter_mut().zip(steps).zip([0.12, 0.06, 0.03]) {
            level.iterations = steps;
            level.learning_rate = rate;
        }
        config.levels.retain(|level| level.iterations > 0);
        config
    }

    /// The same for a field of another period.
    #[must_use]
    pub fn on_field(self, period_nm: f64) -> Self {
        Self { free_nm: period_nm - 2.0 * FRAME_NM, ..self }
    }

    /// Steps of all levels.
    pub fn iterations(&self) -> usize {
        self.levels.iter().map(|level| level.iterations).sum()
    }

    /// Exposures by the true model in a descent that uses its gradient: each step's, and each hard mask's.
    pub fn exact_calls(&self) -> usize {
        let last = self.levels.last().map_or(0, |level| level.iterations);
        self.iterations() + (0..last).filter(|&step| is_candidate(step, last)).count()
    }

    /// What to print, on the last level's grid, and the design's pixels.
    fn goal(&self, target: &Tensor<3>, period_nm: f64) -> Result<(Goal, Vec<bool>), LithoError> {
        let none = || LithoError::Grid("the descent has no level".into());
        let level = self.levels.last().ok_or_else(none)?;
        let design = resized(target.clone(), (period_nm / level.pixel_nm).round() as usize);
        let bits = read_bits(design.clone(), "read the target")?;
        let strips = (self.loss.edge > 0.0).then(|| {
            let strips = probes::strips(&bits, design.dims(), level.pixel_nm);
            from_bits(strips, design.dims(), &design.device())
        });
        let target = images::rounded(design.clone(), self.corner_nm, level.pixel_nm);
        Ok((Goal { target, design, strips }, bits))
    }

    /// Whether the mask is held against its constraint after this step of the last level.
    fn mends(&self, step: usize, level: &Level) -> bool {
        let at = |share: &f64| (share * level.iterations as f64).round() as usize == step;
        self.mend_at.iter().any(at)
    }

    /// Parameters at the start, on the target's grid.
    fn first(&self, target: &Tensor<3>, start: &Start, level: &Level) -> Tensor<3> {
        match start {
            Start::Target => target.clone() * self.start,
            Start::Mask(mask) => {
                // The inverse of the mask's sigmoid, where it is not saturated.
                let mask = resized(mask.clone(), target.dims()[2]).clamp(0.02, 0.98);
                let logit = (mask.clone() / (mask * -1.0 + 1.0)).log();
                logit / level.steepness[0] + 0.5
            }
        }
    }

    /// Points along a mask's pixel.
    fn points(&self, pixel_nm: f64) -> usize {
        (pixel_nm / self.point_nm).round().max(1.0) as usize
    }
}

/// What a mask must be like to be made. The simulator knows no geometry; `lithoburn-layout` has rules.
pub trait MaskConstraint: Sync {
    /// Pixels that must stay dark so that the mask can be made. `mask` has `width` pixels a row.
    fn forbidden(&self, mask: &[bool], width: usize, pixel_nm: f64) -> Vec<bool>;

    /// A mask near this one that can be made.
    fn enforced(&self, mask: &[bool], width: usize, pixel_nm: f64) -> Vec<bool>;
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

/// Masks of a batch of clips, open or dark.
#[derive(Clone, Debug)]
pub struct HardMasks {
    /// Pixels on a mask's side.
    pub size: usize,
    /// Mask after mask, row by row: whether a pixel is open.
    pub bits: Vec<bool>,
}

/// A constraint is not enforced where it multiplies the print's error by more than this.
const MOST_COST: f32 = 1.5;
/// Iterates of the last level that are tried as hard masks.
const CANDIDATES: usize = 8;

/// A descent on a batch of clips.
pub struct Ilt<'a> {
    config: &'a IltConfig,
    simulator: &'a Simulator,
    constraint: Option<&'a dyn MaskConstraint>,
}

/// The best hard masks so far, one per clip, and their errors.
struct Best {
    masks: Tensor<3>,
    errors: Tensor<3>,
}

impl<'a> Ilt<'a> {
    /// A descent with this configuration through this simulator.
    pub fn new(config: &'a IltConfig, simulator: &'a Simulator) -> Self {
        Self { config, simulator, constraint: None }
    }

    /// Holds masks to a constraint.
    #[must_use]
    pub fn with_constraint(self, constraint: Option<&'a dyn MaskConstraint>) -> Self {
        Self { constraint, ..self }
    }

    /// Finds masks for targets `[batch, n, n]` with pixels no coarser than the finest level's.
    /// Returns masks of 0 and 1 on the last level's grid.
    ///
    /// `watch` hears of the progress after every step, on a GPU after some; false stops the descent.
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
        let HardMasks { size, bits } = self.solve(target, start, watch)?;
        let [batch, _, _] = target.dims();
        Ok(from_bits(bits, [batch, size, size], &target.device()))
    }

    /// As [`Ilt::run`], with the masks where the last of the work is done: in memory.
    ///
    /// # Errors
    ///
    /// As [`Ilt::run`].
    pub fn solve(
        &self,
        target: &Tensor<3>,
        start: &Start,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<HardMasks, LithoError> {
        let mut progress = Progress { done: 0, total: self.config.iterations(), loss_nm2: None };
        let mut parameters: Option<Tensor<3>> = None;
        let mut best = None;
        self.config.levels.iter().try_for_each(|level| self.grid(level).map(|_| ()))?;
        let (goal, design) = self.config.goal(target, self.simulator.period_nm())?;
        for (index, level) in self.config.levels.iter().enumerate() {
            let grid = self.grid(level)?;
            let goal = goal.resized(grid.size);
            let first = parameters.take().map(|p| resized(p, grid.size));
            let first = first.unwrap_or_else(|| self.config.first(&goal.target, start, level));
            let last = index + 1 == self.config.levels.len();
            let mut descent = Descent::new(self, level, grid, goal, first);
            let mends = |step: usize| last && self.config.mends(step, level);
            let tries = |step: usize| last && is_candidate(step, level.iterations);
            let mut step = 0;
            while step < level.iterations {
                step += descent.advance(step, |s| mends(s) || tries(s), &mut progress)?;
                if let Some(constraint) = self.constraint.filter(|_| mends(step - 1)) {
                    descent.mend(constraint, &design)?;
                }
                if tries(step - 1) {
                    best = Some(descent.keep_better(best.take()));
                }
                progress.done = before(&self.config.levels, index) + step;
                if !watch(progress) {
                    return Err(LithoError::Interrupted);
                }
            }
            parameters = Some(descent.parameters);
        }
        match best {
            Some(best) => self.enforced(best, &goal),
            None => Err(LithoError::Grid("the descent has no step in its last level".into())),
        }
    }

    fn grid(&self, level: &Level) -> Result<Sampling, LithoError> {
        self.simulator.sampling(level.pixel_nm, self.config.points(level.pixel_nm))
    }

    /// L2 and PV band of hard masks and what their edges cost, `[batch, 1, 1]`.
    fn hard_errors(&self, masks: Tensor<3>, goal: &Goal, grid: &Sampling) -> Tensor<3> {
        let loss = &self.config.loss;
        if steps::are_on(&masks.device()) {
            return steps::errors(masks, goal, self.simulator, grid, loss, true);
        }
        loss.hard_error(&self.simulator.aerial(masks, grid, grid), goal)
    }

    fn enforced(&self, best: Best, goal: &Goal) -> Result<HardMasks, LithoError> {
        let pixel_nm = self.simulator.period_nm() / best.masks.dims()[2] as f64;
        let grid = self.simulator.sampling(pixel_nm, self.config.points(pixel_nm))?;
        let error = |masks: Tensor<3>| self.hard_errors(masks, goal, &grid);
        enforced(best, self.constraint, pixel_nm, &error)
    }
}

/// Steps of the levels before one.
fn before(levels: &[Level], index: usize) -> usize {
    levels[..index].iter().map(|level| level.iterations).sum()
}

/// The hard masks as their constraint wants them, unless that costs too much of the print: a mask that
/// breaks its constraint is worth more than one that prints nothing.
fn enforced(
    best: Best,
    constraint: Option<&dyn MaskConstraint>,
    pixel_nm: f64,
    error: &dyn Fn(Tensor<3>) -> Tensor<3>,
) -> Result<HardMasks, LithoError> {
    let (device, shape) = (best.masks.device(), best.masks.dims());
    let [batch, n, _] = shape;
    let pixels = n * n;
    let free = read_bits(best.masks, "read the mask")?;
    let Some(constraint) = constraint else {
        return Ok(HardMasks { size: n, bits: free });
    };
    let mut kept = vec![false; free.len()];
    kept.par_chunks_mut(pixels)
        .zip(free.par_chunks(pixels))
        .for_each(|(kept, free)| kept.copy_from_slice(&constraint.enforced(free, n, pixel_nm)));
    let after = error(from_bits(kept.clone(), shape, &device));
    let errors = read_back(Tensor::cat(vec![best.errors, after], 1), "read the error")?;
    for clip in (0..batch).filter(|&i| errors[2 * i + 1] > errors[2 * i] * MOST_COST) {
        let own = clip * pixels..(clip + 1) * pixels;
        kept[own.clone()].copy_from_slice(&free[own]);
    }
    Ok(HardMasks { size: n, bits: kept })
}

/// Where a mask may stay open, 0 or 1: not where it would break its constraint when hard. The design itself is never
/// taken away: what it breaks is for the report.
fn still_open(
    mask: &Tensor<3>,
    design: &[bool],
    constraint: &dyn MaskConstraint,
    pixel_nm: f64,
) -> Result<Tensor<3>, LithoError> {
    let [batch, n, _] = mask.dims();
    let mut open = read_bits(mask.clone(), "read the mask")?;
    open.par_chunks_mut(n * n).zip(design.par_chunks(n * n)).for_each(|(open, design)| {
        let forbidden = constraint.forbidden(open, n, pixel_nm);
        for ((open, forbidden), &design) in open.iter_mut().zip(forbidden).zip(design) {
            *open = !forbidden || design;
        }
    });
    Ok(from_bits(open, [batch, n, n], &mask.device()))
}

/// Whether an iterate of the last level is tried: the last one, and some before.
fn is_candidate(step: usize, iterations: usize) -> bool {
    let left = iterations - 1 - step;
    let apart = (iterations * 2 / 5 / CANDIDATES).max(1);
    // Of a short level, no more than a third: an exposure costs half a step.
    let count = CANDIDATES.min(iterations / 3).max(1);
    left.is_multiple_of(apart) && left / apart < count
}

/// An image's values; waits for the device.
pub(crate) fn read_back(image: Tensor<3>, doing: &'static str) -> Result<Vec<f32>, LithoError> {
    image.try_into_vec_as::<f32>().map_err(|e| LithoError::Device { doing, problem: e.to_string() })
}

/// Whether each of an image's values is at least one half; waits for the device.
fn read_bits(image: Tensor<3>, doing: &'static str) -> Result<Vec<bool>, LithoError> {
    let bits = image.greater_equal_elem(0.5).try_into_data();
    let problem = |problem: String| LithoError::Device { doing, problem };
    let bits = bits.map_err(|e| problem(e.to_string()))?;
    Ok(match bits.dtype() {
        // A byte each, as most devices keep them: a million at a time is worth a faster way.
        DType::Bool(BoolStore::Native | BoolStore::U8) => {
            bits.as_bytes().par_iter().with_min_len(1 << 16).map(|&byte| byte != 0).collect()
        }
        _ => bits.iter::<bool>().collect(),
    })
}

/// An image of 0 and 1.
fn from_bits(bits: Vec<bool>, shape: [usize; 3], device: &Device) -> Tensor<3> {
    Tensor::<3, Bool>::from_data(TensorData::new(bits, shape), device).float()
}

#[cfg(test)]
mod tests {
    use super::*;

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
