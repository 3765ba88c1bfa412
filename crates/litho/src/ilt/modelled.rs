//! The descent through any forward model, and through a cheap one that the true one corrects.
//!
//! With a surrogate, the gradient is the surrogate's, at images that are shifted by what it is off: every so many
//! steps the true model is asked once, and the difference of its images and the surrogate's is added to the
//! surrogate's until it is asked again (additive space mapping; Bandler et al., 2004). So the descent ends where
//! the *true* images are right, however wrong the surrogate, if only its slopes are nearly so. Hard masks are
//! compared by the true model alone.
//!
//! Parameters, loss, levels and constraint are those of [`super::Ilt`], which knows the thin-mask model and its adjoint.

use std::f64::consts::PI;

use burn::tensor::{Tensor, activation::sigmoid};
use serde::{Deserialize, Serialize};

use super::{Best, IltConfig, Level, MaskConstraint, Progress, Start};
use super::{enforced, from_bits, is_candidate, read_back, still_open};
use crate::LithoError;
use crate::forward::{CornerImages, ForwardModel, Imager, Tracked};
use crate::images::{free_square, resized, smoothed};
use crate::loss::Goal;

/// What a descent asked of its models, for each clip of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Exposures by the true model, with or without a gradient: in the descent and for hard masks.
    pub true_model_calls: usize,
    /// Exposures by the surrogate; 0 without one.
    pub surrogate_calls: usize,
    /// Mean square error of the surrogate's images, before their correction, at the masks that the true model
    /// was asked about; none without a surrogate.
    pub surrogate_mse: Option<f64>,
}

/// What a descent found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Masks of 0 and 1 on the last level's grid, `[batch, n, n]`.
    pub masks: Tensor<3>,
    /// What it took.
    pub usage: Usage,
}

/// A surrogate, and after how many steps it is corrected.
#[derive(Clone, Copy)]
struct Surrogate<'a> {
    model: &'a dyn ForwardModel,
    correct_every: usize,
}

/// A descent on a batch of clips through a forward model.
pub struct ModelledIlt<'a> {
    config: &'a IltConfig,
    truth: &'a dyn ForwardModel,
    surrogate: Option<Surrogate<'a>>,
    constraint: Option<&'a dyn MaskConstraint>,
}

impl<'a> ModelledIlt<'a> {
    /// A descent with the true model's own gradient at every step.
    pub fn exact(config: &'a IltConfig, truth: &'a dyn ForwardModel) -> Self {
        Self { config, truth, surrogate: None, constraint: None }
    }

    /// Descends on a surrogate, and asks the true model every `correct_every` steps.
    #[must_use]
    pub fn with_surrogate(self, model: &'a dyn ForwardModel, correct_every: usize) -> Self {
        Self { surrogate: Some(Surrogate { model, correct_every: correct_every.max(1) }), ..self }
    }

    /// Holds masks to a constraint.
    #[must_use]
    pub fn with_constraint(self, constraint: Option<&'a dyn MaskConstraint>) -> Self {
        Self { constraint, ..self }
    }

