//! Gradients of a module, summed over all devices as one run of numbers.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use lithoburn_ranks::collective::Peer;

use crate::TrainError;

/// The sums of all peers' gradients. Parameters without a gradient are the same with all.
pub(crate) fn summed<M: Module>(
    module: &M,
    gradients: GradientsParams,
    peer: &mut Peer,
) -> Result<GradientsParams, TrainError> {
    if peer.ranks() == 1 || gradients.is_empty() {
        return Ok(gradients);
    }
    let mut taken = Taken { gradients, owners: Vec::new(), runs: Vec::new() };
    module.visit(&mut taken);
    let Taken { owners, runs, .. } = taken;
    let run = peer.all_reduce(Tensor::cat(runs, 0))?;
    let gradients = GradientsParams::new();
    let mut given = Given { gradients, owners: owners.into_iter().peekable(), run, start: 0 };
    module.visit(&mut given);
    Ok(given.gradients)
}

struct Taken {
    gradients: GradientsParams,
    owners: Vec<ParamId>,
    runs: Vec<Tensor<1>>,
}

impl ModuleVisitor for Taken {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let count = gradient.shape().num_elements();
            self.owners.push(param.id);
            self.runs.push(gradient.reshape([count]));
        }
    }
}

struct Given {
    gradients: GradientsParams,
    owners: std::iter::Peekable<std::vec::IntoIter<ParamId>>,
    run: Tensor<1>,
    start: usize,
}

impl ModuleVisitor for Given {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.owners.next_if_eq(&param.id).is_none() {
            return;
        }
        let shape = param.val().dims();
        let count = shape.iter().product();
        let own = self.run.clone().narrow(0, self.start, count).reshape(shape);
        self.gradients.register(param.id, own);
        self.start += count;
    }
}
