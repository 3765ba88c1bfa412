//! A training run: steps, looks, validations, and where it stands.

mod schedule;
mod step;

use std::f64::consts::PI;
use std::path::Path;

use burn::module::Module;
use burn::store::ModuleSnapshot;
use burn::tensor::Device;
use lithoburn_layout::write_whole;
use lithoburn_litho::KernelSet;
use lithoburn_models::hopper::NotFused;
use lithoburn_models::{Parallel, kernels_sha256, weights};

use crate::adam::{Adam, AdamTerms};
use crate::adversary::Adversary;
use crate::checkpoint::{self, BestValidation, RunState, Trainee};
use crate::config::Network;
use crate::files::write_network;
use crate::fused::Fused;
use crate::labels::{self, LabelMaker, Labels};
use crate::objective::{IMAGE_PIXEL_NM, Objective};
use crate::values::{each_value, restored, values_of};
use crate::{ClipSource, ClipStream, End, News, Record, TrainConfig, TrainError, Trained, scalar};
use schedule::Schedule;
use step::{Station, StepResult};

/// Steps between looks at the loss: a look waits for the device.
const LOOK_EVERY: usize = 50;
/// Steps looked at besides, so that a run shows signs of life at once.
const EARLY_LOOKS: [usize; 2] = [1, 10];
/// Clips that are drawn after a validation.
const SAMPLES: usize = 3;

/// Trains, and keeps the weights with the best validation in `out`, with `config.json` and `training.json`. If `out` has
/// the state of a run with the same settings that was stopped or killed, that run goes on. Batches are shared by the
/// devices, and their gradients averaged. `watch` hears the news; false stops the run, which can then be resumed.
///
/// # Errors
///
/// [`TrainError`] if the configuration does not fit the optics or the devices, a former run in `out` had another one,
/// the loss diverges, or nothing can be written.
pub fn train(
    config: &TrainConfig,
    kernels: &KernelSet,
    devices: &[Device],
    out: &Path,
    watch: &mut dyn FnMut(News) -> bool,
) -> Result<Trained, TrainError> {
    let Some(first) = devices.first() else {
        return Err(TrainError::Config("no device to train on".into()));
    };
    config.check(devices.len()).map_err(TrainError::Config)?;
    devices.iter().for_each(|device| device.seed(config.seed));
    let device = first.clone().autodiff();
    match &config.network {
        Network::NeuralIlt(network) => {
            TrainingRun::new(config, network.init(&device), kernels, devices, out)?
                .go(kernels, watch)
        }
        Network::GanOpc(network) => {
            TrainingRun::new(config, network.init(&device), kernels, devices, out)?
                .go(kernels, watch)
        }
    }
}

/// What a network must be to be trained.
trait Trainable: Parallel + Module + ModuleSnapshot + Clone + Sync {}

impl<N: Parallel + Module + ModuleSnapshot + Clone + Sync> Trainable for N {}

struct TrainingRun<'a, N> {
    config: &'a TrainConfig,
    out: &'a Path,
    source: ClipSource,
    stations: Vec<Station<'a>>,
    network: N,
    adam: Adam,
    /// The network as a card trains it; `network` and `adam` are then as of the last look.
    fused: Option<Fused>,
    adversary: Option<Adversary>,
    state: RunState,
    /// The trained modules of a former run.
    former: Vec<Trainee>,
    schedule: Schedule,
}

impl<'a, N: Trainable> TrainingRun<'a, N> {
    fn new(
        config: &'a TrainConfig,
        network: N,
        kernels: &KernelSet,
        devices: &[Device],
        out: &'a Path,
    ) -> Result<Self, TrainError> {
        let batches = config.validation_clips.div_ceil(config.batch);
        let mut schedule = Schedule::start(config.minutes, batches);
        let source = ClipSource::open(&config.clips, config.layouts.as_deref(), kernels.period_nm)?;
        // Burn makes first weights when they are used: in an order that devices must not change.
        let _ = each_value(&network).count();
        let station = |device: &Device| {
            let objective = Objective::new(config, &source, &network, kernels, device)?;
            Ok(Station { device: device.clone(), objective })
        };
        let stations = devices.iter().map(station).collect::<Result<Vec<_>, TrainError>>()?;
        let (state, former) = begun(config, kernels, out)?;
        schedule.go_on_from(state.seconds);
        let adam = Adam::new(AdamTerms::default());
        let adversary = None;
        let run = Self {
            config,
            out,
            source,
            stations,
            network,
            adam,
            fused: None,
            adversary,
            state,
            former,
            schedule,
        };
        run.resumed()
    }