    /// As [`super::Ilt::run`].
    ///
    /// # Errors
    ///
    /// As [`super::Ilt::run`].
    pub fn run(
        &self,
        target: &Tensor<3>,
        start: &Start,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Found, LithoError> {
        let mut progress = Progress { done: 0, total: self.config.iterations(), loss_nm2: None };
        self.check_grids()?;
        let (goal, design) = self.config.goal(target, self.truth.period_nm())?;
        let mut tally = Tally::default();
        let (mut parameters, mut best): (Option<Tensor<3>>, Option<Best>) = (None, None);
        for (index, level) in self.config.levels.iter().enumerate() {
            let size = (self.truth.period_nm() / level.pixel_nm).round() as usize;
            let goal = goal.resized(size);
            let first = parameters.take().map(|p| resized(p, size));
            let first = first.unwrap_or_else(|| self.config.first(&goal.target, start, level));
            let last = index + 1 == self.config.levels.len();
            let mut descent = Descent::new(self, level, goal, first)?;
            for step in 0..level.iterations {
                progress.loss_nm2 = descent.step(step, &mut tally)?.or(progress.loss_nm2);
                if let Some(constraint) =
                    self.constraint.filter(|_| last && self.config.mends(step, level))
                {
                    descent.mend(constraint, &design)?;
                }
                if last && is_candidate(step, level.iterations) {
                    best = Some(descent.keep_better(best.take(), &mut tally));
                }
                progress.done += 1;
                if !watch(progress) {
                    return Err(LithoError::Interrupted);
                }
            }
            parameters = Some(descent.parameters);
        }
        let none = || LithoError::Grid("the descent has no step in its last level".into());
        let masks = self.held(best.ok_or_else(none)?, &goal, &mut tally)?;
        Ok(Found { masks, usage: tally.usage()? })
    }

    /// Whether every level fits the field.
    fn check_grids(&self) -> Result<(), LithoError> {
        let fits = |level: &Level| self.truth.on(level.pixel_nm, 1).map(|_| ());
        self.config.levels.iter().try_for_each(fits)
    }

    /// The best masks as their constraint wants them.
    fn held(&self, best: Best, goal: &Goal, tally: &mut Tally) -> Result<Tensor<3>, LithoError> {
        let (shape, device) = (best.masks.dims(), best.masks.device());
        let pixel_nm = self.truth.period_nm() / shape[2] as f64;
        let imager = self.truth.on(pixel_nm, self.config.points(pixel_nm))?;
        tally.true_calls += usize::from(self.constraint.is_some());
        let error =
            |masks: Tensor<3>| self.config.loss.hard_error_at_corners(&imager.images(masks), goal);
        let masks = enforced(best, self.constraint, pixel_nm, &error)?;
        Ok(from_bits(masks.bits, shape, &device))
    }
}

/// What was asked so far.
#[derive(Default)]
struct Tally {
    true_calls: usize,
    surrogate_calls: usize,
    /// Of the surrogate's images, clip by clip, each time that the true model was asked. `[batch, 1, 1]`.
    errors: Vec<Tensor<3>>,
}

impl Tally {
    fn usage(self) -> Result<Usage, LithoError> {
        let count = self.errors.len();
        let sum = self.errors.into_iter().reduce(|a, b| a + b);
        let mean = |sum: Tensor<3>| -> Result<f64, LithoError> {
            let sums = read_back(sum, "read the surrogate's error")?;
            let total: f64 = sums.iter().map(|&v| f64::from(v)).sum();
            Ok(total / (sums.len() * count) as f64)
        };
        Ok(Usage {
            true_model_calls: self.true_calls,
            surrogate_calls: self.surrogate_calls,
            surrogate_mse: sum.map(mean).transpose()?,
        })
    }
}

/// The models on a level's grid.
struct Models<'a> {
    truth: Box<dyn Imager + 'a>,
    surrogate: Option<(Box<dyn Imager + 'a>, usize)>,
    /// The true images less the surrogate's, when they were last compared.
    correction: Option<CornerImages>,
}

impl Models<'_> {
    /// Corrected images, and what their gradient needs.
    fn expose(&mut self, mask: &Tensor<3>, step: usize, tally: &mut Tally) -> Tracked {
        let Some((surrogate, every)) = &self.surrogate else {
            tally.true_calls += 1;
            return Tracked::expose(self.truth.as_ref(), mask.clone());
        };
        let mut tracked = Tracked::expose(surrogate.as_ref(), mask.clone());
        tally.surrogate_calls += 1;
        if step.is_multiple_of(*every) {
            let truth = self.truth.images(mask.clone());
            tally.true_calls += 1;
            tally.errors.push(truth.mean_square_error(&tracked.images));
            self.correction = Some(truth.zip(tracked.images.clone(), |a, b| a - b));
        }
        if let Some(correction) = &self.correction {
            tracked.images = tracked.images.zip(correction.clone(), |image, off| image + off);
        }
        tracked
    }
}

/// Steps between looks at the loss.
const LOOK_EVERY: usize = 20;

