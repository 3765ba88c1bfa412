//! A training run: steps, looks, validations, and where it stands.

mod schedule;

use std::f64::consts::PI;
use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use lithoburn_layout::write_whole;
use lithoburn_litho::KernelSet;
use lithoburn_models::{Discriminator, kernels_sha256};
use lithoburn_ranks::collective::Sums;

use crate::adam::{Adam, AdamTerms, AdamValues};
use crate::checkpoint::{self, BestValidation, RunState, Trainee};
use crate::config::Network;
use crate::files::write_network;
use crate::first::seeded;
use crate::labels::{LabelMaker, Labels};
use crate::objective::Objective;
use crate::replica::{Lesson, Numbers, StepOrder, Trainable};
use crate::replicas::Replicas;
use crate::values::{restored, values_of, values_sizes};
use crate::{ClipSource, End, Lost, News, Record, Sample, TrainConfig, TrainError, Trained};
use schedule::Schedule;

/// Steps between looks at the loss: a look waits for the device.
const LOOK_EVERY: usize = 50;
/// Steps that devices are told at once: their threads go on without waiting for the next word. A few, since a device that gives no sign of
/// life for too long is taken for one that hangs.
const ORDERS: usize = 8;
/// Steps looked at besides, so that a run shows signs of life at once.
const EARLY_LOOKS: [usize; 2] = [1, 10];
/// Clips that are drawn after a validation.
const SAMPLES: usize = 3;
/// Why gradients travel through the host.
const NO_NCCL: &str = "the devices are not all different CUDA cards, or no libnccl.so was found";

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
    let tracked = first.clone().autodiff();
    let judge = config.adversarial.as_ref();
    let judge = move || judge.map(|a| Discriminator::new(&a.discriminator, &tracked));
    let site = Site { kernels, devices, out };
    match &config.network {
        Network::NeuralIlt(network) => {
            let network = network.clone();
            Fit::new(config, move |device| network.init(device), &judge, site)?.go(kernels, watch)
        }
        Network::GanOpc(network) => {
            let network = network.clone();
            Fit::new(config, move |device| network.init(device), &judge, site)?.go(kernels, watch)
        }
    }
}

/// What a run is on, and where it leaves its files.
#[derive(Clone, Copy)]
struct Site<'a> {
    kernels: &'a KernelSet,
    devices: &'a [Device],
    out: &'a Path,
}

struct Fit<'a, N> {
    config: Arc<TrainConfig>,
    site: Site<'a>,
    source: ClipSource,
    replicas: Replicas<N>,
    /// Pixels of the network's image on a side.
    size: usize,
    state: RunState,
    /// Where network and discriminator stood when the run began.
    trainees: Arc<Vec<Trainee>>,
    schedule: Schedule,
}

impl<'a, N: Trainable> Fit<'a, N> {
    fn new(
        config: &TrainConfig,
        network: impl Fn(&Device) -> N + Clone + Send + 'static,
        judge: &dyn Fn() -> Option<Discriminator>,
        site: Site<'a>,
    ) -> Result<Self, TrainError> {
        let Site { kernels, devices, out } = site;
        let batches = config.validation_clips.div_ceil(config.batch);
        let mut schedule = Schedule::start(config.minutes, batches);
        let source = ClipSource::open(&config.clips, config.layouts.as_deref(), kernels.period_nm)?;
        let config = Arc::new(config.clone());
        // First weights are made on one device and in one order, whatever the devices are.
        let first = || -> Result<_, TrainError> {
            let own = network(&devices[0].clone().autodiff());
            let size = Objective::new(&config, &own, kernels, &Device::flex())?.network_size();
            let mut trainees = vec![fresh(&own)?];
            let judge = judge();
            trainees.extend(judge.as_ref().map(fresh).transpose()?);
            Ok((own, size, judge, trainees))
        };
        let (own, size, judge, mut trainees) = seeded(devices, config.seed, first)?;
        let (state, former) = begun(&config, kernels, out)?;
        let wrong = |e| TrainError::Resume(out.join(checkpoint::FILE), e);
        for (trainee, former) in trainees.iter_mut().zip(former) {
            *trainee = former;
        }
        fits(own, trainees.first()).map_err(wrong)?;
        judge.map_or(Ok(()), |judge| fits(judge, trainees.get(1))).map_err(wrong)?;
        schedule.go_on_from(state.seconds);
        let lesson = Lesson {
            config: Arc::clone(&config),
            source: source.clone(),
            kernels: Arc::new(kernels.clone()),
            trainees: Arc::new(trainees),
            step: state.step,
        };
        let replicas = Replicas::new(&lesson, network, devices, Sums::Fastest)?;
        let trainees = lesson.trainees;
        Ok(Self { config, site, source, replicas, size, state, trainees, schedule })
    }

