//! Inverse lithography: gradient descent on the mask's pixels.
//!
//! The mask is `sigmoid(steepness * (smooth(p) - 1/2))` of free parameters p, one per pixel, smoothed by
//! a box so that features have a width. The gradient of the print's error is exact: that of a [`ForwardModel`]; OpenILT's
//! hand-written one is not. Levels go from coarse to fine pixels.
//! The goal is the target with its corners rounded, since no lens prints them; edges that are out of
//! tolerance at the EPE sites cost extra. Twice in the last level the mask is held against its
//! [`MaskConstraint`], and what could not be made is taken out of the descent, which goes on without it.
//! Of the start and the last iterate, the one is kept whose *hard* mask has the least error. (Iterates before the last one are no
//! better: with the last eighth of them tried, too, masks of the contest's clips cost 0.1 % more at the finer pixels of their measure.)
//!
//! A step is written in Burn's operations (`descent`): ninety of them, which on a GPU take longer to launch than to do, and on
//! the processor go ninety times through memory. So many steps of the thin mask are one operation (`fused`): with kernels of our
//! own on a GPU (`steps`), image by image on the processor (`host`).
//!
//! Source: multi-level ILT (Sun et al., DAC 2023) as in OpenILT; rounded targets as in CurvyILT (ISPD 2025);
//! loss, constraint and schedule are ours.

mod config;
mod descent;
mod fused;
mod hard;
pub(crate) mod host;
mod lost;
mod models;
mod starts;
pub(crate) mod steps;
#[cfg(test)]
mod tests;

use burn::tensor::Tensor;
use tracing::info_span;

use crate::LithoError;
use crate::binary::BinaryImages;
pub use crate::constraint::{BitConstraint, MaskConstraint};
use crate::forward::ForwardModel;
use crate::images::{free_square, resized};
use crate::loss::Goal;
pub use config::{IltConfig, Level};
use descent::Descent;
use hard::Best;
pub use host::sigmoid;
use lost::Lost;
pub use models::Usage;
use models::{Models, Surrogate, Tally};
pub use steps::{LAUNCHES, Work};

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
    /// A mask in 0 to 1, `[batch, n, n]`, on any grid.
    Mask(Tensor<3>),
}

/// What a descent found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Masks on the last level's grid, in memory or on a device that has bits.
    pub masks: BinaryImages,
    /// What each clip's print is off, in pixels of the last level: [`PrintLoss::hard_error`](crate::loss::PrintLoss::hard_error).
    pub errors: Vec<f32>,
    /// What it took.
    pub usage: Usage,
}

impl Found {
    /// Of each clip the better mask.
    fn or(mut self, other: Self) -> Result<Self, LithoError> {
        let pairs = self.errors.iter().zip(&other.errors);
        // An error that is no number is worse than any.
        let better: Vec<bool> = pairs.map(|(own, other)| own.is_nan() || other < own).collect();
        self.masks.take(&better, &other.masks)?;
        let errors = self.errors.iter().zip(&other.errors);
        self.errors = errors.map(|(own, other)| own.min(*other)).collect();
        self.usage = self.usage.and(other.usage);
        Ok(self)
    }
}

/// A descent on a batch of clips through a forward model.
pub struct Ilt<'a> {
    config: &'a IltConfig,
    truth: &'a dyn ForwardModel,
    surrogate: Option<Surrogate<'a>>,
    constraint: Option<&'a dyn MaskConstraint>,
    /// Whether errors are looked at on the way.
    looks: bool,
    /// Width of what nobody keeps of the masks, along their borders, in nm.
    halo_nm: f64,
}

impl<'a> Ilt<'a> {
    /// A descent with this configuration by this model's own gradient.
    pub fn new(config: &'a IltConfig, truth: &'a dyn ForwardModel) -> Self {
        Self { config, truth, surrogate: None, constraint: None, looks: true, halo_nm: 0.0 }
    }

    /// Descends on a surrogate instead, and asks the true model every `correct_every` steps.
    #[must_use]
    pub fn with_surrogate(self, model: &'a dyn ForwardModel, correct_every: usize) -> Self {
        Self { surrogate: Some(Surrogate { model, correct_every: correct_every.max(1) }), ..self }
    }

    /// Holds masks to a constraint.
    #[must_use]
    pub fn with_constraint(self, constraint: Option<&'a dyn MaskConstraint>) -> Self {
        Self { constraint, ..self }
    }

    /// Looks at no error on the way: each look waits for the device.
    #[must_use]
    pub fn without_looks(self) -> Self {
        Self { looks: false, ..self }
    }

