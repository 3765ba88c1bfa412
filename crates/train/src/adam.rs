//! Adam, with a state that can be saved and restored on any device.
//!
//! Kingma and Ba, ICLR 2015. Burn 0.22 has it too, but restores its state on the default device, which is a CUDA card
//! whether the machine has one or not.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};

use crate::TrainError;
use crate::values::{Values, each_value, values_sizes};

/// What an [`Adam`] is told, besides the step size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdamTerms {
    /// How slowly the mean and the square of the gradient forget.
    pub(crate) betas: [f64; 2],
    /// Least divisor of a step.
    pub(crate) epsilon: f64,
    /// Largest norm of a parameter's gradient; longer ones are shortened to it.
    pub(crate) most_norm: Option<f64>,
}

impl Default for AdamTerms {
    fn default() -> Self {
        Self { betas: [0.9, 0.999], epsilon: 1e-5, most_norm: Some(1.0) }
    }
}

/// Mean and square of a parameter's gradient, decaying.
type GradientMoments = [Tensor<1>; 2];

/// The optimiser of one module.
pub(crate) struct Adam {
    terms: AdamTerms,
    steps: i32,
    moments: HashMap<ParamId, GradientMoments>,
}

impl Adam {
    pub(crate) fn new(terms: AdamTerms) -> Self {
        Self { terms, steps: 0, moments: HashMap::new() }
    }

    /// Steps so far.
    pub(crate) fn steps(&self) -> i32 {
        self.steps
    }

    /// Moves the parameters of a module against their gradients times `scale`.
    pub(crate) fn step<M: Module>(
        &mut self,
        module: M,
        gradients: GradientsParams,
        rate: f64,
        scale: f64,
    ) -> M {
        self.steps += 1;
        module.map(&mut Update { adam: self, gradients, rate, scale })
    }

    /// The state, in the module's order of parameters.
    pub(crate) fn values<M: Module>(&self, module: &M) -> Result<AdamValues, TrainError> {
        let mut moments = [Values::new(), Values::new()];
        for (id, _) in each_value(module) {
            let own = self.moments.get(&id);
            for (values, i) in moments.iter_mut().zip(0..) {
                let read =
                    |m: &GradientMoments| crate::read(m[i].clone(), "read the optimiser's state");
                values.push(own.map(read).transpose()?.unwrap_or_default());
            }
        }
        Ok(AdamValues { steps: self.steps, moments })
    }

    /// Takes up a state for the parameters of a module; an error if it is one of another module.
    pub(crate) fn restored<M: Module>(
        terms: AdamTerms,
        module: &M,
        values: &AdamValues,
    ) -> Result<Self, String> {
        let [means, squares] = &values.moments;
        let sizes = values_sizes(module);
        let fits = |own: &Values| {
            let fits = |(v, n): (&Vec<f32>, &usize)| v.is_empty() || v.len() == *n;
            own.len() == sizes.len() && own.iter().zip(&sizes).all(fits)
        };
        let paired = means.iter().zip(squares).all(|(mean, square)| mean.len() == square.len());
        if !(values.steps >= 0 && paired && fits(means) && fits(squares)) {
            return Err("the optimiser's state is of another network".into());
        }
        let mut moments = HashMap::new();
        for ((id, device), (mean, square)) in each_value(module).zip(means.iter().zip(squares)) {
            if mean.is_empty() {
                continue;
            }
            let tensor = |v: &Vec<f32>| {
                Tensor::from_data(TensorData::new(v.clone(), [v.len()]), &device.clone().inner())
            };
            moments.insert(id, [tensor(mean), tensor(square)]);
        }
        Ok(Self { terms, steps: values.steps, moments })
    }
}

/// An [`Adam`] outside of any device.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdamValues {
    pub(crate) steps: i32,
    pub(crate) moments: [Values; 2],
}

struct Update<'a> {
    adam: &'a mut Adam,
    gradients: GradientsParams,
    rate: f64,
    scale: f64,
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let id = param.id;
        match self.gradients.remove::<D>(id) {
            None => param,
            Some(gradient) => param.map(|value| {
                let tracked = value.is_require_grad();
                let change = self.change(id, gradient);
                let value = value.inner();
                let change = change.reshape(value.dims());
                let moved = Tensor::from_inner(value - change);
                if tracked { moved.require_grad() } else { moved }
            }),
        }
    }
}

