//! A training run: steps, looks, validations, and where it stands.

use std::f64::consts::PI;
use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::store::ModuleSnapshot;
use burn::tensor::{DType, Device, Tensor};
use lithoburn_layout::write_whole;
use lithoburn_litho::KernelSet;
use lithoburn_litho::images::resized;
use lithoburn_models::{Discriminator, MaskNetwork, kernels_sha256, weights};

use crate::adam::Adam;
use crate::adversary::{Adversary, Examples, judged};
use crate::bench::{Bench, IMAGE_PIXEL_NM};
use crate::checkpoint::{self, Best, State, Trainee};
use crate::config::Network;
use crate::labels::{self, Labels, Maker};
use crate::values::{each_value, restored, values_of};
use crate::{ClipSource, ClipStream, End, News, Record, TrainConfig, TrainError, Trained, scalar};

/// Steps between looks at the loss: a look waits for the device.
const LOOK_EVERY: usize = 50;
/// Steps looked at besides, so that a run shows signs of life at once.
const EARLY_LOOKS: [usize; 2] = [1, 10];
/// Steps after which all kernels are compiled.
const FIRST_STEPS: usize = 20;
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
    devices.iter().for_each(|device| device.seed(config.seed));
    let device = first.clone().autodiff();
    let text = |json: serde_json::Result<Vec<u8>>| {
        json.map_err(|e| TrainError::Save(out.to_path_buf(), e.to_string()))
    };
    write_whole(&out.join("training.json"), &text(serde_json::to_vec_pretty(config))?)?;
    match &config.network {
        Network::NeuralIlt(network) => {
            Run::new(config, network.init(&device), kernels, devices, out)?.go(kernels, watch)
        }
        Network::GanOpc(network) => {
            Run::new(config, network.init(&device), kernels, devices, out)?.go(kernels, watch)
        }
    }
}

/// What a network must be to be trained.
trait Pupil: MaskNetwork + Module + ModuleSnapshot + Clone + Sync {}

impl<N: MaskNetwork + Module + ModuleSnapshot + Clone + Sync> Pupil for N {}

/// A device with its part of the batch.
struct Lane<'a> {
    device: Device,
    bench: Bench<'a>,
}

/// What a lane found out in a step.
struct Found {
    loss: Tensor<1>,
    gradients: GradientsParams,
    judge: Option<(GradientsParams, Tensor<1>)>,
}

struct Run<'a, N> {
    config: &'a TrainConfig,
    out: &'a Path,
    source: ClipSource,
    lanes: Vec<Lane<'a>>,
    network: N,
    adam: Adam,
    adversary: Option<Adversary>,
    state: State,
    /// The trained modules of a former run.
    former: Vec<Trainee>,
    start: Instant,
}

impl<'a, N: Pupil> Run<'a, N> {
    fn new(
        config: &'a TrainConfig,
        network: N,
        kernels: &KernelSet,
        devices: &[Device],
        out: &'a Path,
    ) -> Result<Self, TrainError> {
        if !config.batch.is_multiple_of(2 * devices.len()) && devices.len() > 1 {
            let (batch, count) = (config.batch, devices.len());
            let problem = format!("a batch of {batch} clips cannot be shared by {count} devices");
            return Err(TrainError::Config(problem + ": choose an even multiple of them"));
        }
        let source = ClipSource::open(&config.clips, config.layouts.as_deref(), kernels.period_nm)?;
        // Burn makes first weights when they are used: in an order that devices must not change.
        let _ = each_value(&network).count();
        let lane = |device: &Device| {
            let bench = Bench::new(config, &source, &network, kernels, device)?;
            Ok(Lane { device: device.clone(), bench })
        };
        let lanes: Result<Vec<Lane>, TrainError> = devices.iter().map(lane).collect();
        let kernels = kernels_sha256(kernels);
        let fresh = State {
            config: serde_json::to_string(config)
                .map_err(|e| TrainError::Save(out.to_path_buf(), e.to_string()))?,
            kernels,
            step: 0,
            adversarial: 0,
            seconds: 0.0,
            compiling: 0.0,
            best: None,
            since_best: 0,
            records: Vec::new(),
        };
        let (state, former) = match checkpoint::load(out)? {
            None => (fresh, Vec::new()),
            Some((state, _)) if state.config != fresh.config || state.kernels != fresh.kernels => {
                let problem = "it is of a run with other settings or kernels: repeat that run's \
                               options to go on with it, or delete the file to start anew";
                return Err(TrainError::Resume(out.join(checkpoint::FILE), problem.into()));
            }
            Some(former) => former,
        };
        let adam = Adam::default();
        let (lanes, start) = (lanes?, Instant::now());
        let run = Self {
            config,
            out,
            source,
            lanes,
            network,
            adam,
            adversary: None,
            state,
            former,
            start,
        };
        run.resumed()
    }

