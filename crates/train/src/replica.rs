//! A network in training on one device: its weights, its optimiser, its adversary, and what teaches it.
//!
//! Several devices each have a whole one. A step gives each a part of the batch; gradients are summed over all, and every optimiser then does
//! the same to the same weights: nothing but gradients travels.

mod look;

use std::sync::Arc;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::store::ModuleSnapshot;
use burn::tensor::{DType, Tensor};
use lithoburn_litho::KernelSet;
use lithoburn_litho::images::resized;
use lithoburn_models::hopper::NotFused;
use lithoburn_models::weights::{self, hash_of};
use lithoburn_models::{Discriminator, Parallel};
use lithoburn_ranks::collective::Peer;

use crate::adam::{Adam, AdamTerms};
use crate::adversary::{Adversary, Examples, Judgement, judged};
use crate::checkpoint::Trainee;
use crate::clips::Shard;
use crate::config::TrainConfig;
use crate::fused::Fused;
use crate::labels::{self, Labels};
use crate::objective::{IMAGE_PIXEL_NM, Objective};
use crate::sums::summed;
use crate::values::{restored, values_of};
use crate::{ClipSource, ClipStream, Rasters, Sample, TrainError, read};

/// What a network must be to be trained.
pub(crate) trait Trainable:
    Parallel + Module + ModuleSnapshot + Clone + Sync + 'static
{
}

impl<N: Parallel + Module + ModuleSnapshot + Clone + Sync + 'static> Trainable for N {}

/// What all replicas of a run have in common.
#[derive(Clone)]
pub(crate) struct Lesson {
    pub(crate) config: Arc<TrainConfig>,
    pub(crate) source: ClipSource,
    pub(crate) kernels: Arc<KernelSet>,
    /// Where the network stands, and its discriminator if there is one.
    pub(crate) trainees: Arc<Vec<Trainee>>,
    /// Steps done.
    pub(crate) step: usize,
}

/// A network in training on one device.
pub(crate) struct Replica<N> {
    config: Arc<TrainConfig>,
    source: ClipSource,
    field_nm: f64,
    objective: Objective,
    peer: Peer,
    network: N,
    adam: Adam,
    /// The network as a card trains it; `network` and `adam` are then as of the last look.
    fused: Option<Fused>,
    adversary: Option<Adversary>,
    clips: ClipStream,
    last: Option<Numbers<Tensor<1>>>,
}

/// What a step is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepOrder {
    /// Share of the schedule that is done.
    pub(crate) share: f64,
    /// Step size.
    pub(crate) rate: f64,
    /// Whether the discriminator has its say.
    pub(crate) fights: bool,
}

/// What a step found out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers<T> {
    /// Soft error per clip, in nm².
    pub(crate) loss: T,
    /// The discriminator's share of right answers, in the adversarial phase.
    pub(crate) told_apart: Option<T>,
}

/// The gradients of the network's weights: by parameter, or as one run of numbers.
#[allow(clippy::large_enum_variant, reason = "there is one a step")]
enum Gradients {
    Layers(GradientsParams),
    Fused(Tensor<1>),
}

/// What a part of a batch found out.
struct Findings {
    numbers: Numbers<Tensor<1>>,
    gradients: Gradients,
    /// The discriminator's.
    judge: Option<GradientsParams>,
}

impl<N: Trainable> Replica<N> {
    /// One on a peer's device, where the run stands.
    pub(crate) fn new(lesson: Lesson, network: N, peer: Peer) -> Result<Self, TrainError> {
        let Lesson { config, source, kernels, trainees, step } = lesson;
        let mut objective = Objective::new(&config, &network, &kernels, peer.device())?;
        if peer.rank() == 0 {
            objective.validates_on(&source, kernels.period_nm);
        }
        let shard = Shard::of(&config, peer.rank(), peer.ranks());
        let (field_nm, clips) = (kernels.period_nm, (source.clone(), config.seed));
        let clip = move |i| clips.0.clip(false, clips.1, shard.clip(i), field_nm, IMAGE_PIXEL_NM);
        let clips = ClipStream::start((step * shard.clips()) as u64, shard.clips(), clip);
        let adam = Adam::new(AdamTerms::default());
        let (fused, adversary, last) = (None, None, None);
        let mut replica = Self {
            config,
            source,
            field_nm,
            objective,
            peer,
            network,
            adam,
            fused,
            adversary,
            clips,
            last,
        };
        replica.restore(&trainees).map_err(TrainError::Config)?;
        Ok(replica)
    }

