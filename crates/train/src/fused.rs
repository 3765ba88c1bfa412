//! A network in training as one operation of a card, and how it becomes the module that validation and files know.
//!
//! The card has all weights in one run of numbers, in the order of the network's layers. A module carries them by their names, and Adam's memories
//! likewise, so that a run's state is the same file whichever way it was trained.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use lithoburn_litho::LithoError;
use lithoburn_models::flat::Flat;
use lithoburn_models::hopper::NotFused;
use lithoburn_models::hopper::training::{AdamStep, Fault};
use lithoburn_models::{Parallel, Program, Training};
use lithoburn_ranks::collective::Peer;

use crate::TrainError;
use crate::adam::{AdamTerms, AdamValues};
use crate::values::{Values, restored, values_of, values_sizes};

/// What cards tell each other of a fused network's gradient: bf16, as their images and what they read of the weights are, where NCCL sums it, which has half
/// as much to move then. One card alone tells nobody, and what goes through the host is f32.
pub(crate) fn precision_of_sums(peer: &Peer) -> DType {
    if peer.is_native() { DType::BF16 } else { DType::F32 }
}

/// A network in training on a card.
pub(crate) struct Fused {
    pub(crate) training: Training,
    program: Program,
    terms: AdamTerms,
    steps: i32,
}

impl Fused {
    /// A network on a peer's device, if it is a card for it.
    pub(crate) fn new<N: Parallel + Module>(
        network: &N,
        peer: &Peer,
        terms: AdamTerms,
    ) -> Result<Self, NotFused> {
        let program = network.valid().program();
        let training = Training::new(&program, peer.device(), precision_of_sums(peer))?;
        Ok(Self { training, program, terms, steps: 0 })
    }

    /// Moves the weights against a gradient times `scale`.
    pub(crate) fn step(&mut self, gradient: Tensor<1>, rate: f64, scale: f64) {
        self.steps += 1;
        let AdamTerms { betas, epsilon, most_norm } = self.terms;
        let step = AdamStep {
            betas: betas.map(|beta| beta as f32),
            epsilon: epsilon as f32,
            most_norm: most_norm.map_or(f32::INFINITY, |most| most as f32),
            scale: scale as f32,
            rate: rate as f32,
            count: self.steps,
        };
        self.training.step(gradient, step);
    }

    /// Steps of the optimiser so far.
    pub(crate) fn steps(&self) -> i32 {
        self.steps
    }

    /// The first step in which a gradient was no number, and whose that was.
    pub(crate) fn fault(&self) -> Result<Option<Fault>, TrainError> {
        let failed = |problem| LithoError::Device { doing: "look at the gradients", problem };
        Ok(self.training.fault().map_err(failed)?)
    }

    /// A module with its weights.
    pub(crate) fn module<N: Module>(&self, network: N) -> N {
        carried(network, &self.program, self.training.flat(), self.training.values())
    }

    /// The optimiser's state, in the module's order of parameters.
    pub(crate) fn adam_values<N: Module + Clone>(
        &self,
        network: &N,
    ) -> Result<AdamValues, TrainError> {
        let [mean, square] = self.training.memory();
        let own = |all: &Tensor<1>| {
            let flat = self.training.flat();
            values_of(&carried(network.clone(), &self.program, flat, all))
        };
        Ok(AdamValues { steps: self.steps, moments: [own(mean)?, own(square)?] })
    }

    /// Takes up the weights of a module, and a state of the optimiser that fits it.
    pub(crate) fn restore<N: Parallel + Module + Clone>(
        &mut self,
        network: &N,
        adam: &AdamValues,
    ) -> Result<(), String> {
        let device = self.training.values().device();
        let own = |module: &N| numbers_of(module, self.training.flat(), &device);
        let values = own(network)?;
        let memory = |moments: &Values| own(&restored(network.clone(), &whole(network, moments))?);
        let [mean, square] = &adam.moments;
        let memory = [memory(mean)?, memory(square)?];
        self.training.set_values(values);
        self.training.set_memory(memory);
        self.steps = adam.steps;
        Ok(())
    }
}

