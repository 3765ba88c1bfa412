//! The descent at one level: Adam on the parameters, with the gradient of a forward model.

use std::f64::consts::PI;

use burn::tensor::{Device, Int, Tensor, TensorData, activation::sigmoid};

use super::MaskConstraint;
use super::config::{IltConfig, Level};
use super::hard::still_open;
use super::models::{Models, Tally};
use super::steps::{DescentStep, Plan, PrintErrors, PrintWeights, Stand, Work};
use crate::LithoError;
use crate::binary::BinaryImages;
use crate::forward::FusedSteps;
use crate::images::{free_square, read_back, smoothed};
use crate::loss::{Goal, PrintLoss};

/// Steps between looks at the loss.
const LOOK_EVERY: usize = 20;

/// Adam's means of the gradient and of its square.
struct Adam {
    mean: Tensor<3>,
    square: Tensor<3>,
}

/// The descent at one level.
pub(super) struct Descent<'a> {
    config: &'a IltConfig,
    pub(super) level: &'a Level,
    pub(super) models: Models<'a>,
    pub(super) goal: Goal,
    /// Where the mask may be open, `[batch, n, n]`.
    window: Tensor<3>,
    pub(super) parameters: Tensor<3>,
    adam: Option<Adam>,
    mask: Tensor<3>,
    looks: bool,
}

impl<'a> Descent<'a> {
    pub(super) fn new(
        config: &'a IltConfig,
        level: &'a Level,
        models: Models<'a>,
        goal: Goal,
        first: Tensor<3>,
    ) -> Self {
        let [_, _, n] = first.dims();
        let window = free_square(n, level.pixel_nm, config.free_nm, &first.device());
        let window = window.expand(first.dims());
        Self::within(config, level, models, goal, window, first)
    }

    fn within(
        config: &'a IltConfig,
        level: &'a Level,
        models: Models<'a>,
        goal: Goal,
        window: Tensor<3>,
        first: Tensor<3>,
    ) -> Self {
        let (parameters, mask) = (first.clone(), first);
        Self { config, level, models, goal, window, parameters, adam: None, mask, looks: true }
    }

    /// One on memory as it is, for launches whose numbers mean nothing: whatever filled it would be compiled first.
    pub(super) fn on_anything(
        config: &'a IltConfig,
        level: &'a Level,
        models: Models<'a>,
        size: usize,
        device: &Device,
    ) -> Self {
        let image = || Tensor::<3>::empty([1, size, size], device);
        let goal = Goal { target: image(), design: image(), strips: Some(image()) };
        Self::within(config, level, models, goal, image(), image())
    }

    /// Whether errors are looked at on the way.
    #[must_use]
    pub(super) fn looking(self, looks: bool) -> Self {
        Self { looks, ..self }
    }

    /// Whether the error is looked at after a step.
    fn looks_after(&self, step: usize) -> bool {
        self.looks && step.is_multiple_of(LOOK_EVERY)
    }

    /// Takes the steps from `first` to the next one after which `stops` says that something is done, or
    /// to the level's last; a single one where steps are not fused. Returns how many it took, and the error per clip in
    /// nm² if it was looked at.
    pub(super) fn advance(
        &mut self,
        first: usize,
        stops: impl Fn(usize) -> bool,
        tally: &mut Tally,
    ) -> Result<(usize, Option<f64>), LithoError> {
        if self.models.fused().is_none() {
            return Ok((1, self.step(first, tally)?));
        }
        let stop = |&step: &usize| stops(step) || self.looks_after(step);
        let last = (first..self.level.iterations).find(stop).unwrap_or(self.level.iterations - 1);
        tally.true_calls += last + 1 - first;
        self.together(first..=last);
        let loss = match self.models.fused() {
            Some(fused) if self.looks_after(last) => {
                let errors = fused.errors(self.mask.clone(), &self.goal, &self.loss(), false);
                Some(self.per_clip(errors.sum())?)
            }
            _ => None,
        };
        Ok((last + 1 - first, loss))
    }