/// The descent at one level.
struct Descent<'a> {
    config: &'a IltConfig,
    level: &'a Level,
    models: Models<'a>,
    goal: Goal,
    /// Where the mask may be open, `[1 or batch, n, n]`.
    window: Tensor<3>,
    parameters: Tensor<3>,
    /// Adam's means of the gradient and of its square.
    moments: Option<[Tensor<3>; 2]>,
    mask: Tensor<3>,
}

impl<'a> Descent<'a> {
    fn new(
        ilt: &'a ModelledIlt,
        level: &'a Level,
        goal: Goal,
        first: Tensor<3>,
    ) -> Result<Self, LithoError> {
        let config = ilt.config;
        let points = config.points(level.pixel_nm);
        let on = |s: Surrogate<'a>| Ok((s.model.on(level.pixel_nm, points)?, s.correct_every));
        let models = Models {
            truth: ilt.truth.on(level.pixel_nm, points)?,
            surrogate: ilt.surrogate.map(on).transpose()?,
            correction: None,
        };
        let window = free_square(first.dims()[2], level.pixel_nm, config.free_nm, &first.device());
        let mask = first.clone();
        Ok(Self { config, level, models, goal, window, parameters: first, moments: None, mask })
    }

    /// One step of Adam; now and then the print's error per clip, in nm².
    fn step(&mut self, step: usize, tally: &mut Tally) -> Result<Option<f64>, LithoError> {
        let share = step as f64 / self.level.iterations.saturating_sub(1).max(1) as f64;
        let [from, to] = self.level.steepness;
        let steepness = from + (to - from) * share;
        let box_px = (self.level.smooth_nm / self.level.pixel_nm / 2.0).floor() as usize * 2 + 1;
        let smooth = smoothed(self.parameters.clone(), box_px);
        let mask = sigmoid((smooth - 0.5) * steepness) * self.window.clone();
        let exposed = self.models.expose(&mask, step, tally);
        let loss = match step.is_multiple_of(LOOK_EVERY) {
            true => Some(self.loss_nm2(&exposed.images)?),
            false => None,
        };
        let gradient = self.config.loss.gradient_at_corners(&exposed.images, &self.goal);
        let gradient = exposed.pull_back(gradient)?;
        // Grey pixels have a price; then back through the sigmoid and the box, which is its own adjoint.
        let gradient = gradient + (mask.clone() * -2.0 + 1.0) * (self.config.grey * share);
        let slope = mask.clone() * (mask.clone() * -1.0 + 1.0) * steepness;
        self.mask = mask;
        self.update(smoothed(gradient * slope, box_px), step, share);
        Ok(loss)
    }

    fn loss_nm2(&self, images: &CornerImages) -> Result<f64, LithoError> {
        let [batch, _, _] = self.goal.target.dims();
        let loss = self.config.loss.value_at_corners(images, &self.goal.target);
        let sum = read_back(loss.reshape([1, 1, 1]), "read the loss")?[0];
        Ok(f64::from(sum) * self.level.pixel_nm * self.level.pixel_nm / batch as f64)
    }

    fn update(&mut self, gradient: Tensor<3>, step: usize, share: f64) {
        let [b1, b2] = self.config.betas;
        let square = gradient.clone() * gradient.clone();
        let [mean, square] = match self.moments.take() {
            None => [gradient * (1.0 - b1), square * (1.0 - b2)],
            Some([m, s]) => [m * b1 + gradient * (1.0 - b1), s * b2 + square * (1.0 - b2)],
        };
        let rate = self.level.learning_rate * (0.05 + 0.475 * (1.0 + (PI * share).cos()));
        let unbias = |beta: f64| 1.0 / (1.0 - beta.powi(step as i32 + 1));
        let size = (square.clone() * unbias(b2)).sqrt() + 1e-8;
        self.parameters = self.parameters.clone() - mean.clone() * (rate * unbias(b1)) / size;
        self.moments = Some([mean, square]);
    }

    /// Closes the window where a hard mask would break its constraint.
    fn mend(&mut self, constraint: &dyn MaskConstraint, design: &[bool]) -> Result<(), LithoError> {
        let open = still_open(&self.mask, design, constraint, self.level.pixel_nm)?;
        self.parameters = self.parameters.clone() * open.clone();
        self.window = self.window.clone() * open;
        Ok(())
    }

