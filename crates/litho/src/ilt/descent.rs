//! The descent at one level: Adam on the parameters, with the print's exact gradient.

use std::f64::consts::PI;

use burn::tensor::{Tensor, activation::sigmoid};

use super::steps::{self, Plan, PrintWeights, Stand, Step};
use super::{Best, Ilt, Level, MaskConstraint, Progress, read_back, still_open};
use crate::aerial::Exposure;
use crate::images::{free_window, smoothed};
use crate::loss::Goal;
use crate::{Aerial, LithoError, Sampling};

/// Steps between looks at the loss.
const LOOK_EVERY: usize = 20;

/// Adam's memory.
struct Moments {
    mean: Tensor<3>,
    square: Tensor<3>,
}

/// The descent at one level.
pub(super) struct Descent<'a> {
    ilt: &'a Ilt<'a>,
    level: &'a Level,
    grid: Sampling,
    goal: Goal,
    /// Where the mask may be open, `[batch, n, n]`.
    window: Tensor<3>,
    pub(super) parameters: Tensor<3>,
    moments: Option<Moments>,
    mask: Tensor<3>,
    /// Whether many steps are one operation.
    together: bool,
}

impl<'a> Descent<'a> {
    pub(super) fn new(
        ilt: &'a Ilt,
        level: &'a Level,
        grid: Sampling,
        goal: Goal,
        first: Tensor<3>,
    ) -> Self {
        let device = first.device();
        let window = free_window(&grid, ilt.config.free_nm, &device).expand(first.dims());
        let together = steps::are_on(&device);
        let mask = first.clone();
        Self { ilt, level, grid, goal, window, parameters: first, moments: None, mask, together }
    }

    /// Takes the steps from `first` to the next one after which `stops` says that something is done, or
    /// to the level's last; on the CPU, a single one. Returns how many it took.
    pub(super) fn advance(
        &mut self,
        first: usize,
        stops: impl Fn(usize) -> bool,
        progress: &mut Progress,
    ) -> Result<usize, LithoError> {
        if !self.together {
            self.step(first, progress)?;
            return Ok(1);
        }
        let stop = |&step: &usize| stops(step) || step.is_multiple_of(LOOK_EVERY);
        let last = (first..self.level.iterations).find(stop).unwrap_or(self.level.iterations - 1);
        self.steps(first..=last);
        if last.is_multiple_of(LOOK_EVERY) {
            let loss = &self.ilt.config.loss;
            let mask = self.mask.clone();
            let error =
                steps::errors(mask, &self.goal, self.ilt.simulator, &self.grid, loss, false);
            progress.loss_nm2 = Some(self.per_clip(error.sum())?);
        }
        Ok(last + 1 - first)
    }

    /// Steps as one operation.
    fn steps(&mut self, steps: std::ops::RangeInclusive<usize>) {
        let zeros = || self.parameters.zeros_like();
        let moments = self.moments.take();
        let moments = moments.unwrap_or_else(|| Moments { mean: zeros(), square: zeros() });
        // The last mask is not needed again, and the parameters are changed in place if nobody else has them.
        let nothing = Tensor::<3>::empty([1, 1, 1], &self.mask.device());
        self.mask = nothing.clone();
        let stand = Stand {
            parameters: std::mem::replace(&mut self.parameters, nothing),
            mean: moments.mean,
            square: moments.square,
        };
        let plan = Plan {
            steps: steps.map(|step| self.planned(step)).collect(),
            reach: self.box_px() / 2,
            betas: self.ilt.config.betas.map(|b| b as f32),
            weights: PrintWeights::new(&self.ilt.config.loss),
        };
        let optics = (self.ilt.simulator, &self.grid);
        let (stand, mask) = stand.after(&self.window, &self.goal, optics, plan);
        self.parameters = stand.parameters;
        self.moments = Some(Moments { mean: stand.mean, square: stand.square });
        self.mask = mask;
    }

    /// A step's numbers.
    fn planned(&self, step: usize) -> Step {
        let share = self.share(step);
        let [b1, b2] = self.ilt.config.betas;
        Step {
            steepness: self.steepness(share) as f32,
            grey: (self.ilt.config.grey * share) as f32,
            rate: (self.rate(share) * unbias(b1, step)) as f32,
            unbias: unbias(b2, step) as f32,
        }
    }