    /// Its device's number among all.
    pub(crate) fn rank(&self) -> usize {
        self.peer.rank()
    }

    /// Takes up weights and optimisers' states.
    pub(crate) fn restore(&mut self, trainees: &[Trainee]) -> Result<(), String> {
        if let Some(own) = trainees.first() {
            self.network = restored(self.network.clone(), &own.values)?;
            self.adam = Adam::restored(AdamTerms::default(), &self.network, &own.adam)?;
            if let Some(fused) = &mut self.fused {
                fused.restore(&self.network, &own.adam)?;
            }
        }
        match (&mut self.adversary, trainees.get(1)) {
            (Some(adversary), Some(judge)) => adversary.restore(judge),
            _ => Ok(()),
        }
    }

    /// Puts the network on the card as one operation.
    pub(crate) fn fuse(&mut self, trainees: &[Trainee]) -> Result<(), NotFused> {
        let mut fused = Fused::new(&self.network, self.peer.device(), AdamTerms::default())?;
        if let Some(own) = trainees.first() {
            fused.restore(&self.network, &own.adam).map_err(NotFused::Trial)?;
        }
        self.fused = Some(fused);
        Ok(())
    }

    /// Trains layer by layer after all.
    pub(crate) fn unfuse(&mut self) {
        self.fused = None;
    }

    /// Takes up its part of the labelled clips, and the discriminator.
    pub(crate) fn recruit(
        &mut self,
        labels: Arc<Labels>,
        done: usize,
        judge: Option<&Trainee>,
    ) -> Result<(), TrainError> {
        let Some(settings) = &self.config.adversarial else { return Ok(()) };
        let shard = Shard::labelled(&self.config, self.peer.rank(), self.peer.ranks());
        let (config, source, count) = (self.config.clone(), self.source.clone(), labels.len());
        let (field, count) = (self.field_nm, count as u64);
        let clip = move |i| labels::clip(&config, &source, field, shard.clip(i) % count);
        let stream = ClipStream::start((done * shard.clips()) as u64, shard.clips(), clip);
        let mut adversary =
            Adversary::new(settings, labels, stream, shard, done, self.peer.device());
        if let Some(judge) = judge {
            adversary.restore(judge).map_err(TrainError::Config)?;
        }
        self.adversary = Some(adversary);
        Ok(())
    }

    /// One step of Adam on its part of a batch, with everybody's gradients.
    pub(crate) fn step(&mut self, order: StepOrder) -> Result<(), TrainError> {
        let mut clips = self.clips.next_batch();
        let examples = match &mut self.adversary {
            Some(adversary) if order.fights => Some(adversary.next_examples()),
            _ => None,
        };
        // In the adversarial phase, half of a batch is labelled.
        if examples.is_some() {
            let half = clips.pixels() / 2;
            clips = clips.first(half);
        }
        let Findings { numbers, gradients, judge } = self.found(clips, examples, order.share)?;
        let scale = 1.0 / self.peer.ranks() as f64;
        match (gradients, &mut self.fused) {
            (Gradients::Fused(gradient), Some(fused)) => {
                let sum = self.peer.all_reduce(gradient)?;
                fused.step(sum, order.rate, scale);
            }
            (Gradients::Layers(gradients), _) => {
                let sum = summed(&self.network, gradients, &mut self.peer)?;
                self.network = self.adam.step(self.network.clone(), sum, order.rate, scale);
            }
            (Gradients::Fused(_), None) => unreachable!("only a fused network has such gradients"),
        }
        if let (Some(adversary), Some(own), Some(settings)) =
            (&mut self.adversary, judge, &self.config.adversarial)
        {
            let sum = summed(&adversary.judge, own, &mut self.peer)?;
            adversary.step(sum, self.config.learning_rate * settings.rate, scale);
        }
        self.last = Some(numbers);
        Ok(())
    }

