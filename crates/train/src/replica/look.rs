//! A look at a network in training: its loss, and whether all its numbers are numbers.

use burn::module::Module;
use burn::tensor::Tensor;
use lithoburn_models::hopper::training::Fault;

use super::found::{Findings, Gradients};
use super::{Numbers, Replica, StepOrder, Trainable};
use crate::checkpoint::Trainee;
use crate::values::{Values, unsound_of, values_of};
use crate::{Lost, TrainError, read, scalar};

/// What a look at a replica found.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// What the last step found out, averaged over all replicas.
    pub(crate) numbers: Numbers<f32>,
    /// A number that is none; `devices` says whether this replica's own is.
    pub(crate) lost: Option<Lost>,
}

impl<N: Trainable> Replica<N> {
    /// Reads what the last step found out. Every replica reads, so that a device that failed is found.
    pub(crate) fn look(&mut self) -> Result<Look, TrainError> {
        let Some(Numbers { loss, told_apart }) = self.last.take() else {
            unreachable!("a step that is looked at comes before a look")
        };
        let (fights, own) = (told_apart.is_some(), loss.clone());
        let both: Vec<_> = [Some(loss), told_apart].into_iter().flatten().collect();
        let sums = self.peer.all_reduce(Tensor::cat(both, 0))?;
        let ranks = self.peer.ranks() as f32;
        let sums = read(sums, "read the training loss")?;
        let told_apart = fights.then(|| sums[1] / ranks);
        let numbers = Numbers { loss: sums[0] / ranks, told_apart };
        Ok(Look { numbers, lost: self.lost(numbers.loss, own)? })
    }

    /// A number that is none, if there is one. Sums are the same on all replicas, so all come to this together.
    fn lost(&mut self, loss: f32, own: Tensor<1>) -> Result<Option<Lost>, TrainError> {
        let fault = self.fused.as_ref().map(|fused| fused.fault()).transpose()?.flatten();
        if let Some(Fault { parameter, step }) = fault {
            let what = format!("the gradient of {parameter}");
            return Ok(Some(Lost {
                step: step as usize,
                ..self.of_here(what, self.is_unsound()?)
            }));
        }
        if loss.is_finite() {
            return Ok(None);
        }
        let here = !scalar(own, "read a device's own loss")?.is_finite();
        let network = self.whole();
        let weight = unsound_of(&network, &values_of(&network)?);
        let what = weight.map_or("the loss".into(), |name| format!("weight {name}"));
        Ok(Some(self.of_here(what, here)))
    }

    fn of_here(&self, what: String, here: bool) -> Lost {
        let step = self.fused.as_ref().map_or(self.adam.steps(), |fused| fused.steps()) as usize;
        let devices = if here { vec![self.peer.rank() + 1] } else { Vec::new() };
        Lost { what, step, devices, of: self.peer.ranks() }
    }

    /// Whether its own gradient of its next clips has a number that is none, before anything is summed.
    fn is_unsound(&self) -> Result<bool, TrainError> {
        let batch = self.objective.batch(&self.clips.next_batch());
        let (fights, looked_at, ends) = (false, false, false);
        let order = StepOrder { share: 1.0, rate: 0.0, fights, looked_at, ends };
        let Findings { gradients, .. } = self.found(&batch, None, order)?;
        match (gradients, &self.fused) {
            (Gradients::Fused(gradient), Some(fused)) => {
                let gradient = read(gradient, "read a device's own gradient")?;
                Ok(fused.training.unsound(&gradient).is_some())
            }
            _ => Ok(false),
        }
    }

    /// The numbers of a module, such that a file may have them.
    ///
    /// # Errors
    ///
    /// [`TrainError::Lost`] with the name of the first parameter that has one that is none.
    pub(super) fn sound<M: Module>(&self, module: &M, values: &Values) -> Result<(), TrainError> {
        match unsound_of(module, values) {
            None => Ok(()),
            Some(name) => Err(TrainError::Lost(self.of_here(format!("weight {name}"), true))),
        }
    }

    /// The same of a module with its optimiser.
    pub(super) fn sound_trainee<M: Module>(
        &self,
        module: &M,
        trainee: Trainee,
    ) -> Result<Trainee, TrainError> {
        self.sound(module, &trainee.values)?;
        for (moments, word) in trainee.adam.moments.iter().zip(["mean", "square"]) {
            if let Some(name) = unsound_of(module, moments) {
                let what = format!("the optimiser's {word} of {name}");
                return Err(TrainError::Lost(self.of_here(what, true)));
            }
        }
        Ok(trainee)
    }
}