    /// Takes up the network of a former run.
    fn resumed(mut self) -> Result<Self, TrainError> {
        if let Some(trainee) = self.former.first() {
            let wrong = |e| TrainError::Resume(self.out.join(checkpoint::FILE), e);
            self.network = restored(self.network, &trainee.values).map_err(wrong)?;
            let adam = Adam::restored(AdamTerms::default(), &self.network, &trainee.adam);
            self.adam = adam.map_err(wrong)?;
        }
        Ok(self)
    }

    fn go(
        mut self,
        kernels: &KernelSet,
        watch: &mut dyn FnMut(News) -> bool,
    ) -> Result<Trained, TrainError> {
        if self.state.step > 0 && !watch(News::Resumed(&self.state.records)) {
            return self.ended(End::Stopped);
        }
        if !self.fuse(watch)? {
            return self.ended(End::Stopped);
        }
        if self.config.adversarial.is_some() && !self.recruit(kernels, watch)? {
            return self.ended(End::Stopped);
        }
        let (batch, field) = (self.config.batch, kernels.period_nm);
        let (source, seed) = (self.source.clone(), self.config.seed);
        let clip = move |i| source.clip(false, seed, i, field, IMAGE_PIXEL_NM);
        let stream = ClipStream::start((self.state.step * batch) as u64, batch, clip);
        while self.state.step < self.config.steps {
            let (since, steps) = (self.schedule.now(), self.config.steps);
            let share = self.schedule.share(self.state.step, steps, &mut self.state.compiling);
            let ends = self.state.step + 1 == steps || share >= 1.0;
            let found = self.step(stream.next_batch(), share)?;
            self.schedule.stepped(since);
            self.state.step += 1;
            if let Some(end) = self.after_step(found, ends, watch)? {
                return self.ended(end);
            }
        }
        self.ended(End::Done)
    }

    /// Puts the network on a card as one operation, where that can be; false if `watch` said stop.
    fn fuse(&mut self, watch: &mut dyn FnMut(News) -> bool) -> Result<bool, TrainError> {
        let [station] = &self.stations[..] else { return Ok(true) };
        if !self.config.bf16 {
            return Ok(true);
        }
        let mut fused = match Fused::new(&self.network, &station.device, AdamTerms::default()) {
            Ok(fused) => fused,
            Err(NotFused::Card) => return Ok(true),
            Err(why) => return Ok(watch(News::LayerByLayer(&why.to_string()))),
        };
        if let Some(trainee) = self.former.first() {
            let wrong = |e| TrainError::Resume(self.out.join(checkpoint::FILE), e);
            fused.restore(&self.network, &trainee.adam).map_err(wrong)?;
        }
        self.fused = Some(fused);
        Ok(true)
    }

    /// Looks, validates and saves, if it is time; tells whether the run ends.
    fn after_step(
        &mut self,
        found: StepResult,
        ends: bool,
        watch: &mut dyn FnMut(News) -> bool,
    ) -> Result<Option<End>, TrainError> {
        let step = self.state.step;
        let validates = step.is_multiple_of(self.config.validate_every) || ends;
        if !(step.is_multiple_of(LOOK_EVERY) || EARLY_LOOKS.contains(&step) || validates) {
            return Ok(None);
        }
        self.state.seconds = self.schedule.now();
        if let (Some(fused), true) = (&self.fused, validates) {
            self.network = fused.module(self.network.clone());
        }
        let (record, better) = self.look(found, validates)?;
        let samples = match better {
            true => self.stations[0].objective.samples(&self.network.valid(), SAMPLES)?,
            false => Vec::new(),
        };
        let go_on = watch(News::Look(&record, &samples));
        let end = self.end(ends, go_on);
        if end.is_none() && validates {
            self.save()?;
        }
        Ok(end)
    }