/// Moments of parameters without a gradient so far are zero.
fn whole<M: Module>(module: &M, moments: &Values) -> Values {
    let sizes = values_sizes(module);
    let whole = |(own, size): (&Vec<f32>, usize)| match own.is_empty() {
        true => vec![0.0; size],
        false => own.clone(),
    };
    moments.iter().zip(sizes).map(whole).collect()
}

/// A module's weights in one run.
fn numbers_of<N: Parallel + Module>(
    module: &N,
    flat: &Flat,
    device: &Device,
) -> Result<Tensor<1>, String> {
    let values = flat.values(&module.valid().program())?;
    Ok(Tensor::from_data(TensorData::new(values, [flat.count]), device))
}

/// A module with other weights: each parameter takes those of the layer that has its name.
fn carried<M: Module>(module: M, program: &Program, flat: &Flat, all: &Tensor<1>) -> M {
    let names = program.layers.iter().enumerate().map(|(i, layer)| (layer.name.clone(), i));
    let mut carrier = Carrier { layers: names.collect(), flat, all, path: Vec::new() };
    module.map(&mut carrier)
}

struct Carrier<'a> {
    layers: HashMap<String, usize>,
    flat: &'a Flat,
    all: &'a Tensor<1>,
    path: Vec<String>,
}

impl Carrier<'_> {
    /// The numbers of the parameter that the path leads to.
    fn own<const D: usize>(&self, shape: [usize; D]) -> Option<Tensor<D>> {
        let (parameter, layer) = self.path.split_last()?;
        let layer = *self.layers.get(&layer.join("."))?;
        let (weight, bias) = self.flat.tensors(self.all, layer)?;
        match parameter.as_str() {
            "weight" => Some(weight.reshape(shape)),
            "bias" => Some(bias?.reshape(shape)),
            _ => None,
        }
    }
}

impl ModuleMapper for Carrier<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(own) = self.own(param.val().dims()) else { return param };
        param.map(|old| {
            let own = if old.device().is_autodiff() { Tensor::from_inner(own) } else { own };
            if old.is_require_grad() { own.require_grad() } else { own }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lithoburn_models::{EncoderDecoderConfig, GanOpcConfig, NeuralIltConfig};

    /// The module's own values are the second form: changed in one run, they are changed by name.
    fn there_and_back<N: Parallel + Module + Clone>(network: N) {
        let (program, device) = (network.valid().program(), Device::flex());
        let flat = Flat::of(&program);
        let all = numbers_of(&network, &flat, &device).expect("on the host");
        let same = carried(network.clone(), &program, &flat, &all);
        let (before, after) = (values_of(&network), values_of(&same));
        assert_eq!(before.expect("values"), after.expect("values"));
        let other = carried(network.clone(), &program, &flat, &(all.clone() * -2.0));
        let doubled = values_of(&other).expect("values");
        for (own, doubled) in values_of(&network).expect("values").iter().zip(doubled) {
            assert!(own.iter().zip(&doubled).all(|(own, doubled)| *doubled == -2.0 * own));
        }
        let again = numbers_of(&other, &flat, &device).expect("on the host");
        let off = (again - all * -2.0).abs().max().into_scalar::<f32>();
        assert!(off == 0.0, "{off}");
    }

    #[test]
    fn a_module_carries_all_numbers_by_their_names() {
        let _alone = crate::first::alone();
        let device = Device::flex().autodiff();
        let unet = NeuralIltConfig { width: 2, last_side: 3, ..NeuralIltConfig::default() };
        there_and_back(unet.init(&device));
        let generator = EncoderDecoderConfig::new(vec![2, 3], true, 1);
        there_and_back(GanOpcConfig { generator, ..GanOpcConfig::default() }.init(&device));
    }

    /// What a run that was trained layer by layer had not seen yet is zero.
    #[test]
    fn moments_that_are_not_there_are_zero() {
        let _alone = crate::first::alone();
        let network = NeuralIltConfig { width: 2, ..NeuralIltConfig::default() };
        let network = network.init(&Device::flex());
        let moments: Values = values_sizes(&network).iter().map(|_| Vec::new()).collect();
        let whole = whole(&network, &moments);
        let sizes: Vec<usize> = whole.iter().map(Vec::len).collect();
        assert_eq!(sizes, values_sizes(&network));
        assert!(whole.iter().flatten().all(|&v| v == 0.0));
    }
}