    /// Steps as one operation.
    fn together(&mut self, steps: std::ops::RangeInclusive<usize>) {
        let Some(fused) = self.models.fused() else { return };
        let plan = self.plan(&fused, steps);
        let zeros = || self.parameters.zeros_like();
        let adam = self.adam.take();
        let adam = adam.unwrap_or_else(|| Adam { mean: zeros(), square: zeros() });
        // The last mask is not needed again, and the parameters are changed in place if nobody else has them.
        let nothing = Tensor::<3>::empty([1, 1, 1], &self.mask.device());
        self.mask = nothing.clone();
        let parameters = std::mem::replace(&mut self.parameters, nothing);
        let stand = Stand { parameters, mean: adam.mean, square: adam.square };
        let (stand, mask) = fused.descend(stand, &self.window, &self.goal, plan);
        self.parameters = stand.parameters;
        self.adam = Some(Adam { mean: stand.mean, square: stand.square });
        self.mask = mask;
    }

    /// Launches a part of the work, where steps are fused, and waits for it; the numbers mean nothing.
    pub(super) fn launch(&self, work: Work) {
        let Some(fused) = self.models.fused() else { return };
        let shape = self.parameters.dims();
        let image = || Tensor::<3>::empty(shape, &self.parameters.device());
        let out = match work {
            Work::Step { first } => {
                let plan = Plan { first_launch: first, ..self.plan(&fused, 0..=0) };
                let stand = Stand { parameters: image(), mean: image(), square: image() };
                fused.descend(stand, &self.window, &self.goal, plan).1
            }
            Work::Errors { hard } => {
                let errors = PrintErrors::new(&self.loss(), fused.window, hard);
                fused.print_errors(image(), &self.goal, PrintErrors { exposes: false, ..errors })
            }
        };
        // What is no number is an error, and none here.
        let _ = read_back(out, "wait for kernels");
    }

    fn plan(&self, fused: &FusedSteps, steps: std::ops::RangeInclusive<usize>) -> Plan {
        Plan {
            steps: steps.map(|step| self.planned(step)).collect(),
            reach: self.box_px() / 2,
            betas: self.config.betas.map(|b| b as f32),
            weights: PrintWeights::new(&self.loss(), fused.window),
            first_launch: 0,
        }
    }

    /// A step's numbers.
    fn planned(&self, step: usize) -> DescentStep {
        let share = self.share(step);
        let [b1, b2] = self.config.betas;
        DescentStep {
            steepness: self.steepness(share) as f32,
            grey: (self.config.grey * share) as f32,
            rate: (self.rate(share) * unbias(b1, step)) as f32,
            unbias: unbias(b2, step) as f32,
        }
    }

    /// One step of Adam; at times the error per clip, in nm².
    fn step(&mut self, step: usize, tally: &mut Tally) -> Result<Option<f64>, LithoError> {
        let (share, looks) = (self.share(step), self.looks_after(step));
        let error = self.loss();
        let mask = self.soft_mask(share);
        let exposed = self.models.expose(mask.clone(), step, tally);
        let loss = looks.then(|| error.value(&exposed.images, &self.goal.target));
        let gradient = error.gradient(&exposed.images, &self.goal);
        let gradient = exposed.pull_back(gradient)?;
        let gradient = self.by_parameters(gradient, &mask, share);
        self.mask = mask;
        self.update(gradient, step, share);
        loss.map(|loss| self.per_clip(loss)).transpose()
    }

    /// An error in pixels, per clip, in nm²; waits for the device.
    fn per_clip(&self, loss: Tensor<1>) -> Result<f64, LithoError> {
        let [batch, _, _] = self.goal.target.dims();
        let sum = read_back(loss.reshape([1, 1, 1]), "read the loss")?[0];
        Ok(f64::from(sum) * self.level.pixel_nm * self.level.pixel_nm / batch as f64)
    }