impl Update<'_> {
    fn change<const D: usize>(&mut self, id: ParamId, gradient: Tensor<D>) -> Tensor<1> {
        let AdamTerms { betas: [b1, b2], epsilon, most_norm } = self.adam.terms;
        let gradient = gradient * self.scale;
        let gradient = match most_norm {
            Some(most) => clipped(gradient, most),
            None => flat(gradient),
        };
        let square = gradient.clone() * gradient.clone();
        let (new, new_square) = (gradient * (1.0 - b1), square * (1.0 - b2));
        let [mean, square] = match self.adam.moments.remove(&id) {
            None => [new, new_square],
            Some([mean, square]) => [mean * b1 + new, square * b2 + new_square],
        };
        let unbias = |beta: f64| 1.0 / (1.0 - beta.powi(self.adam.steps));
        let size = (square.clone() * unbias(b2)).sqrt() + epsilon;
        let change = mean.clone() * (self.rate * unbias(b1)) / size;
        self.adam.moments.insert(id, [mean, square]);
        change
    }
}

fn flat<const D: usize>(gradient: Tensor<D>) -> Tensor<1> {
    let count = gradient.shape().num_elements();
    gradient.reshape([count])
}

/// A gradient no longer than `most`. Summed by rows: Burn gives a single sum to one thread.
fn clipped<const D: usize>(gradient: Tensor<D>, most: f64) -> Tensor<1> {
    let (rows, count) = (gradient.dims()[0], gradient.shape().num_elements());
    let rows = gradient.reshape([rows, count / rows]);
    let norm = (rows.clone() * rows.clone()).sum_dim(1).sum_dim(0).sqrt();
    let factor = ((norm + f64::from(f32::MIN_POSITIVE)).recip() * most).clamp_max(1.0);
    flat(rows * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::grad_clipping::GradientClippingConfig;
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::AdamConfig;
    use burn::tensor::Device;

    fn gradients(layer: &Linear, step: usize) -> GradientsParams {
        let values: Vec<f32> = (0..12).map(|i| ((i * 7 + step * 5) % 11) as f32 - 4.0).collect();
        let x = Tensor::<1>::from_floats(values.as_slice(), &Device::flex().autodiff());
        let y = layer.forward(x.reshape([4, 3]));
        GradientsParams::from_grads((y.clone() * y).sum().backward(), layer)
    }

    fn values(layer: &Linear) -> Vec<f32> {
        crate::values::values_of(layer).expect("values").concat()
    }

    /// Burn's own Adam is the second implementation, with the terms of networks and with those of surrogates.
    #[test]
    fn it_moves_as_burns_adam_does() {
        let _alone = crate::first::alone();
        let surrogates = AdamTerms { betas: [0.9, 0.99], epsilon: 1e-12, most_norm: None };
        for terms in [AdamTerms::default(), surrogates] {
            let mut ours = LinearConfig::new(3, 2).init(&Device::flex().autodiff());
            let mut theirs = ours.clone();
            let [b1, b2] = terms.betas.map(|beta| beta as f32);
            let clipping = terms.most_norm.map(|most| GradientClippingConfig::Norm(most as f32));
            let reference = AdamConfig::new().with_beta_1(b1).with_beta_2(b2);
            let reference = reference.with_epsilon(terms.epsilon as f32);
            let mut reference = reference.with_grad_clipping(clipping).init();
            let mut adam = Adam::new(terms);
            for step in 0..5 {
                let gradient = gradients(&ours, step);
                ours = adam.step(ours, gradient, 0.1, 1.0);
                let gradient = gradients(&theirs, step);
                theirs = reference.step(0.1, theirs, gradient);
            }
            for (a, b) in values(&ours).iter().zip(values(&theirs)) {
                assert!((a - b).abs() < 1e-5, "{terms:?}: {a} vs {b}");
            }
        }
    }

    #[test]
    fn a_restored_state_goes_on_as_the_first() {
        let _alone = crate::first::alone();
        let mut layer = LinearConfig::new(3, 2).init(&Device::flex().autodiff());
        let mut adam = Adam::new(AdamTerms::default());
        for step in 0..3 {
            let gradient = gradients(&layer, step);
            layer = adam.step(layer, gradient, 0.1, 1.0);
        }
        let state = adam.values(&layer).expect("values");
        let mut other = Adam::restored(AdamTerms::default(), &layer, &state).expect("fits");
        let gradient = gradients(&layer, 3);
        let first = adam.step(layer.clone(), gradient, 0.1, 1.0);
        let gradient = gradients(&layer, 3);
        assert_eq!(values(&first), values(&other.step(layer, gradient, 0.1, 1.0)));
    }
}