    /// Loss and gradients of a part of a batch, labelled clips first.
    fn found(
        &self,
        clips: Rasters,
        examples: Option<Examples>,
        share: f64,
    ) -> Result<Findings, TrainError> {
        let labelled = examples.as_ref().map_or(0, |examples| examples.targets.pixels());
        let target = self.objective.images(match &examples {
            Some(examples) => Rasters::joined(&[examples.targets.clone(), clips]),
            None => clips,
        });
        // On a card, the logits are where the simulator's gradient ends and the way back begins.
        let fused = self.fused.as_ref();
        let pass = fused.map(|fused| self.objective.pass(&fused.training, &target));
        let leaf = pass.as_ref().map(|pass| Tensor::from_inner(pass.logits.clone()).require_grad());
        let mask = match &leaf {
            Some(logits) => self.network.mask(self.objective.seen(&target), logits.clone()),
            None => self.objective.mask(&self.network, &target),
        };
        let mut loss = self.objective.loss(&mask, &target, share);
        let (mut judge, mut told_apart) = (None, None);
        if let (Some(adversary), Some(examples)) = (&self.adversary, &examples) {
            let [_, n, _] = target.dims();
            let count = labelled / (n * n);
            let opinion = self.judged(
                &adversary.judge,
                examples,
                target.narrow(0, 0, count),
                mask.narrow(0, 0, count),
            )?;
            loss = loss + opinion.cost;
            (judge, told_apart) = (Some(opinion.gradients), Some(opinion.told_apart));
        }
        let numbers = Numbers { loss: loss.clone().inner(), told_apart };
        let gradients = loss.backward();
        let of_logits = leaf.and_then(|logits| logits.grad(&gradients));
        let gradients = match (fused, pass, of_logits) {
            (Some(fused), Some(pass), Some(of_logits)) => {
                Gradients::Fused(fused.training.gradient(pass, of_logits))
            }
            _ => Gradients::Layers(GradientsParams::from_grads(gradients, &self.network)),
        };
        Ok(Findings { numbers, gradients, judge })
    }

    /// The discriminator's verdict on masks of labelled clips.
    fn judged(
        &self,
        judge: &Discriminator,
        examples: &Examples,
        target: Tensor<3>,
        mask: Tensor<3>,
    ) -> Result<Judgement, TrainError> {
        let Some(settings) = &self.config.adversarial else {
            return Err(TrainError::Config("there is no adversarial phase".into()));
        };
        let seen = self.objective.seen(&target);
        let [_, size, _] = seen.dims();
        let own = resized(mask, size);
        let precision = if self.config.bf16 { DType::BF16 } else { DType::F32 };
        let pixel_nm = self.network.head().pixel_nm;
        judged(settings, judge, examples, &seen, &own, pixel_nm, precision)
    }

    /// L2 and PV band of hard masks, per validation clip, in nm².
    pub(crate) fn validated(&self) -> Result<[f64; 2], TrainError> {
        match &self.fused {
            Some(fused) => self.objective.validate(&fused.training),
            None => self.objective.validate(&self.network.valid()),
        }
    }

    /// The network with its weights of now.
    fn whole(&self) -> N {
        match &self.fused {
            Some(fused) => fused.module(self.network.clone()),
            None => self.network.clone(),
        }
    }

    /// The weights as a file, and the mean size of the network's logits. An error if a weight is no number.
    pub(crate) fn encoded(&self) -> Result<(Vec<u8>, f64), TrainError> {
        let network = self.whole().valid();
        self.sound(&network, &values_of(&network)?)?;
        let bytes = weights::encode(&network).map_err(TrainError::Encode)?;
        Ok((bytes, self.objective.loudness(&network)?))
    }

    /// What the network makes of some validation clips.
    pub(crate) fn samples(&self, count: usize) -> Result<Vec<Sample>, TrainError> {
        self.objective.samples(&self.whole().valid(), count)
    }

    /// Where the network stands, and the discriminator. An error if a number is none.
    pub(crate) fn trainees(&self) -> Result<Vec<Trainee>, TrainError> {
        let adam = match &self.fused {
            Some(fused) => fused.adam_values(&self.network)?,
            None => self.adam.values(&self.network)?,
        };
        let network = self.whole();
        let own = Trainee { values: values_of(&network)?, adam };
        let mut trainees = vec![self.sound_trainee(&network, own)?];
        if let Some(adversary) = &self.adversary {
            trainees.push(self.sound_trainee(&adversary.judge, adversary.trainee()?)?);
        }
        Ok(trainees)
    }

    /// A hash of all weights.
    pub(crate) fn fingerprint(&self) -> Result<String, TrainError> {
        let mut values = match &self.fused {
            Some(fused) => read(fused.training.values().clone(), "read the network's weights")?,
            None => values_of(&self.network)?.concat(),
        };
        if let Some(adversary) = &self.adversary {
            values.extend(values_of(&adversary.judge)?.concat());
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(hash_of(&bytes))
    }
}