    fn go(
        mut self,
        kernels: &KernelSet,
        watch: &mut dyn FnMut(News) -> bool,
    ) -> Result<Trained, TrainError> {
        if self.state.step > 0 && !watch(News::Resumed(&self.state.records)) {
            return self.ended(End::Stopped);
        }
        if !self.tells_how(watch)? {
            return self.ended(End::Stopped);
        }
        if self.config.adversarial.is_some() && !self.recruit(kernels, watch)? {
            return self.ended(End::Stopped);
        }
        while self.state.step < self.config.steps {
            let since = self.schedule.now();
            let orders = self.orders();
            let (count, ends) = (orders.len(), orders[orders.len() - 1].ends);
            self.steps(orders)?;
            self.schedule.stepped(since, count);
            if let Some(end) = self.after_step(ends, watch)? {
                return self.ended(end);
            }
        }
        self.ended(End::Done)
    }

    /// The next steps until one that is looked at. It is one step where the schedule follows the clock, and where steps take so long that
    /// some of them without a sign of life would look like a device that hangs.
    fn orders(&mut self) -> Vec<StepOrder> {
        let alone = self.config.minutes.is_some() || self.schedule.is_slow();
        let most = if alone { 1 } else { ORDERS };
        let mut orders = vec![self.order(self.state.step)];
        while orders.len() < most && !orders[orders.len() - 1].looked_at {
            orders.push(self.order(self.state.step + orders.len()));
        }
        orders
    }

    fn order(&mut self, step: usize) -> StepOrder {
        let steps = self.config.steps;
        let share = self.schedule.share(step, steps, &mut self.state.compiling);
        let ends = step + 1 == steps || share >= 1.0;
        StepOrder {
            share,
            rate: rate(&self.config, step, share),
            fights: self.config.adversarial.as_ref().is_some_and(|a| share >= a.from),
            looked_at: self.is_looked_at(step + 1, ends),
            ends,
        }
    }

    /// Puts the network on its cards as one operation, where that can be, and tells what is slower than it could be; false if `watch`
    /// said stop.
    fn tells_how(&self, watch: &mut dyn FnMut(News) -> bool) -> Result<bool, TrainError> {
        let layers = match self.config.bf16 {
            true => self.replicas.fuse(&self.trainees)?,
            false => None,
        };
        let mut goes_on = layers.is_none_or(|why| watch(News::LayerByLayer(&why)));
        if self.replicas.count() > 1 && !self.replicas.is_native() {
            goes_on &= watch(News::ThroughHost(NO_NCCL));
        }
        Ok(goes_on)
    }

    /// Whether a step is looked at: one now and then, and those that are validated or the last one.
    fn is_looked_at(&self, step: usize, ends: bool) -> bool {
        step.is_multiple_of(LOOK_EVERY)
            || EARLY_LOOKS.contains(&step)
            || self.is_validated(step, ends)
    }

    fn is_validated(&self, step: usize, ends: bool) -> bool {
        step.is_multiple_of(self.config.validate_every) || ends
    }

    /// Steps of Adam on all devices.
    fn steps(&mut self, orders: Vec<StepOrder>) -> Result<(), TrainError> {
        self.state.step += orders.len();
        self.state.adversarial += orders.iter().filter(|order| order.fights).count();
        self.replicas
            .all(move |replica| orders.iter().try_for_each(|&order| replica.step(order)))?;
        Ok(())
    }

