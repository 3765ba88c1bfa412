//! A process that was started to compile kernels for a run [beside it](crate::ahead).

use std::sync::atomic::Ordering;

use lithoburn_layout::{Layout, Raster};
use lithoburn_pool::{end_at_once, untested};

use crate::EngineError;
use crate::ahead::{AHEAD, ANSWERS, Kernels, Part};
use crate::correction::Correction;
use crate::devices::probe::bar;
use crate::evaluate::{Design, Evaluator, Exposed};
use crate::model::Model;
use crate::proposer::{Proposer, Target};
use crate::setup::Setup;

/// Lets first runs be shared among processes.
///
/// Call it first in `main`, after [`lithoburn_pool::answer_probes`]. It starts this program again with an environment variable set, and
/// in that process it does not return. A program that does not call it compiles all by itself.
pub fn answer_ahead() {
    match std::env::var(AHEAD) {
        Ok(text) => {
            let part = serde_json::from_str(&text).map_err(|e| EngineError::Setting(e.to_string()));
            let done = part.and_then(|part: Part| compile(&part));
            end_at_once(i32::from(done.is_err()));
        }
        Err(_) => ANSWERS.store(true, Ordering::Relaxed),
    }
}

/// Launches kernels, on a field that is open in a bar.
fn compile(part: &Part) -> Result<(), EngineError> {
    let failed = |text: String| EngineError::Pool(text);
    let name = part.device.parse().map_err(failed)?;
    let device = untested(name).map_err(|e| failed(e.to_string()))?.device;
    let setup = plain(part.model)?;
    let target = bar((setup.kernels.period_nm / setup.pixel_nm).round() as usize, setup.pixel_nm);
    match part.kernels {
        Kernels::Work(level, work) => {
            Proposer::descending(&setup, &device, None)?.compile(level, work)
        }
        Kernels::Network => walk(Proposer::new(&setup, &device, None)?, &target),
        Kernels::Levels => walk(Proposer::descending(&setup, &device, None)?, &target),
        Kernels::Around(level) => {
            let proposer = Proposer::descending(&setup, &device, Some(level))?.short().idle();
            proposer.cores(&[Target::Raster(&target)], 0.0).map(drop)
        }
        Kernels::Measures => {
            measure(&Evaluator::on(&device, &setup.kernels, &setup.process), &target)
        }
    }
}

/// A model with all other settings as they are without a word.
pub(crate) fn plain(model: Model) -> Result<Setup, EngineError> {
    let nothing: &[Layout] = &[];
    Correction::of(nothing).model(model).setup()
}

/// Goes through all that a field's mask takes, as a run does, but for the steps.
fn walk(proposer: Proposer, target: &Raster) -> Result<(), EngineError> {
    proposer.short().idle().propose(&[Target::Raster(target)], &mut |_| true).map(drop)
}

fn measure(evaluator: &Evaluator, target: &Raster) -> Result<(), EngineError> {
    evaluator.compare(Exposed::binary(target), &Design::whole(target)).map(drop)
}

#[cfg(test)]
mod tests {
    use lithoburn_litho::ilt::Work;

    use super::*;

    /// What a process would do on a card, on the CPU.
    #[test]
    fn every_part_runs() {
        let part = |kernels| Part { device: "cpu".into(), model: Model::NeuralIltFast, kernels };
        let work = Kernels::Work(0, Work::Errors { hard: true });
        for kernels in
            [work, Kernels::Around(0), Kernels::Levels, Kernels::Network, Kernels::Measures]
        {
            compile(&part(kernels)).expect("a part");
        }
        assert!(compile(&part(Kernels::Around(9))).is_err());
        assert!(compile(&part(Kernels::Work(9, Work::Step { first: 0 }))).is_err());
    }
}