    fn end(&self, ends: bool, go_on: bool) -> Option<End> {
        let patient = self.config.patience.is_none_or(|p| self.state.since_best < p);
        match (ends, go_on, patient) {
            (true, ..) => Some(End::Done),
            (_, false, _) => Some(End::Stopped),
            (_, _, false) => Some(End::EarlyStop),
            _ => None,
        }
    }

    /// Makes the examples and the discriminator; false if `watch` said stop.
    fn recruit(
        &mut self,
        kernels: &KernelSet,
        watch: &mut dyn FnMut(News) -> bool,
    ) -> Result<bool, TrainError> {
        let Some(settings) = &self.config.adversarial else { return Ok(true) };
        let (config, field) = (self.config.clone(), kernels.period_nm);
        let size = (field / self.network.head().pixel_nm).round() as usize;
        let (device, wanted) = (&self.stations[0].device, settings.labels);
        let maker =
            LabelMaker::new(self.config, &self.source, settings, size, kernels, device, self.out)?;
        let mut stopped = false;
        let due = || self.schedule.labels_are_due();
        let labels = Labels::ready(&maker, wanted, &due, &mut |made| {
            stopped = !watch(News::Labels(made, wanted));
            !stopped
        })?;
        if stopped {
            return Ok(false);
        }
        self.schedule.labelled();
        let share = self.config.batch / 2;
        let (count, done) = (labels.len() as u64, self.state.adversarial);
        let source = self.source.clone();
        let clip = move |i: u64| labels::clip(&config, &source, field, i % count);
        let stream = ClipStream::start((done * share) as u64, share, clip);
        let mut adversary = Adversary::new(settings, labels, stream, share, device);
        adversary.done = done;
        let _ = each_value(&adversary.judge).count();
        if let Some(trainee) = self.former.get(1) {
            let wrong = |e| TrainError::Resume(self.out.join(checkpoint::FILE), e);
            adversary.judge = restored(adversary.judge, &trainee.values).map_err(wrong)?;
            let adam = Adam::restored(AdamTerms::default(), &adversary.judge, &trainee.adam);
            adversary.adam = adam.map_err(wrong)?;
        }
        self.adversary = Some(adversary);
        Ok(true)
    }

