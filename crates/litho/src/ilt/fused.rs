//! Many steps of a descent as one operation: on the processor image by image ([`super::host`]), on a GPU in kernels of our
//! own ([`super::steps`]).

use burn::tensor::Tensor;

use super::steps::{self, Plan, PrintErrors, PrintWeights, Stand};
use crate::forward::FusedSteps;
use crate::loss::{Goal, PrintLoss};

impl FusedSteps<'_> {
    /// Where a descent stands after the steps of a plan, and their last soft mask. `window`, `[batch, n, n]`, is where the mask
    /// may be open.
    pub(super) fn descend(
        &self,
        stand: Stand,
        window: &Tensor<3>,
        goal: &Goal,
        plan: Plan,
    ) -> (Stand, Tensor<3>) {
        match self.host {
            _ if self.idle => (stand, window.clone()),
            Some(host) => host.descend(stand, window, goal, &plan),
            None => steps::descend(stand, window, goal, (self.simulator, self.grid), &plan),
        }
    }

    /// The loss's derivative by the pixels of masks, on the processor; none on a GPU.
    pub(crate) fn slopes(
        &self,
        masks: Tensor<3>,
        goal: &Goal,
        loss: &PrintLoss,
    ) -> Option<Tensor<3>> {
        Some(self.host?.slopes(masks, goal, &PrintWeights::new(loss, self.window)))
    }

    /// Errors of a batch of masks, in pixels, `[batch, 1, 1]`: as [`PrintLoss::hard_error`], or of soft prints as
    /// [`PrintLoss::value`], clip by clip.
    pub(crate) fn errors(
        &self,
        masks: Tensor<3>,
        goal: &Goal,
        loss: &PrintLoss,
        hard: bool,
    ) -> Tensor<3> {
        self.print_errors(masks, goal, PrintErrors::new(loss, self.window, hard))
    }

    /// The same of errors that are named.
    pub(super) fn print_errors(
        &self,
        masks: Tensor<3>,
        goal: &Goal,
        what: PrintErrors,
    ) -> Tensor<3> {
        match self.host {
            _ if self.idle => masks.zeros_like().sum_dim(2).sum_dim(1),
            Some(host) => host.errors(masks, goal, &what.weights, what.hard),
            None => steps::errors(&masks, goal, (self.simulator, self.grid), what),
        }
    }
}