    /// Looks, validates and saves, if it is time; tells whether the run ends.
    fn after_step(
        &mut self,
        ends: bool,
        watch: &mut dyn FnMut(News) -> bool,
    ) -> Result<Option<End>, TrainError> {
        let step = self.state.step;
        if !self.is_looked_at(step, ends) {
            return Ok(None);
        }
        let validates = self.is_validated(step, ends);
        self.state.seconds = self.schedule.now();
        let (record, samples) = self.look(validates)?;
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
        let (Site { devices, out, .. }, wanted) = (self.site, settings.labels);
        let (config, source, device) = (&self.config, &self.source, &devices[0]);
        let maker = LabelMaker::new(config, source, settings, self.size, kernels, device, out)?;
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
        let (labels, done) = (Arc::new(labels), self.state.adversarial);
        let trainees = Arc::clone(&self.trainees);
        self.replicas
            .all(move |replica| replica.recruit(Arc::clone(&labels), done, trainees.get(1)))?;
        Ok(true)
    }

    /// Reads the loss, and validates if it is time; some clips with their masks if that was the best validation.
    fn look(&mut self, validates: bool) -> Result<(Record, Vec<Sample>), TrainError> {
        let found = self.replicas.all(|replica| replica.look())?;
        let Numbers { loss, told_apart } = found[0].numbers;
        if let Some(lost) = Lost::of_all(found.iter().filter_map(|look| look.lost.as_ref())) {
            return Err(TrainError::Lost(lost));
        }
        let mut record = Record {
            step: self.state.step,
            steps: self.config.steps,
            seconds: self.state.seconds,
            loss_nm2: f64::from(loss),
            l2_nm2: None,
            pvb_nm2: None,
            told_apart: told_apart.map(f64::from),
        };
        let samples = match validates && self.validate(&mut record)? {
            true => self.replicas.first(|replica| replica.samples(SAMPLES))?,
            false => Vec::new(),
        };
        self.state.records.push(record);
        Ok((record, samples))
    }

    /// Validates; tells whether the network is the best so far, whose weights are kept.
    fn validate(&mut self, record: &mut Record) -> Result<bool, TrainError> {
        let since = self.schedule.now();
        self.replicas.agree()?;
        let [l2_nm2, pvb_nm2] = self.replicas.first(|replica| replica.validated())?;
        let sum = l2_nm2 + pvb_nm2;
        if !sum.is_finite() {
            let (what, devices) = ("the validation's error".into(), vec![1]);
            let (step, of) = (record.step, self.replicas.count());
            return Err(TrainError::Lost(Lost { what, step, devices, of }));
        }
        (record.l2_nm2, record.pvb_nm2) = (Some(l2_nm2), Some(pvb_nm2));
        let better = self.state.best.as_ref().is_none_or(|best| sum < best.sum());
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
        let (bytes, loudness) = self.replicas.first(|replica| replica.encoded())?;
        let scale = logit_scale(loudness);
        let mut config = self.config.network.clone();
        match &mut config {
            Network::NeuralIlt(config) => config.logit_scale *= scale,
            Network::GanOpc(config) => config.logit_scale *= scale,
        }
        write_network(self.site.out, &config, &bytes)
    }

    /// Writes where the run stands.
    fn save(&self) -> Result<(), TrainError> {
        let trainees = self.replicas.first(|replica| replica.trainees())?;
        checkpoint::save(self.site.out, &self.state, &trainees)
    }

    /// What the run leaves; its state too, if it may go on.
    fn ended(self, end: End) -> Result<Trained, TrainError> {
        match end {
            End::Stopped if self.state.step > 0 => self.save()?,
            End::Stopped => (),
            End::Done | End::EarlyStop => checkpoint::delete(self.site.out)?,
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

/// A module before its first step.
fn fresh<M: Module>(module: &M) -> Result<Trainee, TrainError> {
    let none = || vec![Vec::new(); values_sizes(module).len()];
    Ok(Trainee {
        values: values_of(module)?,
        adam: AdamValues { steps: 0, moments: [none(), none()] },
    })
}

/// Whether a former run's module is one of these.
fn fits<M: Module>(module: M, trainee: Option<&Trainee>) -> Result<(), String> {
    let Some(trainee) = trainee else { return Ok(()) };
    let module = restored(module, &trainee.values)?;
    Adam::restored(AdamTerms::default(), &module, &trainee.adam).map(drop)
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