    /// Of masks whose outermost `halo_nm` nobody keeps: lost features are not looked for far out in it.
    #[must_use]
    pub fn with_halo(self, halo_nm: f64) -> Self {
        Self { halo_nm, ..self }
    }

    /// Finds masks for targets `[batch, n, n]`. No mask prints worse than the start; of several starts
    /// ([`IltConfig::starts`]) each clip has the best end.
    ///
    /// `watch` hears of the progress after every step, where steps are fused after some; false stops the descent.
    ///
    /// # Errors
    ///
    /// [`LithoError::Grid`] if a level does not fit the field, or there is none with a step; [`LithoError::Interrupted`] if
    /// `watch` said stop; [`LithoError::Device`] if a value could not be read back or is no number.
    pub fn run(
        &self,
        target: &Tensor<3>,
        start: &Start,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Found, LithoError> {
        let (steps, starts) = (self.config.iterations(), self.config.starts.max(1));
        let mut from = |number: usize| {
            let mut watch = |p: Progress| {
                watch(Progress { done: number * steps + p.done, total: starts * steps, ..p })
            };
            self.run_from(target, start, number, &mut watch)
        };
        let first = from(0)?;
        (1..starts).try_fold(first, |best, number| best.or(from(number)?))
    }

    /// Finds masks from one of the starts.
    fn run_from(
        &self,
        target: &Tensor<3>,
        start: &Start,
        number: usize,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Found, LithoError> {
        let levels = &self.config.levels;
        let models: Result<Vec<Models>, LithoError> =
            levels.iter().map(|l| self.models(l)).collect();
        let (goal, design) =
            info_span!("goal").in_scope(|| self.config.goal(target, self.truth.period_nm()))?;
        let progress = Progress { done: 0, total: self.config.iterations(), loss_nm2: None };
        let tally = Tally::default();
        let mut run =
            Optimization { ilt: self, start, goal, design, best: None, tally, progress, watch };
        let mut parameters: Option<Tensor<3>> = None;
        let mut last = None;
        for (index, (level, models)) in levels.iter().zip(models?).enumerate() {
            let goal = run.goal.resized(run.size(level));
            let first = match parameters.take() {
                Some(parameters) => resized(parameters, run.size(level)),
                None => self.first(&goal.target, start, number, level),
            };
            let mut descent =
                Descent::new(self.config, level, models, goal, first).looking(self.looks);
            let last_level = index + 1 == levels.len();
            run.level(&mut descent, last_level, run.progress.done)?;
            if index == 0 && !last_level && !self.config.wider_nm.is_empty() {
                run.find_lost(&mut descent)?;
            }
            parameters = Some(descent.parameters.clone());
            last = Some(descent);
        }
        run.found(last)
    }

    /// Parameters at one of the starts.
    fn first(&self, target: &Tensor<3>, start: &Start, number: usize, level: &Level) -> Tensor<3> {
        let first = self.config.first(target, start, level);
        match starts::noise(number, first.dims()[2], level.pixel_nm, &first.device()) {
            Some(noise) => first + noise,
            None => first,
        }
    }

    /// Launches a part of a level's work on one field of anything, so that its kernels are compiled: on a GPU, where steps are fused.
    ///
    /// # Errors
    ///
    /// [`LithoError::Grid`] if there is no such level, or it does not fit the field.
    pub fn compile(&self, level: usize, work: Work) -> Result<(), LithoError> {
        let none = || LithoError::Grid(format!("the descent has no level {level}"));
        let level = self.config.levels.get(level).ok_or_else(none)?;
        let models = self.models(level)?;
        let n = (self.truth.period_nm() / level.pixel_nm).round() as usize;
        Descent::on_anything(self.config, level, models, n, self.truth.device()).launch(work);
        Ok(())
    }

    fn models(&self, level: &Level) -> Result<Models<'a>, LithoError> {
        let points = self.config.points(level.pixel_nm);
        Models::new(self.truth, self.surrogate, level.pixel_nm, points)
    }
}

/// A descent under way.
struct Optimization<'a> {
    ilt: &'a Ilt<'a>,
    start: &'a Start,
    /// On the last level's grid.
    goal: Goal,
    /// Where the design is, there.
    design: BinaryImages,
    best: Option<Best>,
    tally: Tally,
    progress: Progress,
    watch: &'a mut dyn FnMut(Progress) -> bool,
}