    /// The error that the level minimises.
    fn loss(&self) -> PrintLoss {
        let mut loss = self.config.loss;
        loss.resist.steepness = self.level.resist_steepness.unwrap_or(loss.resist.steepness);
        loss
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

    /// The gradient of the parameters from that of the mask: with the grey pixels' price, back through the sigmoid and the
    /// box, which is its own adjoint.
    fn by_parameters(&self, gradient: Tensor<3>, mask: &Tensor<3>, share: f64) -> Tensor<3> {
        let grey = self.config.grey * share;
        let gradient = gradient + (mask.clone() * -2.0 + 1.0) * grey;
        let slope = mask.clone() * (mask.clone() * -1.0 + 1.0) * self.steepness(share);
        smoothed(gradient * slope, self.box_px())
    }

    fn update(&mut self, gradient: Tensor<3>, step: usize, share: f64) {
        let [b1, b2] = self.config.betas;
        let square = gradient.clone() * gradient.clone();
        let adam = match self.adam.take() {
            None => Adam { mean: gradient * (1.0 - b1), square: square * (1.0 - b2) },
            Some(m) => Adam {
                mean: m.mean * b1 + gradient * (1.0 - b1),
                square: m.square * b2 + square * (1.0 - b2),
            },
        };
        let size = (adam.square.clone() * unbias(b2, step)).sqrt() + 1e-8;
        let change = adam.mean.clone() * (self.rate(share) * unbias(b1, step)) / size;
        self.parameters = self.parameters.clone() - change;
        self.adam = Some(adam);
    }

    /// Closes the window where a hard mask would break its constraint, so that the descent goes on without
    /// what could not be made.
    pub(super) fn mend(
        &mut self,
        constraint: &dyn MaskConstraint,
        design: &BinaryImages,
    ) -> Result<(), LithoError> {
        let open = still_open(&self.mask, design, constraint, self.level.pixel_nm)?;
        self.parameters = self.parameters.clone() * open.clone();
        self.window = self.window.clone() * open;
        Ok(())
    }

    /// The true nominal image of the last soft mask.
    pub(super) fn nominal(&self, tally: &mut Tally) -> Tensor<3> {
        self.models.nominal(self.mask.clone(), tally)
    }

    /// Pixels between a field's border and what is at least so far from where the mask must be dark.
    pub(super) fn frame_px(&self, inside_nm: f64) -> usize {
        let [_, _, n] = self.parameters.dims();
        let period_nm = n as f64 * self.level.pixel_nm;
        let frame_nm = (period_nm - self.config.free_nm) / 2.0 + inside_nm;
        (frame_nm / self.level.pixel_nm).round().max(0.0) as usize
    }

    /// The image that prints.
    pub(super) fn threshold(&self) -> f64 {
        self.config.loss.resist.threshold
    }

    /// The same level from its beginning, for some of the clips.
    pub(super) fn again(
        &self,
        clips: &[usize],
        models: Models<'a>,
        first: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Self {
        let device = self.parameters.device();
        let clips: Vec<i64> = clips.iter().map(|&clip| clip as i64).collect();
        let clips = Tensor::<1, Int>::from_data(TensorData::from(&clips[..]), &device);
        let of = |images: &Tensor<3>| images.clone().select(0, clips.clone());
        let goal = Goal {
            target: of(&self.goal.target),
            design: of(&self.goal.design),
            strips: self.goal.strips.as_ref().map(of),
        };
        let first = first(of(&self.parameters));
        Self::new(self.config, self.level, models, goal, first).looking(self.looks)
    }

    /// Takes over where another descent of the same level stands: for clips the other's at some places.
    pub(super) fn take(&mut self, clips: &[[usize; 2]], other: &Descent) {
        if clips.is_empty() {
            return;
        }
        let [batch, _, _] = self.parameters.dims();
        let mut from: Vec<i64> = (0..batch as i64).collect();
        clips.iter().for_each(|&[clip, place]| from[clip] = (batch + place) as i64);
        let from = TensorData::from(&from[..]);
        let from = Tensor::<1, Int>::from_data(from, &self.parameters.device());
        let taken = |own: &Tensor<3>, other: &Tensor<3>| {
            Tensor::cat(vec![own.clone(), other.clone()], 0).select(0, from.clone())
        };
        self.parameters = taken(&self.parameters, &other.parameters);
        self.mask = taken(&self.mask, &other.mask);
    }

    /// The last mask, made hard.
    pub(super) fn hard(&self) -> Tensor<3> {
        self.mask.clone().greater_equal_elem(0.5).float()
    }

    /// What hard masks cost.
    pub(super) fn hard_error(&self, masks: Tensor<3>, tally: &mut Tally) -> Tensor<3> {
        self.models.hard_error(masks, &self.goal, &self.loss(), tally)
    }
}

#[cfg(test)]
impl Descent<'_> {
    /// Adam's means.
    pub(super) fn memory(&self) -> [Tensor<3>; 2] {
        let adam = self.adam.as_ref().expect("a step was taken");
        [adam.mean.clone(), adam.square.clone()]
    }

    pub(super) fn mask(&self) -> Tensor<3> {
        self.mask.clone()
    }
}

/// What an average from zero has to be multiplied by after a step.
fn unbias(beta: f64, step: usize) -> f64 {
    1.0 / (1.0 - beta.powi(step as i32 + 1))
}