    /// Takes up the network of a former run.
    fn resumed(mut self) -> Result<Self, TrainError> {
        if let Some(trainee) = self.former.first() {
            let wrong = |e| TrainError::Resume(self.out.join(checkpoint::FILE), e);
            self.network = restored(self.network, &trainee.values).map_err(wrong)?;
            self.adam = Adam::restored(&self.network, &trainee.adam);
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
        if self.config.adversarial.is_some() && !self.recruit(kernels, watch)? {
            return self.ended(End::Stopped);
        }
        let (batch, field) = (self.config.batch, kernels.period_nm);
        let (source, seed) = (self.source.clone(), self.config.seed);
        let clip = move |i| source.clip(false, seed, i, field, IMAGE_PIXEL_NM);
        let stream = ClipStream::start((self.state.step * batch) as u64, batch, clip);
        let before = self.state.seconds;
        self.start = Instant::now();
        while self.state.step < self.config.steps {
            let now = before + self.start.elapsed().as_secs_f64();
            let share = self.share(now);
            let ends = self.state.step + 1 == self.config.steps || share >= 1.0;
            let found = self.step(stream.next_batch(), share)?;
            self.state.step += 1;
            let step = self.state.step;
            let validates = step.is_multiple_of(self.config.validate_every) || ends;
            if step.is_multiple_of(LOOK_EVERY) || EARLY_LOOKS.contains(&step) || validates {
                self.state.seconds = before + self.start.elapsed().as_secs_f64();
                let (record, better) = self.look(found, validates)?;
                let samples = match better {
                    true => self.lanes[0].bench.samples(&self.network.valid(), SAMPLES)?,
                    false => Vec::new(),
                };
                let go_on = watch(News::Look(&record, &samples));
                if let Some(end) = self.end(ends, go_on) {
                    return self.ended(end);
                }
                if validates {
                    self.save()?;
                }
            }
        }
        self.ended(End::Done)
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

    /// Share of the schedule that is done, by steps or by time.
    fn share(&mut self, now: f64) -> f64 {
        let by_steps = self.state.step as f64 / self.config.steps as f64;
        let Some(minutes) = self.config.minutes else { return by_steps };
        if self.state.step <= FIRST_STEPS {
            self.state.compiling = now;
        }
        let compiling = self.state.compiling;
        let by_time = (now - compiling) / (minutes * 60.0 - compiling).max(1.0);
        by_steps.max(by_time).min(1.0)
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
        let (device, count) = (&self.lanes[0].device, settings.labels.max(1));
        let mut tell = |made| watch(News::Labels(made, count));
        let maker =
            Maker::new(self.config, &self.source, settings, size, kernels, device, self.out)?;
        let Some(labels) = Labels::ready(&maker, count, &mut tell)? else {
            return Ok(false);
        };
        let share = (self.config.batch / 2).max(1);
        let (count, done) = (count as u64, self.state.adversarial);
        let source = self.source.clone();
        let clip = move |i: u64| labels::clip(&config, &source, field, i % count);
        let stream = ClipStream::start((done * share) as u64, share, clip);
        let mut adversary = Adversary::new(settings, labels, stream, share, device);
        adversary.done = done;
        let _ = each_value(&adversary.judge).count();
        if let Some(trainee) = self.former.get(1) {
            let wrong = |e| TrainError::Resume(self.out.join(checkpoint::FILE), e);
            adversary.judge = restored(adversary.judge, &trainee.values).map_err(wrong)?;
            adversary.adam = Adam::restored(&adversary.judge, &trainee.adam);
        }
        self.adversary = Some(adversary);
        Ok(true)
    }

    /// One step of Adam on all devices.
    fn step(&mut self, clips: Vec<f32>, share: f64) -> Result<Found, TrainError> {
        let settings = self.config.adversarial.as_ref();
        let fights = settings.is_some_and(|a| share >= a.from);
        let count = self.lanes.len();
        let mut examples: Vec<Option<Examples>> = match &mut self.adversary {
            Some(adversary) if fights => {
                adversary.next_examples(count).into_iter().map(Some).collect()
            }
            _ => (0..count).map(|_| None).collect(),
        };
        // In the adversarial phase, half of a batch is labelled.
        let fresh = if fights { clips.len() / 2 } else { clips.len() };
        let part = fresh / count;
        let judge = self.adversary.as_ref().map(|a| &a.judge);
        let work = |lane: usize, examples: Option<Examples>| {
            let clips = clips[lane * part..(lane + 1) * part].to_vec();
            let (own, lanes) = (&self.lanes[lane], self.lanes.len());
            if lanes == 1 {
                return own.step(self.config, &self.network, judge, clips, examples, share);
            }
            let device = own.device.clone().autodiff();
            let network = self.network.clone().fork(&device);
            let judge = judge.map(|judge| judge.clone().fork(&device));
            own.step(self.config, &network, judge.as_ref(), clips, examples, share)
        };
        let found: Result<Vec<Found>, TrainError> = match count {
            1 => vec![work(0, examples.remove(0))].into_iter().collect(),
            _ => std::thread::scope(|scope| {
                let spawn = |(lane, e)| {
                    scope.spawn({
                        let work = &work;
                        move || work(lane, e)
                    })
                };
                let lanes: Vec<_> = examples.into_iter().enumerate().map(spawn).collect();
                let joined = lanes.into_iter().map(|lane| match lane.join() {
                    Ok(found) => found,
                    Err(panic) => std::panic::resume_unwind(panic),
                });
                joined.collect()
            }),
        };
        let found = self.joined(found?);
        Ok(self.moved(found, share, count))
    }

    /// The lanes' findings on the first device: gradients summed, losses averaged.
    fn joined(&self, found: Vec<Found>) -> Found {
        let (count, device) = (found.len(), &self.lanes[0].device);
        let mut found = found.into_iter();
        let Some(first) = found.next() else { unreachable!("there is a device") };
        if count == 1 {
            return first;
        }
        let mut gradients = GradientsAccumulator::<N>::new();
        gradients.accumulate(&self.network, first.gradients);
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
            gradients.accumulate(&self.network, other.gradients.to_device(device, &self.network));
            add(other.judge);
        }
        let scale = 1.0 / count as f64;
        let judge = told.map(|told| (judges.grads(), told * scale));
        Found { loss: loss * scale, gradients: gradients.grads(), judge }
    }

    /// Moves the weights; what is left of the findings are their numbers.
    fn moved(&mut self, found: Found, share: f64, lanes: usize) -> Found {
        let (rate, scale) = (rate(self.config, self.state.step, share), 1.0 / lanes as f64);
        self.network = self.adam.step(self.network.clone(), found.gradients, rate, scale);
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
        Found { loss: found.loss, gradients: GradientsParams::new(), judge }
    }

    /// Reads the loss, and validates if it is time; tells whether the validation was the best.
    fn look(&mut self, found: Found, validates: bool) -> Result<(Record, bool), TrainError> {
        let loss = scalar(found.loss, "read the training loss")?;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step: self.state.step, loss });
        }
        let told_apart = match found.judge {
            Some((_, told)) => Some(f64::from(scalar(told, "read the discriminator")?)),
            None => None,
        };
        let mut record = Record {
            step: self.state.step,
            steps: self.config.steps,
            seconds: self.state.seconds,
            loss_nm2: f64::from(loss),
            l2_nm2: None,
            pvb_nm2: None,
            told_apart,
        };
        let mut better = false;
        if validates {
            let [l2, pvb] = self.lanes[0].bench.validate(&self.network.valid())?;
            (record.l2_nm2, record.pvb_nm2) = (Some(l2), Some(pvb));
            better = self.state.best.as_ref().is_none_or(|best| l2 + pvb < best.sum());
            self.state.since_best = if better { 0 } else { self.state.since_best + 1 };
            if better {
                let hash = self.save_weights()?;
                self.state.best = Some(Best { step: record.step, l2_nm2: l2, pvb_nm2: pvb, hash });
            }
        }
        self.state.records.push(record);
        Ok((record, better))
    }

    /// Writes `model.safetensors` and its `config.json`; returns the former's hash.
    fn save_weights(&self) -> Result<String, TrainError> {
        let failed = |problem: String| TrainError::Save(self.out.to_path_buf(), problem);
        let network = self.network.valid();
        let bytes = weights::encode(&network).map_err(failed)?;
        let scale = logit_scale(self.lanes[0].bench.loudness(&network)?);
        let mut config = self.config.network.clone();
        match &mut config {
            Network::NeuralIlt(config) => config.logit_scale *= scale,
            Network::GanOpc(config) => config.logit_scale *= scale,
        }
        let text = serde_json::to_vec_pretty(&config).map_err(|e| failed(e.to_string()))?;
        write_whole(&self.out.join("config.json"), &text)?;
        let hash = weights::hash_of(&bytes);
        // Should the run end between the two, the sum is missing, not wrong.
        let sums = self.out.join(weights::SUMS);
        let _ = std::fs::remove_file(&sums);
        write_whole(&self.out.join(weights::FILE), &bytes)?;
        write_whole(&sums, format!("{hash}  {}\n", weights::FILE).as_bytes())?;
        Ok(hash)
    }

    /// Writes where the run stands.
    fn save(&self) -> Result<(), TrainError> {
        let own =
            Trainee { values: values_of(&self.network)?, adam: self.adam.values(&self.network)? };
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
        let none = Best { step: 0, l2_nm2: f64::NAN, pvb_nm2: f64::NAN, hash: String::new() };
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

impl Lane<'_> {
    /// Loss and gradients of a part of the batch, labelled clips first.
    fn step<N: Pupil>(
        &self,
        config: &TrainConfig,
        network: &N,
        judge: Option<&Discriminator>,
        clips: Vec<f32>,
        examples: Option<Examples>,
        share: f64,
    ) -> Result<Found, TrainError> {
        let labelled = examples.as_ref().map_or(&[][..], |e| &e.targets);
        let target = self.bench.images([labelled, &clips].concat());
        let mask = self.bench.mask(network, &target);
        let mut loss = self.bench.loss(&mask, &target, share);
        let mut verdict = None;
        if let (Some(settings), Some(judge), Some(examples)) =
            (&config.adversarial, judge, &examples)
        {
            let [_, n, _] = target.dims();
            let count = labelled.len() / (n * n);
            let seen = self.bench.seen(&target.clone().narrow(0, 0, count));
            let [_, size, _] = seen.dims();
            let own = resized(mask.narrow(0, 0, count), size);
            let precision = if config.bf16 { DType::BF16 } else { DType::F32 };
            let pixel_nm = network.head().pixel_nm;
            let found = judged(settings, judge, examples, &seen, &own, pixel_nm, precision)?;
            loss = loss + found.cost;
            verdict = Some((found.gradients, found.told_apart));
        }
        let value = loss.clone().inner();
        let gradients = GradientsParams::from_grads(loss.backward(), network);
        Ok(Found { loss: value, gradients, judge: verdict })
    }
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
