//! The models of a descent: the true one, and a cheap one that it corrects.
//!
//! With a surrogate, the gradient is the surrogate's, at images that are shifted by what it is off: every so many
//! steps the true model is asked once, and the difference of its images and the surrogate's is added to the
//! surrogate's until it is asked again (additive space mapping; Bandler et al., 2004). So the descent ends where
//! the *true* images are right, however wrong the surrogate, if only its slopes are nearly so. Hard masks are
//! compared by the true model alone.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::forward::{Exposed, ForwardModel, FusedSteps, Imager};
use crate::images::read_back;
use crate::loss::{Goal, PrintLoss};
use crate::{CornerImages, LithoError};

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

impl Usage {
    /// What both took; of a surrogate's errors the mean.
    pub(super) fn and(self, other: Self) -> Self {
        let errors = self.surrogate_mse.zip(other.surrogate_mse);
        Self {
            true_model_calls: self.true_model_calls + other.true_model_calls,
            surrogate_calls: self.surrogate_calls + other.surrogate_calls,
            surrogate_mse: errors.map(|(own, other)| f64::midpoint(own, other)),
        }
    }
}

/// What was asked so far.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) true_calls: usize,
    surrogate_calls: usize,
    /// Of the surrogate's images, clip by clip, each time that the true model was asked. `[batch, 1, 1]`.
    errors: Vec<Tensor<3>>,
}

impl Tally {
    pub(super) fn usage(self) -> Result<Usage, LithoError> {
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

/// A surrogate, and after how many steps it is corrected.
#[derive(Clone, Copy)]
pub(super) struct Surrogate<'a> {
    pub(super) model: &'a dyn ForwardModel,
    pub(super) correct_every: usize,
}

/// The models on a level's grid.
pub(super) struct Models<'a> {
    truth: Box<dyn Imager + 'a>,
    surrogate: Option<(Box<dyn Imager + 'a>, usize)>,
    /// The true images less the surrogate's, when they were last compared.
    correction: Option<CornerImages>,
}

impl<'a> Models<'a> {
    pub(super) fn new(
        truth: &'a dyn ForwardModel,
        surrogate: Option<Surrogate<'a>>,
        pixel_nm: f64,
        points: usize,
    ) -> Result<Self, LithoError> {
        let on = |s: Surrogate<'a>| s.model.on(pixel_nm, points).map(|on| (on, s.correct_every));
        let surrogate = surrogate.map(on).transpose()?;
        Ok(Self { truth: truth.on(pixel_nm, points)?, surrogate, correction: None })
    }

    /// The true model's steps as one operation, if it has them and its gradient is what is wanted.
    pub(super) fn fused(&self) -> Option<FusedSteps<'_>> {
        self.truth.fused().filter(|_| self.surrogate.is_none())
    }

    /// Corrected images, and the way back from their gradient.
    pub(super) fn expose(
        &mut self,
        mask: Tensor<3>,
        step: usize,
        tally: &mut Tally,
    ) -> Exposed<'_> {
        let Some((surrogate, every)) = &self.surrogate else {
            tally.true_calls += 1;
            return self.truth.expose(mask);
        };
        let mut exposed = surrogate.expose(mask.clone());
        tally.surrogate_calls += 1;
        if step.is_multiple_of(*every) {
            let truth = self.truth.images(mask);
            tally.true_calls += 1;
            tally.errors.push(truth.mean_square_error(&exposed.images));
            self.correction = Some(truth.zip(exposed.images.clone(), |a, b| a - b));
        }
        if let Some(correction) = &self.correction {
            exposed.images = exposed.images.zip(correction.clone(), |image, off| image + off);
        }
        exposed
    }

    /// The true nominal image of masks.
    pub(super) fn nominal(&self, masks: Tensor<3>, tally: &mut Tally) -> Tensor<3> {
        tally.true_calls += 1;
        self.truth.seen(masks).nominal
    }

    /// What hard masks cost by the true model: [`PrintLoss::hard_error`].
    pub(super) fn hard_error(
        &self,
        masks: Tensor<3>,
        goal: &Goal,
        loss: &PrintLoss,
        tally: &mut Tally,
    ) -> Tensor<3> {
        tally.true_calls += 1;
        self.truth.hard_error(masks, goal, loss)
    }
}
