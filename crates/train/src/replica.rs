//! A network in training on one device: its weights, its optimiser, its adversary, and what teaches it.
//!
//! Several devices each have a whole one. A step gives each a part of the batch; gradients are summed over all, and every optimiser then does
//! the same to the same weights: nothing but gradients travels.

mod found;
mod look;

use std::sync::Arc;

use burn::module::Module;
use burn::store::ModuleSnapshot;
use burn::tensor::Tensor;
use lithoburn_litho::KernelSet;
use lithoburn_models::Parallel;
use lithoburn_models::hopper::NotFused;
use lithoburn_models::weights::{self, hash_of};
use lithoburn_ranks::collective::Peer;

use crate::adam::{Adam, AdamTerms};
use crate::adversary::{Adversary, Examples};
use crate::checkpoint::Trainee;
use crate::clips::Shard;
use crate::config::TrainConfig;
use crate::fused::Fused;
use crate::labels::{self, Labels};
use crate::objective::{Batch, IMAGE_PIXEL_NM, Objective};
use crate::sums::summed;
use crate::values::{Values, apart, restored, values_of};
use crate::{ClipSource, ClipStream, Sample, TrainError, read};
use found::{Findings, Gradients};

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
    /// The next step's clips, where they are on the device already.
    next: Option<Batch>,
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
    /// Whether a look at what it found out follows.
    pub(crate) looked_at: bool,
    /// Whether it is the run's last one.
    pub(crate) ends: bool,
}

/// What a step found out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers<T> {
    /// Soft error per clip, in nm².
    pub(crate) loss: T,
    /// The discriminator's share of right answers, in the adversarial phase.
    pub(crate) told_apart: Option<T>,
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
        let (fused, adversary, next, last) = (None, None, None, None);
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
            next,
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
        let mut fused = Fused::new(&self.network, &self.peer, AdamTerms::default())?;
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
        let examples = match &mut self.adversary {
            Some(adversary) if order.fights => Some(adversary.next_examples()),
            _ => None,
        };
        let batch = self.batch(examples.as_ref());
        let found = self.found(&batch, examples.as_ref(), order)?;
        let Findings { numbers, gradients, judge } = found;
        let scale = 1.0 / self.peer.ranks() as f64;
        match (gradients, &mut self.fused) {
            (Gradients::Fused(gradient), Some(fused)) => {
                let sum = self.peer.begin_sum(gradient)?;
                // A card has time for the next clips while all of them are at the sum.
                self.next = Some(self.objective.batch(&self.clips.next_batch()));
                fused.step(sum.taken(), order.rate, scale);
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
        self.last = numbers;
        Ok(())
    }

    /// The clips of a step, labelled ones first: in the adversarial phase they are half of a batch.
    fn batch(&mut self, examples: Option<&Examples>) -> Batch {
        let next = self.next.take();
        let own = next.unwrap_or_else(|| self.objective.batch(&self.clips.next_batch()));
        let Some(Examples { targets, .. }) = examples else { return own };
        let labelled = self.objective.images(targets);
        let half = own.target.dims()[0] / 2;
        let own = own.target.narrow(0, 0, half);
        self.objective.batch_of(Tensor::cat(vec![labelled, own], 0))
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

    /// All weights, the network's before the discriminator's.
    pub(crate) fn weights(&self) -> Result<[Values; 2], TrainError> {
        let judge = self.adversary.as_ref().map(|adversary| values_of(&adversary.judge));
        Ok([values_of(&self.whole())?, judge.transpose()?.unwrap_or_default()])
    }

    /// What is different about weights of two replicas, in words.
    pub(crate) fn apart(&self, [first, other]: [&[Values; 2]; 2]) -> String {
        match &self.adversary {
            Some(adversary) if first[0] == other[0] => {
                format!("the discriminator's: {}", apart(&adversary.judge, [&first[1], &other[1]]))
            }
            _ => apart(&self.network, [&first[0], &other[0]]),
        }
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
