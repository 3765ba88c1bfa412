//! The discriminator, and what its opinion costs the network.

use std::sync::Arc;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::activation::log_sigmoid;
use burn::tensor::{DType, Device, Tensor, TensorData};
use lithoburn_models::Discriminator;

use crate::adam::{Adam, AdamTerms};
use crate::checkpoint::Trainee;
use crate::clips::Shard;
use crate::config::Adversarial;
use crate::labels::Labels;
use crate::values::{restored, values_of};
use crate::{ClipStream, Target, TrainError};

/// What the discriminator's opinion is measured in, in nm² per clip.
const UNIT_NM2: f64 = 1e4;

/// The discriminator in training, and the examples that it sees.
pub(crate) struct Adversary {
    pub(crate) judge: Discriminator,
    adam: Adam,
    labels: Arc<Labels>,
    stream: ClipStream,
    /// Its device's part of the labelled clips.
    shard: Shard,
    /// Steps done.
    done: usize,
}

/// Labelled clips on a device.
pub(crate) struct Examples {
    /// Their targets.
    pub(crate) targets: Vec<Target>,
    /// How many they are.
    pub(crate) clips: usize,
    /// The solver's masks at the network's pixels.
    masks: Vec<f32>,
}

/// A discriminator's verdict on a batch.
pub(crate) struct Judgement {
    /// What it costs the network, per clip.
    pub(crate) cost: Tensor<1>,
    /// Gradients of the discriminator.
    pub(crate) gradients: GradientsParams,
    /// Its share of right answers.
    pub(crate) told_apart: Tensor<1>,
}

impl Adversary {
    pub(crate) fn new(
        settings: &Adversarial,
        labels: Arc<Labels>,
        stream: ClipStream,
        shard: Shard,
        done: usize,
        device: &Device,
    ) -> Self {
        let judge = Discriminator::new(&settings.discriminator, &device.clone().autodiff());
        Self { judge, adam: Adam::new(AdamTerms::default()), labels, stream, shard, done }
    }

    /// Takes up a discriminator's weights and its optimiser's state.
    pub(crate) fn restore(&mut self, trainee: &Trainee) -> Result<(), String> {
        self.judge = restored(self.judge.clone(), &trainee.values)?;
        self.adam = Adam::restored(AdamTerms::default(), &self.judge, &trainee.adam)?;
        Ok(())
    }

    /// Where the discriminator stands.
    pub(crate) fn trainee(&self) -> Result<Trainee, TrainError> {
        Ok(Trainee { values: values_of(&self.judge)?, adam: self.adam.values(&self.judge)? })
    }

    /// Moves the discriminator against its gradients times `scale`.
    pub(crate) fn step(&mut self, gradients: GradientsParams, rate: f64, scale: f64) {
        self.judge = self.adam.step(self.judge.clone(), gradients, rate, scale);
    }

    /// The next labelled clips of its device.
    pub(crate) fn next_examples(&mut self) -> Examples {
        let (count, first) = (self.labels.len() as u64, self.done * self.shard.clips());
        let indices = first..first + self.shard.clips();
        let masks =
            self.labels.masks(indices.map(|i| (self.shard.clip(i as u64) % count) as usize));
        self.done += 1;
        Examples { targets: self.stream.next_batch(), clips: self.shard.clips(), masks }
    }
}

/// Judges a network's masks of the labelled clips: `target` and `mask` are `[clips, n, n]` at the network's
/// pixels.
pub(crate) fn judged(
    settings: &Adversarial,
    judge: &Discriminator,
    examples: &Examples,
    target: &Tensor<3>,
    mask: &Tensor<3>,
    pixel_nm: f64,
    precision: DType,
) -> Result<Judgement, TrainError> {
    let [clips, n, _] = mask.dims();
    let data = TensorData::new(examples.masks.clone(), [clips, n, n]);
    let example = Tensor::<3>::from_data(data, &mask.device());
    let target = target.clone().cast(precision);
    let opinion = |judge: &Discriminator, mask: Tensor<3>| {
        judge.forward(target.clone(), mask).cast(DType::F32)
    };
    let real = opinion(judge, example.clone());
    let made = opinion(judge, mask.clone().detach());
    let of_judge = (log_sigmoid(real.clone()) + log_sigmoid(-made.clone())).mean() * -1.0;
    let right = real.greater_elem(0.0).float() + made.lower_elem(0.0).float();
    let gradients = GradientsParams::from_grads(of_judge.backward(), judge);

    let doubt = log_sigmoid(opinion(&judge.clone().no_grad(), mask.clone())).mean() * -1.0;
    let off = mask.clone() - example;
    let off =
        (off.clone() * off).sum_dim(2).sum_dim(1).sum() * (pixel_nm * pixel_nm / clips as f64);
    let cost = doubt * (settings.weight * UNIT_NM2) + off * settings.label_weight;
    Ok(Judgement { cost, gradients, told_apart: right.inner().mean() * 0.5 })
}