    /// Compares the last mask, made hard, with the best, clip by clip, by the true model.
    fn keep_better(&self, best: Option<Best>, tally: &mut Tally) -> Best {
        let masks = self.mask.clone().greater_equal_elem(0.5).float();
        let images = self.models.truth.images(masks.clone());
        tally.true_calls += 1;
        let errors = self.config.loss.hard_error_at_corners(&images, &self.goal);
        let Some(best) = best else { return Best { masks, errors } };
        let better = errors.clone().lower(best.errors.clone());
        let everywhere = better.clone().expand(masks.dims());
        Best {
            masks: best.masks.mask_where(everywhere, masks),
            errors: best.errors.mask_where(better, errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::ThinMask;
    use crate::ilt::Ilt;
    use crate::optics::Optics;
    use crate::{ProcessWindow, Simulator};
    use burn::tensor::{Device, TensorData};

    fn config() -> IltConfig {
        let mut config = IltConfig::default();
        config.levels.truncate(1);
        config.levels[0].pixel_nm = 16.0;
        config.levels[0].iterations = 24;
        config
    }

    fn bar() -> Tensor<3> {
        let inside = |i: usize| (60..66).contains(&(i % 128)) && (40..80).contains(&(i / 128));
        let bar: Vec<f32> = (0..128 * 128).map(|i| f32::from(u8::from(inside(i)))).collect();
        Tensor::from_data(TensorData::new(bar, [1, 128, 128]), &Device::flex())
    }

    fn simulator(count: usize) -> Simulator {
        let optics = Optics { count, source_step: 0.1, ..Optics::default() };
        Simulator::new(&optics.kernels().expect("optics"), &Device::flex())
    }

    /// The written-out adjoint is the second implementation.
    #[test]
    fn the_exact_descent_is_that_of_the_adjoint() -> Result<(), LithoError> {
        let (config, simulator) = (config(), simulator(4));
        let expected = Ilt::new(&config, &simulator).run(&bar(), &Start::Target, &mut |_| true)?;
        let truth = ThinMask::new(simulator.clone(), ProcessWindow::default());
        let descent = ModelledIlt::exact(&config, &truth);
        let found = descent.run(&bar(), &Start::Target, &mut |_| true)?;
        let differ: f32 = (found.masks - expected).abs().sum().into_scalar();
        assert!(differ < 5.0, "{differ} pixels differ"); // f32 in another order, 24 steps on
        assert_eq!(found.usage.true_model_calls, 24 + 8);
        assert_eq!(found.usage.surrogate_mse, None);
        Ok(())
    }

    /// A surrogate of a quarter of the kernels, corrected: nearly as good a mask, a third of the calls.
    #[test]
    fn a_corrected_surrogate_gets_where_the_true_model_gets() -> Result<(), LithoError> {
        let config = config();
        let window = ProcessWindow::default();
        let (truth, rough) =
            (ThinMask::new(simulator(12), window), ThinMask::new(simulator(3), window));
        let error = |descent: ModelledIlt| -> Result<(f32, Usage), LithoError> {
            let found = descent.run(&bar(), &Start::Target, &mut |_| true)?;
            let images = truth.on(16.0, 16)?.images(found.masks);
            let (goal, _) = config.goal(&bar(), 2048.0)?;
            let error = config.loss.hard_error_at_corners(&images, &goal);
            Ok((read_back(error, "read")?[0], found.usage))
        };
        let (exact, _) = error(ModelledIlt::exact(&config, &truth))?;
        let corrected = ModelledIlt::exact(&config, &truth).with_surrogate(&rough, 8);
        let (corrected, usage) = error(corrected)?;
        let (uncorrected, _) = error(ModelledIlt::exact(&config, &rough))?;
        assert_eq!((usage.true_model_calls, usage.surrogate_calls), (3 + 8, 24));
        assert!(usage.surrogate_mse.is_some_and(|mse| mse > 1e-6));
        assert!(corrected <= 1.1 * exact, "{corrected} vs {exact}, {uncorrected} without");
        Ok(())
    }
}
