//! One step of Adam, on all devices.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{DType, Device, Tensor};
use lithoburn_litho::images::resized;
use lithoburn_models::Discriminator;

use super::{Trainable, TrainingRun, rate};
use crate::adversary::{Examples, judged};
use crate::fused::Fused;
use crate::objective::Objective;
use crate::{TrainConfig, TrainError};

/// A device, and what it needs for its part of a batch.
pub(super) struct Station<'a> {
    pub(super) device: Device,
    pub(super) objective: Objective<'a>,
}

/// What a step, or a device's part of it, found out.
pub(super) struct StepResult {
    pub(super) loss: Tensor<1>,
    gradients: NetworkGradients,
    /// The discriminator's gradients, and its share of right answers.
    judge: Option<(GradientsParams, Tensor<1>)>,
}

/// The gradients of the network's weights: by parameter, or as one run of numbers.
#[allow(clippy::large_enum_variant, reason = "there is one a step")]
enum NetworkGradients {
    Layers(GradientsParams),
    Fused(Tensor<1>),
}

impl StepResult {
    /// The discriminator's share of right answers, in the adversarial phase.
    pub(super) fn told_apart(&self) -> Option<Tensor<1>> {
        self.judge.as_ref().map(|(_, told)| told.clone())
    }
}

impl<N: Trainable> TrainingRun<'_, N> {
    /// One step of Adam on all devices.
    pub(super) fn step(&mut self, clips: Vec<f32>, share: f64) -> Result<StepResult, TrainError> {
        let settings = self.config.adversarial.as_ref();
        let fights = settings.is_some_and(|a| share >= a.from);
        let count = self.stations.len();
        let examples: Vec<Option<Examples>> = match &mut self.adversary {
            Some(adversary) if fights => {
                adversary.next_examples(count).into_iter().map(Some).collect()
            }
            _ => (0..count).map(|_| None).collect(),
        };
        // In the adversarial phase, half of a batch is labelled.
        let fresh = if fights { clips.len() / 2 } else { clips.len() };
        let parts = clips[..fresh].chunks(fresh / count).map(<[f32]>::to_vec);
        let found = self.on_stations(parts.zip(examples).collect(), share)?;
        let found = self.joined(found);
        Ok(self.moved(found, share))
    }

    /// Each device's part of a batch.
    fn on_stations(
        &self,
        parts: Vec<(Vec<f32>, Option<Examples>)>,
        share: f64,
    ) -> Result<Vec<StepResult>, TrainError> {
        let judge = self.adversary.as_ref().map(|a| &a.judge);
        let fused = self.fused.as_ref();
        let (config, network, alone) = (self.config, &self.network, self.stations.len() == 1);
        let work = |station: &Station, (clips, examples): (Vec<f32>, Option<Examples>)| {
            if alone {
                return station.step(config, network, fused, judge, clips, examples, share);
            }
            let device = station.device.clone().autodiff();
            let network = network.clone().fork(&device);
            let judge = judge.map(|judge| judge.clone().fork(&device));
            station.step(config, &network, None, judge.as_ref(), clips, examples, share)
        };
        let pairs = self.stations.iter().zip(parts);
        if alone {
            return pairs.map(|(station, part)| work(station, part)).collect();
        }
        std::thread::scope(|scope| {
            let work = &work;
            let spawn = |(station, part)| scope.spawn(move || work(station, part));
            let threads: Vec<_> = pairs.map(spawn).collect();
            let joined = threads.into_iter().map(|thread| match thread.join() {
                Ok(found) => found,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.collect()
        })
    }

    /// The devices' findings on the first one: gradients summed, losses averaged.
    fn joined(&self, found: Vec<StepResult>) -> StepResult {
        let (count, device) = (found.len(), &self.stations[0].device);
        let mut found = found.into_iter();
        let Some(first) = found.next() else { unreachable!("there is a device") };
        if count == 1 {
            return first;
        }
        let mut gradients = GradientsAccumulator::<N>::new();
        gradients.accumulate(&self.network, first.gradients.by_parameter());
        let mut judges = GradientsAccumulator::<Discriminator>::new();
        let (mut loss, mut told) = (first.loss, None);
        let judge = self.adversary.as_ref().map(|a| &a.judge);
        let mut add = |found: Option<(GradientsParams, Tensor<1>)>| {
            if let (Some(judge), Some((gradients, right))) = (judge, found) {
                judges.accumulate(judge, gradients.to_device(device, judge));
                let right = right.to_device(device);
                told = Some(told.take().map_or(right.clone(), |sum: Tensor<1>| sum + right));
            }
        };
        add(first.judge);
        for other in found {
            loss = loss + other.loss.to_device(device);
            let own = other.gradients.by_parameter().to_device(device, &self.network);
            gradients.accumulate(&self.network, own);
            add(other.judge);
        }
        let scale = 1.0 / count as f64;
        let judge = told.map(|told| (judges.grads(), told * scale));
        let gradients = NetworkGradients::Layers(gradients.grads());
        StepResult { loss: loss * scale, gradients, judge }
    }

    /// Moves the weights; what is left of the findings are their numbers.
    fn moved(&mut self, found: StepResult, share: f64) -> StepResult {
        let scale = 1.0 / self.stations.len() as f64;
        let rate = rate(self.config, self.state.step, share);
        match (found.gradients, &mut self.fused) {
            (NetworkGradients::Fused(gradient), Some(fused)) => fused.step(gradient, rate),
            (gradients, _) => {
                let (network, gradients) = (self.network.clone(), gradients.by_parameter());
                self.network = self.adam.step(network, gradients, rate, scale);
            }
        }
        let settings = self.config.adversarial.as_ref();
        let judge = match (found.judge, &mut self.adversary, settings) {
            (Some((gradients, told)), Some(adversary), Some(settings)) => {
                let rate = self.config.learning_rate * settings.rate;
                let judge = adversary.judge.clone();
                adversary.judge = adversary.adam.step(judge, gradients, rate, scale);
                self.state.adversarial = adversary.done;
                Some((GradientsParams::new(), told))
            }
            _ => None,
        };
        let gradients = NetworkGradients::Layers(GradientsParams::new());
        StepResult { loss: found.loss, gradients, judge }
    }
}

impl NetworkGradients {
    /// Those of a network that is trained layer by layer.
    fn by_parameter(self) -> GradientsParams {
        match self {
            Self::Layers(gradients) => gradients,
            Self::Fused(_) => unreachable!("a fused network is trained on one device"),
        }
    }
}

impl Station<'_> {
    /// Loss and gradients of a part of the batch, labelled clips first.
    #[allow(clippy::too_many_arguments, reason = "what a step needs, one by one")]
    fn step<N: Trainable>(
        &self,
        config: &TrainConfig,
        network: &N,
        fused: Option<&Fused>,
        judge: Option<&Discriminator>,
        clips: Vec<f32>,
        examples: Option<Examples>,
        share: f64,
    ) -> Result<StepResult, TrainError> {
        let labelled = examples.as_ref().map_or(&[][..], |e| &e.targets);
        let target = self.objective.images([labelled, &clips].concat());
        // On a card, the logits are where the simulator's gradient ends and the way back begins.
        let pass = fused.map(|fused| self.objective.pass(&fused.training, &target));
        let leaf = pass.as_ref().map(|pass| Tensor::from_inner(pass.logits.clone()).require_grad());
        let mask = match &leaf {
            Some(logits) => network.mask(self.objective.seen(&target), logits.clone()),
            None => self.objective.mask(network, &target),
        };
        let mut loss = self.objective.loss(&mask, &target, share);
        let mut opinion = None;
        if let (Some(settings), Some(judge), Some(examples)) =
            (&config.adversarial, judge, &examples)
        {
            let [_, n, _] = target.dims();
            let count = labelled.len() / (n * n);
            let seen = self.objective.seen(&target.clone().narrow(0, 0, count));
            let [_, size, _] = seen.dims();
            let own = resized(mask.narrow(0, 0, count), size);
            let precision = if config.bf16 { DType::BF16 } else { DType::F32 };
            let pixel_nm = network.head().pixel_nm;
            let found = judged(settings, judge, examples, &seen, &own, pixel_nm, precision)?;
            loss = loss + found.cost;
            opinion = Some((found.gradients, found.told_apart));
        }
        let value = loss.clone().inner();
        let gradients = loss.backward();
        let of_logits = leaf.and_then(|logits| logits.grad(&gradients));
        let gradients = match (fused, pass, of_logits) {
            (Some(fused), Some(pass), Some(of_logits)) => {
                NetworkGradients::Fused(fused.training.gradient(pass, of_logits))
            }
            _ => NetworkGradients::Layers(GradientsParams::from_grads(gradients, network)),
        };
        Ok(StepResult { loss: value, gradients, judge: opinion })
    }
}
