//! Devices of a correction: what a model takes of each, who computes what, and one network over several.

pub(crate) mod fleet;
mod known;
pub(crate) mod lane;
pub(crate) mod probe;
pub(crate) mod team;

use lithoburn_litho::LithoError;
use lithoburn_models::ParallelError;
use lithoburn_pool::Failure;
use lithoburn_ranks::PipelineError;

use crate::EngineError;

/// What the pool makes of our errors: memory that is too small and cards that are lost are no fault of the tasks.
pub fn failure(error: &EngineError) -> Failure {
    match error {
        EngineError::Litho(LithoError::Device { problem, .. }) => Failure::of_message(problem),
        EngineError::Litho(LithoError::Interrupted) => Failure::Stopped,
        EngineError::Parallel(ParallelError::Rank(part)) => match part {
            PipelineError::OutOfMemory(problem) => Failure::OutOfMemory(problem.clone()),
            other => Failure::of_message(&other.to_string()),
        },
        other => Failure::Task(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each decides what becomes of the device.
    #[test]
    fn errors_of_a_team_are_what_they_are_and_not_bad_tasks() {
        let of = |part| failure(&EngineError::from(ParallelError::Rank(part)));
        let memory = of(PipelineError::OutOfMemory("rank 1 on cuda:1: 3 GiB".into()));
        assert!(matches!(memory, Failure::OutOfMemory(_)), "{memory}");
        let lost = of(PipelineError::Failed("rank 0: an illegal memory access".into()));
        assert!(matches!(lost, Failure::Lost(_)), "{lost}");
        let broken = of(PipelineError::Panicked("rank 0: index out of bounds".into()));
        assert!(matches!(broken, Failure::Broken(_)), "{broken}");
        let shape = ParallelError::Image { stride: 16, found: [1, 1, 9, 9] };
        assert!(matches!(failure(&shape.into()), Failure::Task(_)));
    }
}