    /// Reads the loss, and validates if it is time; tells whether the validation was the best.
    fn look(&mut self, found: StepResult, validates: bool) -> Result<(Record, bool), TrainError> {
        let told_apart = found.told_apart().map(|told| scalar(told, "read the discriminator"));
        let told_apart = told_apart.transpose()?.map(f64::from);
        let loss = scalar(found.loss, "read the training loss")?;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step: self.state.step, loss });
        }
        let mut record = Record {
            step: self.state.step,
            steps: self.config.steps,
            seconds: self.state.seconds,
            loss_nm2: f64::from(loss),
            l2_nm2: None,
            pvb_nm2: None,
            told_apart,
        };
        let better = validates && self.validate(&mut record)?;
        self.state.records.push(record);
        Ok((record, better))
    }

    /// Validates; tells whether the network is the best so far, whose weights are kept.
    fn validate(&mut self, record: &mut Record) -> Result<bool, TrainError> {
        let since = self.schedule.now();
        let objective = &self.stations[0].objective;
        let [l2_nm2, pvb_nm2] = match &self.fused {
            Some(fused) => objective.validate(&fused.training)?,
            None => objective.validate(&self.network.valid())?,
        };
        (record.l2_nm2, record.pvb_nm2) = (Some(l2_nm2), Some(pvb_nm2));
        let better = self.state.best.as_ref().is_none_or(|best| l2_nm2 + pvb_nm2 < best.sum());
        self.state.since_best = if better { 0 } else { self.state.since_best + 1 };
        if better {
            let (step, hash) = (record.step, self.save_weights()?);
            self.state.best = Some(BestValidation { step, l2_nm2, pvb_nm2, hash });
        }
        self.schedule.validated(since);
        Ok(better)
    }

    /// Writes `model.safetensors` and its `config.json`; returns the former's hash.
    fn save_weights(&self) -> Result<String, TrainError> {
        let failed = |problem: String| TrainError::Save(self.out.to_path_buf(), problem);
        let network = self.network.valid();
        let bytes = weights::encode(&network).map_err(failed)?;
        let scale = logit_scale(self.stations[0].objective.loudness(&network)?);
        let mut config = self.config.network.clone();
        match &mut config {
            Network::NeuralIlt(config) => config.logit_scale *= scale,
            Network::GanOpc(config) => config.logit_scale *= scale,
        }
        write_network(self.out, &config, &bytes)
    }

    /// Writes where the run stands.
    fn save(&self) -> Result<(), TrainError> {
        let own = match &self.fused {
            Some(fused) => Trainee {
                values: values_of(&fused.module(self.network.clone()))?,
                adam: fused.adam_values(&self.network)?,
            },
            None => {
                let adam = self.adam.values(&self.network)?;
                Trainee { values: values_of(&self.network)?, adam }
            }
        };
        let mut trainees = vec![own];
        if let Some(Adversary { judge, adam, .. }) = &self.adversary {
            trainees.push(Trainee { values: values_of(judge)?, adam: adam.values(judge)? });
        }
        checkpoint::save(self.out, &self.state, &trainees)
    }

    /// What the run leaves; its state too, if it may go on.
    fn ended(self, end: End) -> Result<Trained, TrainError> {
        match end {
            End::Stopped if self.state.step > 0 => self.save()?,
            End::Stopped => (),
            End::Done | End::EarlyStop => checkpoint::delete(self.out)?,
        }
        let none =
            BestValidation { step: 0, l2_nm2: f64::NAN, pvb_nm2: f64::NAN, hash: String::new() };
        let best = self.state.best.unwrap_or(none);
        Ok(Trained {
            records: self.state.records,
            best_step: best.step,
            best_l2_nm2: best.l2_nm2,
            best_pvb_nm2: best.pvb_nm2,
            hash: best.hash,
            end,
        })
    }
}

/// Where the run begins: where a former one with the same settings stopped, or at its first step. Only then is `out` changed.
fn begun(
    config: &TrainConfig,
    kernels: &KernelSet,
    out: &Path,
) -> Result<(RunState, Vec<Trainee>), TrainError> {
    let failed = |e: serde_json::Error| TrainError::Save(out.to_path_buf(), e.to_string());
    let text = serde_json::to_string(config).map_err(failed)?;
    let fresh = RunState::new(text, kernels_sha256(kernels));
    let begun = match checkpoint::load(out)? {
        None => (fresh, Vec::new()),
        Some((state, _)) if state.config != fresh.config || state.kernels != fresh.kernels => {
            let problem = "it is of a run with other settings or kernels: repeat that run's \
                           options to go on with it, or delete the file to start anew";
            return Err(TrainError::Resume(out.join(checkpoint::FILE), problem.into()));
        }
        Some(former) => former,
    };
    write_whole(&out.join("training.json"), &serde_json::to_vec_pretty(config).map_err(failed)?)?;
    Ok(begun)
}

/// Mean size of logits that masks are as hard as anybody needs with.
const LOUD: f64 = 32.0;

/// The power of two that brings logits of this mean size to [`LOUD`] or just below; never more than 1.
fn logit_scale(loudness: f64) -> f64 {
    match loudness.is_finite() && loudness > LOUD {
        true => (-(loudness / LOUD).log2().ceil()).exp2(),
        false => 1.0,
    }
}

/// Step size: a linear warm-up, then a cosine.
fn rate(config: &TrainConfig, step: usize, share: f64) -> f64 {
    let warm = ((step + 1) as f64 / config.warm_up.max(1) as f64).min(1.0);
    config.learning_rate * warm * (0.01 + 0.495 * (1.0 + (PI * share).cos()))
}

#[cfg(test)]
mod tests;