impl Optimization<'_> {
    /// Pixels on a level's side.
    fn size(&self, level: &Level) -> usize {
        (self.ilt.truth.period_nm() / level.pixel_nm).round() as usize
    }

    /// Takes a level's steps, of which there were some `before`; in the last one, hard masks are mended and compared.
    fn level(
        &mut self,
        descent: &mut Descent,
        last: bool,
        before: usize,
    ) -> Result<(), LithoError> {
        let level = descent.level;
        let mends = |step: usize| last && self.ilt.config.mends(step, level);
        let tries = |step: usize| last && step + 1 == level.iterations;
        if last {
            let _span = info_span!("start").entered();
            let masks = self.hard_start(level);
            let errors = descent.hard_error(masks.clone(), &mut self.tally);
            self.best = Some(Best::of_start(masks, errors));
        }
        let mut step = 0;
        while step < level.iterations {
            let stops = |step: usize| mends(step) || tries(step);
            let (steps, loss) = info_span!("steps", level.pixel_nm)
                .in_scope(|| descent.advance(step, stops, &mut self.tally))?;
            step += steps;
            if let Some(constraint) = self.ilt.constraint.filter(|_| mends(step - 1)) {
                info_span!("mend").in_scope(|| descent.mend(constraint, &self.design))?;
            }
            if tries(step - 1) {
                let _span = info_span!("candidate").entered();
                let masks = descent.hard();
                let errors = descent.hard_error(masks.clone(), &mut self.tally);
                self.best = self.best.take().map(|best| best.or(masks, errors));
            }
            self.progress.done = self.progress.done.max(before + step);
            self.progress.loss_nm2 = loss.or(self.progress.loss_nm2);
            if !(self.watch)(self.progress) {
                return Err(LithoError::Interrupted);
            }
        }
        Ok(())
    }

    /// Does a level again from wider openings where nothing of a feature prints, and keeps what that brings back.
    fn find_lost(&mut self, descent: &mut Descent) -> Result<(), LithoError> {
        let _span = info_span!("lost features").entered();
        let mut lost = lost::features(descent, self.ilt.halo_nm, &mut self.tally)?;
        for &wider_nm in &self.ilt.config.wider_nm {
            let clips: Vec<usize> = (0..lost.len()).filter(|&clip| lost[clip].count > 0).collect();
            if clips.is_empty() {
                break;
            }
            let _span = info_span!("again", wider_nm, clips = clips.len() as u64).entered();
            let level = descent.level;
            let reach = (wider_nm / level.pixel_nm).round() as usize;
            let theirs: Vec<Lost> = clips.iter().map(|&clip| lost[clip].clone()).collect();
            let open = lost::openings(&theirs, self.size(level), reach, self.ilt.truth.device());
            let models = self.ilt.models(level)?;
            let mut again = descent.again(&clips, models, |parameters| parameters.max_pair(open));
            // The progress stays where it is: how often this happens is not known before.
            self.level(&mut again, false, self.progress.done - level.iterations)?;
            let mut better = Vec::new();
            for (place, still) in
                lost::features(&again, self.ilt.halo_nm, &mut self.tally)?.into_iter().enumerate()
            {
                if still.count < theirs[place].count {
                    lost[clips[place]] = still;
                    better.push([clips[place], place]);
                }
            }
            descent.take(&better, &again);
        }
        Ok(())
    }

    /// The start as a hard mask on the last level's grid.
    fn hard_start(&self, level: &Level) -> Tensor<3> {
        let [_, _, n] = self.goal.design.dims();
        let open = match self.start {
            Start::Target => self.goal.design.clone(),
            Start::Mask(mask) => resized(mask.clone(), n),
        };
        let free = free_square(n, level.pixel_nm, self.ilt.config.free_nm, &open.device());
        open.greater_equal_elem(0.5).float() * free
    }

    /// The best masks as their constraint wants them.
    fn found(mut self, last: Option<Descent>) -> Result<Found, LithoError> {
        let _span = info_span!("enforce").entered();
        let none = || LithoError::Grid("the descent has no step in its last level".into());
        let descent = last.filter(|d| d.level.iterations > 0).ok_or_else(none)?;
        let best = self.best.take().ok_or_else(none)?;
        let mut tally = std::mem::take(&mut self.tally);
        let (constraint, level) = (self.ilt.constraint, descent.level);
        let error = |masks: Tensor<3>| descent.hard_error(masks, &mut tally);
        let start = || self.hard_start(level);
        let (masks, errors) = best.enforced(constraint, level.pixel_nm, start, error)?;
        Ok(Found { masks, errors, usage: tally.usage()? })
    }
}