    /// One step of Adam.
    fn step(&mut self, step: usize, progress: &mut Progress) -> Result<(), LithoError> {
        let share = self.share(step);
        let mask = self.soft_mask(share);
        let exposure = self.ilt.simulator.expose(mask.clone(), &self.grid, &self.grid);
        let gradient = self.ilt.config.loss.gradient(&exposure.aerial, &self.goal);
        let gradient = self.pull_back(&exposure, &gradient, &mask, share);
        if step.is_multiple_of(LOOK_EVERY) {
            let loss = self.ilt.config.loss.value(&exposure.aerial, &self.goal.target);
            progress.loss_nm2 = Some(self.per_clip(loss)?);
        }
        self.mask = mask;
        self.update(gradient, step, share);
        Ok(())
    }

    /// An error in pixels, per clip, in nm²; waits for the device.
    fn per_clip(&self, loss: Tensor<1>) -> Result<f64, LithoError> {
        let [batch, _, _] = self.goal.target.dims();
        let sum = read_back(loss.reshape([1, 1, 1]), "read the loss")?[0];
        Ok(f64::from(sum) * self.level.pixel_nm * self.level.pixel_nm / batch as f64)
    }

    /// How far through the level a step is, 0 to 1.
    fn share(&self, step: usize) -> f64 {
        step as f64 / self.level.iterations.saturating_sub(1).max(1) as f64
    }

    /// The step size, `share` of the way through the level.
    fn rate(&self, share: f64) -> f64 {
        self.level.learning_rate * (0.05 + 0.475 * (1.0 + (PI * share).cos()))
    }

    /// The slope of the mask's sigmoid, `share` of the way through the level.
    fn steepness(&self, share: f64) -> f64 {
        let [from, to] = self.level.steepness;
        from + (to - from) * share
    }

    /// Side of the smoothing box, in pixels.
    fn box_px(&self) -> usize {
        (self.level.smooth_nm / self.level.pixel_nm / 2.0).floor() as usize * 2 + 1
    }

    /// The mask of the parameters.
    fn soft_mask(&self, share: f64) -> Tensor<3> {
        let smooth = smoothed(self.parameters.clone(), self.box_px());
        sigmoid((smooth - 0.5) * self.steepness(share)) * self.window.clone()
    }

    /// The gradient of the parameters: through the optics, the grey pixels' price, the sigmoid and the box,
    /// which is its own adjoint.
    fn pull_back(
        &self,
        exposure: &Exposure,
        gradient: &Aerial,
        mask: &Tensor<3>,
        share: f64,
    ) -> Tensor<3> {
        let through = self.ilt.simulator.pull_back(exposure, gradient, &self.grid, &self.grid);
        let grey = self.ilt.config.grey * share;
        let gradient = through + (mask.clone() * -2.0 + 1.0) * grey;
        let slope = mask.clone() * (mask.clone() * -1.0 + 1.0) * self.steepness(share);
        smoothed(gradient * slope, self.box_px())
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
        let size = (moments.square.clone() * unbias(b2, step)).sqrt() + 1e-8;
        let change = moments.mean.clone() * (self.rate(share) * unbias(b1, step)) / size;
        self.parameters = self.parameters.clone() - change;
        self.moments = Some(moments);
    }

    /// Closes the window where a hard mask would break its constraint, so that the descent goes on without
    /// what could not be made.
    pub(super) fn mend(
        &mut self,
        constraint: &dyn MaskConstraint,
        design: &[bool],
    ) -> Result<(), LithoError> {
        let open = still_open(&self.mask, design, constraint, self.level.pixel_nm)?;
        self.parameters = self.parameters.clone() * open.clone();
        self.window = self.window.clone() * open;
        Ok(())
    }

    /// Compares the last mask, made hard, with the best, clip by clip.
    pub(super) fn keep_better(&self, best: Option<Best>) -> Best {
        let masks = self.mask.clone().greater_equal_elem(0.5).float();
        let errors = self.ilt.hard_errors(masks.clone(), &self.goal, &self.grid);
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

#[cfg(test)]
impl Descent<'_> {
    /// Adam's means.
    pub(super) fn memory(&self) -> [Tensor<3>; 2] {
        let moments = self.moments.as_ref().expect("a step was taken");
        [moments.mean.clone(), moments.square.clone()]
    }

    pub(super) fn mask(&self) -> Tensor<3> {
        self.mask.clone()
    }
}

/// What an average from zero has to be multiplied by after a step.
fn unbias(beta: f64, step: usize) -> f64 {
    1.0 / (1.0 - beta.powi(step as i32 + 1))
}
