//! When several cards sum their gradients: after the way back, or beside it what is ready.
//!
//! What is ready once the way back has left the small images is most of the weights, and what is left is a quarter of the work. NCCL's cubes each take
//! a processor for themselves, and the way back's have one for each processor that they know of: they leave some to the sum. As many as NCCL takes: set
//! `NCCL_MAX_CTAS` to the same number.

use burn::tensor::Tensor;
use lithoburn_models::Training;
use lithoburn_models::hopper::training::RecordedPass;
use lithoburn_ranks::PipelineError;
use lithoburn_ranks::collective::{Peer, Pending};

use crate::TrainError;

/// `after` (as without it), `beside`, or `beside,` and how many processors are left to the sum.
const SUMS: &str = "LITHOBURN_SUMS";
/// Processors that are left to the sum. With four of an H100's 132 less, kernels that have 128 tiles of pixels are as quick as before.
const SPARED: usize = 4;

/// How many processors are left to a sum beside the way back; none if it comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spared(Option<usize>);

impl Spared {
    /// What the user asks for.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] if it is nothing that is known.
    pub(crate) fn asked() -> Result<Self, TrainError> {
        Self::named(&std::env::var(SUMS).unwrap_or_default())
    }

    fn named(name: &str) -> Result<Self, TrainError> {
        let spared = match name {
            "" | "after" => Some(None),
            "beside" => Some(Some(SPARED)),
            _ => name.strip_prefix("beside,").and_then(|number| number.parse().ok()).map(Some),
        };
        let problem = || {
            let known = "after, beside, or beside,N for N processors that are left to the sum";
            TrainError::Config(format!("{SUMS} must be {known}; got {name:?}"))
        };
        spared.map(Self).ok_or_else(problem)
    }

    /// Lets a network that every rank has on its card sum its gradients beside the way back, if that is asked for and cards sum by themselves.
    ///
    /// # Errors
    ///
    /// [`PipelineError`] if another rank failed.
    pub(crate) fn applied(
        self,
        training: &mut Training,
        peer: &mut Peer,
    ) -> Result<(), PipelineError> {
        if let (Some(spared), true) = (self.0, peer.is_native())
            && training.sum_beside(peer.devices(), spared)
        {
            // The cards get to know each other before the first sum within an operation.
            peer.all_reduce(Tensor::<1>::zeros([1], peer.device()))?;
        }
        Ok(())
    }
}

/// The sum of all ranks' gradients, begun: beside the way back, or after it.
///
/// # Errors
///
/// As [`Peer::begin_sum`].
pub(crate) fn begun(
    training: &Training,
    pass: RecordedPass,
    of_logits: Tensor<4>,
    peer: &mut Peer,
) -> Result<Pending<1>, PipelineError> {
    if !training.sums_beside() {
        return peer.begin_sum(training.gradient(pass, of_logits));
    }
    peer.meet()?;
    Ok(Pending::on_cards(training.summed_gradient(pass, of_logits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_come_after_the_way_back_unless_they_are_asked_to_go_beside_it() {
        for (name, expected) in
            [("", None), ("after", None), ("beside", Some(SPARED)), ("beside,24", Some(24))]
        {
            assert_eq!(Spared::named(name).expect(name), Spared(expected), "{name}");
        }
        for name in ["before", "beside,", "beside,many", "after,4", ","] {
            let problem = Spared::named(name).expect_err(name).to_string();
            assert!(problem.contains("LITHOBURN_SUMS must be after"), "{problem}");
        }
    }
}
