//! The descent at one level: Adam on the parameters, with the print's exact gradient.

use std::f64::consts::PI;

use burn::tensor::{Tensor, TensorData, activation::sigmoid};
use rayon::prelude::*;

use super::images::{free_window, smoothed};
use super::{Best, Ilt, Level, MaskConstraint, Progress, read_back};
use crate::aerial::Exposure;
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
    grid: &'a Sampling,
    goal: Goal,
    /// Where the mask may be open, `[1 or batch, n, n]`.
    window: Tensor<3>,
    pub(super) parameters: Tensor<3>,
    moments: Option<Moments>,
    mask: Tensor<3>,
}

impl<'a> Descent<'a> {
    pub(super) fn new(
        ilt: &'a Ilt,
        level: &'a Level,
        grid: &'a Sampling,
        goal: Goal,
        first: Tensor<3>,
    ) -> Self {
        let window = free_window(grid, ilt.config.free_nm, &first.device());
        let mask = first.clone();
        Self { ilt, level, grid, goal, window, parameters: first, moments: None, mask }
    }

    /// One step of Adam.
    pub(super) fn step(&mut self, step: usize, progress: &mut Progress) -> Result<(), LithoError> {
        let share = step as f64 / self.level.iterations.saturating_sub(1).max(1) as f64;
        let mask = self.soft_mask(share);
        let exposure = self.ilt.simulator.expose(mask.clone(), self.grid, self.grid);
        let gradient = self.ilt.config.loss.gradient(&exposure.aerial, &self.goal);
        let gradient = self.pull_back(&exposure, &gradient, &mask, share);
        if step.is_multiple_of(LOOK_EVERY) {
            progress.loss_nm2 = Some(self.loss_nm2(&exposure.aerial)?);
        }
        self.mask = mask;
        self.update(gradient, step, share);
        Ok(())
    }

    /// The print's error per clip, in nm².
    fn loss_nm2(&self, aerial: &Aerial) -> Result<f64, LithoError> {
        let [batch, _, _] = self.goal.target.dims();
        let loss = self.ilt.config.loss.value(aerial, &self.goal.target);
        let sum = read_back(loss.reshape([1, 1, 1]), "read the loss")?[0];
        Ok(f64::from(sum) * self.level.pixel_nm * self.level.pixel_nm / batch as f64)
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
        let through = self.ilt.simulator.pull_back(exposure, gradient, self.grid, self.grid);
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
        let rate = self.level.learning_rate * (0.05 + 0.475 * (1.0 + (PI * share).cos()));
        let unbias = |beta: f64| 1.0 / (1.0 - beta.powi(step as i32 + 1));
        let size = (moments.square.clone() * unbias(b2)).sqrt() + 1e-8;
        let change = moments.mean.clone() * (rate * unbias(b1)) / size;
        self.parameters = self.parameters.clone() - change;
        self.moments = Some(moments);
    }

    /// Closes the window where a hard mask would break its constraint, so that the descent goes on without
    /// what could not be made.
    pub(super) fn mend(&mut self, constraint: &dyn MaskConstraint) -> Result<(), LithoError> {
        let [batch, n, _] = self.mask.dims();
        let masks = read_back(self.mask.clone(), "read the mask")?;
        // The design itself is never taken away: what it breaks is for the report.
        let mut open = read_back(self.goal.design.clone(), "read the design")?;
        open.par_chunks_mut(n * n).zip(masks.par_chunks(n * n)).for_each(|(open, mask)| {
            let mask: Vec<bool> = mask.iter().map(|&v| v >= 0.5).collect();
            let forbidden = constraint.forbidden(&mask, n, self.level.pixel_nm);
            for (open, forbidden) in open.iter_mut().zip(forbidden) {
                *open = f32::from(u8::from(!forbidden || *open >= 0.5));
            }
        });
        let data = TensorData::new(open, [batch, n, n]);
        let open = Tensor::from_data(data, &self.mask.device());
        self.parameters = self.parameters.clone() * open.clone();
        self.window = self.window.clone() * open;
        Ok(())
    }

    /// Compares the last mask, made hard, with the best, clip by clip.
    pub(super) fn keep_better(&self, best: Option<Best>) -> Best {
        let masks = self.mask.clone().greater_equal_elem(0.5).float();
        let aerial = self.ilt.simulator.aerial(masks.clone(), self.grid, self.grid);
        let errors = self.ilt.config.loss.hard_error(&aerial, &self.goal);
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
