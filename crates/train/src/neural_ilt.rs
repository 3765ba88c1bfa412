//! Training of Neural-ILT.

use std::f64::consts::PI;
use std::path::Path;
use std::time::Instant;

use burn::grad_clipping::GradientClippingConfig;
use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{DType, Device, Tensor, TensorData};
use lithoburn_layout::generate::ClipRules;
use lithoburn_layout::write_whole;
use lithoburn_litho::ilt::resized;
use lithoburn_litho::loss::PrintLoss;
use lithoburn_litho::{KernelSet, Resist, Sampling, Simulator};
use lithoburn_models::{NeuralIlt, NeuralIltConfig, weights};
use serde::{Deserialize, Serialize};

use crate::{ClipStream, TrainError, field_clip};

/// Side of a pixel of the simulated image and of the target, in nm.
const IMAGE_PIXEL_NM: f64 = 4.0;
/// Steps between looks at the loss: a look waits for the device.
const LOOK_EVERY: usize = 50;
/// Steps looked at besides, so that a run shows signs of life at once.
const EARLY_LOOKS: [usize; 2] = [1, 10];
/// Steps after which all kernels are compiled.
const FIRST_STEPS: usize = 20;
/// Seeds of validation clips are this far from those of training.
const VALIDATION_SEED: u64 = 1 << 40;

/// Everything that determines a training run, apart from the optics and the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainConfig {
    /// The network.
    pub network: NeuralIltConfig,
    /// The error to minimise.
    pub loss: PrintLoss,
    /// Weight of the mask's grey pixels, growing over the run.
    pub grey: f64,
    /// The clips.
    pub clips: ClipRules,
    /// Seed of the clips and of the first weights.
    pub seed: u64,
    /// Clips per step.
    pub batch: usize,
    /// Steps of Adam, unless `minutes` ends the run earlier.
    pub steps: usize,
    /// Minutes that the run may take, the compiling of kernels in its first steps included. The schedule
    /// then follows the clock, and uses as many steps as fit.
    pub minutes: Option<f64>,
    /// Step size after the warm-up; it falls along a cosine to a hundredth.
    pub learning_rate: f64,
    /// Steps over which the step size grows from zero.
    pub warm_up: usize,
    /// Whether the network computes in bf16 (its weights and the simulator stay in f32).
    pub bf16: bool,
    /// Steps between validations.
    pub validate_every: usize,
    /// Clips of the validation.
    pub validation_clips: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            network: NeuralIltConfig::default(),
            loss: PrintLoss { band: 2.0, resist: Resist::default(), ..PrintLoss::default() },
            grey: 0.05,
            clips: ClipRules::default(),
            seed: 1,
            batch: 16,
            steps: 6000,
            minutes: None,
            learning_rate: 5e-4,
            warm_up: 200,
            bf16: true,
            validate_every: 500,
            validation_clips: 64,
        }
    }
}

/// A line of the training log.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Seconds since the start.
    pub seconds: f64,
    /// Soft error per clip, in nm².
    pub loss_nm2: f64,
    /// L2 of hard masks per validation clip, in nm², if this step was validated.
    pub l2_nm2: Option<f64>,
    /// PV band of hard masks per validation clip, in nm².
    pub pvb_nm2: Option<f64>,
}

/// What a run leaves.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The log.
    pub records: Vec<Record>,
    /// The best validation's L2 + PV band per clip, in nm².
    pub best_nm2: f64,
    /// SHA-256 of the weights.
    pub hash: String,
}

/// Trains, and keeps the weights with the best validation in `out`. `watch` hears of every record;
/// false stops the run, and the best weights so far stay.
///
/// # Errors
///
/// [`TrainError`] if the configuration does not fit the optics, the loss diverges, or nothing can be
/// written.
pub fn train_neural_ilt(
    config: &TrainConfig,
    kernels: &KernelSet,
    device: &Device,
    out: &Path,
    watch: &mut dyn FnMut(&Record) -> bool,
) -> Result<Trained, TrainError> {
    device.seed(config.seed);
    let bench = Bench::new(config, kernels, device)?;
    let mut network = config.network.init(&device.clone().autodiff());
    let clipping = Some(GradientClippingConfig::Norm(1.0));
    let mut adam = AdamConfig::new().with_grad_clipping(clipping).init();
    let field = kernels.period_nm;
    let stream =
        ClipStream::start(config.clips.clone(), config.seed, config.batch, field, IMAGE_PIXEL_NM);
    let mut clock = Clock { start: Instant::now(), first: 0.0 };
    let mut trained = Trained { records: Vec::new(), best_nm2: f64::INFINITY, hash: String::new() };
    for step in 0..config.steps {
        let target = bench.images(stream.next_batch());
        let share = clock.share(config, step);
        let loss = bench.loss(&network, &target, share);
        let ends = step + 1 == config.steps || share >= 1.0;
        let look = (step + 1) % LOOK_EVERY == 0 || EARLY_LOOKS.contains(&(step + 1)) || ends;
        let value = if look { Some(loss.clone().inner()) } else { None };
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = adam.step(rate(config, step, share), network, gradients);
        if let Some(value) = value {
            let loss_nm2 = finite(value, step)?;
            let seconds = clock.start.elapsed().as_secs_f64();
            let (done, steps) = (step + 1, config.steps);
            let mut record =
                Record { step: done, steps, seconds, loss_nm2, l2_nm2: None, pvb_nm2: None };
            if done % config.validate_every == 0 || ends {
                let [l2, pvb] = bench.validate(&network.valid())?;
                (record.l2_nm2, record.pvb_nm2) = (Some(l2), Some(pvb));
                if l2 + pvb < trained.best_nm2 {
                    trained.best_nm2 = l2 + pvb;
                    trained.hash = save(config, &network.valid(), out)?;
                }
            }
            trained.records.push(record);
            if !watch(&record) || ends {
                break;
            }
        }
    }
    Ok(trained)
}

/// Where the run stands in time.
struct Clock {
    start: Instant,
    /// Seconds that the first steps took, in which kernels are compiled.
    first: f64,
}

impl Clock {
    /// Share of the schedule that is done, by steps or by time.
    fn share(&mut self, config: &TrainConfig, step: usize) -> f64 {
        let by_steps = step as f64 / config.steps as f64;
        let Some(minutes) = config.minutes else { return by_steps };
        let now = self.start.elapsed().as_secs_f64();
        if step <= FIRST_STEPS {
            self.first = now;
        }
        let by_time = (now - self.first) / (minutes * 60.0 - self.first).max(1.0);
        by_steps.max(by_time).min(1.0)
    }
}

/// Step size: a linear warm-up, then a cosine.
fn rate(config: &TrainConfig, step: usize, share: f64) -> f64 {
    let warm = ((step + 1) as f64 / config.warm_up.max(1) as f64).min(1.0);
    config.learning_rate * warm * (0.01 + 0.495 * (1.0 + (PI * share).cos()))
}

fn finite(value: Tensor<1>, step: usize) -> Result<f64, TrainError> {
    let loss = scalar(value, "read the training loss")?;
    if loss.is_finite() { Ok(f64::from(loss)) } else { Err(TrainError::Diverged { step, loss }) }
}

fn scalar(value: Tensor<1>, doing: &'static str) -> Result<f32, TrainError> {
    let read = value.try_into_scalar::<f32>();
    Ok(read.map_err(|e| lithoburn_litho::LithoError::Device { doing, problem: e.to_string() })?)
}

/// Writes `config.json` and `model.safetensors`; returns the hash of the latter.
fn save(config: &TrainConfig, network: &NeuralIlt, out: &Path) -> Result<String, TrainError> {
    let failed = |problem: String| TrainError::Save(out.to_path_buf(), problem);
    let bytes = weights::encode(network).map_err(failed)?;
    let text = |json: serde_json::Result<Vec<u8>>| json.map_err(|e| failed(e.to_string()));
    write_whole(&out.join("config.json"), &text(serde_json::to_vec_pretty(&config.network))?)?;
    write_whole(&out.join("training.json"), &text(serde_json::to_vec_pretty(config))?)?;
    write_whole(&out.join(weights::FILE), &bytes)?;
    Ok(weights::hash_of(&bytes))
}

/// The simulator and the validation clips, on the device.
struct Bench<'a> {
    config: &'a TrainConfig,
    simulator: Simulator,
    mask: Sampling,
    image: Sampling,
    network_size: usize,
    validation: Vec<Vec<f32>>,
}

impl<'a> Bench<'a> {
    fn new(
        config: &'a TrainConfig,
        kernels: &KernelSet,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let NeuralIltConfig { pixel_nm, upsample, .. } = config.network;
        let simulator = Simulator::new(kernels, device);
        let mask_pixel = pixel_nm / upsample as f64;
        let mask = simulator.sampling(mask_pixel, mask_pixel.round().max(1.0) as usize)?;
        let image = simulator.sampling(IMAGE_PIXEL_NM, 1)?;
        let network_size = mask.size / upsample.max(1);
        let problem = match network_size {
            size if size % 8 != 0 => "the network's image is no multiple of 8 pixels".into(),
            _ if f64::from(config.clips.window_nm[1]) > kernels.period_nm => {
                format!("clips of {} nm exceed the field", config.clips.window_nm[1])
            }
            _ if config.batch == 0 || config.steps == 0 => {
                "batch and steps must be positive".into()
            }
            _ => String::new(),
        };
        if !problem.is_empty() {
            return Err(TrainError::Config(problem));
        }
        let field = kernels.period_nm;
        let clip =
            |i: usize| field_clip(&config.clips, VALIDATION_SEED, i as u64, field, IMAGE_PIXEL_NM);
        let clips: Vec<Vec<f32>> = (0..config.validation_clips).map(clip).collect();
        let validation = clips.chunks(config.batch).map(<[_]>::concat).collect();
        Ok(Self { config, simulator, mask, image, network_size, validation })
    }

    fn images(&self, data: Vec<f32>) -> Tensor<3> {
        let n = self.image.size;
        let batch = data.len() / (n * n);
        Tensor::from_data(TensorData::new(data, [batch, n, n]), self.simulator.device())
    }

    fn mask(&self, network: &NeuralIlt, target: &Tensor<3>) -> Tensor<3> {
        let precision = if self.config.bf16 { DType::BF16 } else { DType::F32 };
        network.forward(resized(target.clone(), self.network_size), precision)
    }

    /// Soft error per clip, in nm².
    fn loss(&self, network: &NeuralIlt, target: &Tensor<3>, share: f64) -> Tensor<1> {
        let [batch, _, _] = target.dims();
        let mask = self.mask(network, target);
        let aerial = self.simulator.aerial(mask.clone(), &self.mask, &self.image);
        let error = self.config.loss.value(&aerial, target) * IMAGE_PIXEL_NM.powi(2);
        let grey = (mask.clone() * (mask * -1.0 + 1.0)).sum() * self.mask.pixel_nm.powi(2);
        (error + grey * (self.config.grey * share)) / batch as f64
    }

    /// L2 and PV band of hard masks, per validation clip, in nm².
    fn validate(&self, network: &NeuralIlt) -> Result<[f64; 2], TrainError> {
        let loss = &self.config.loss;
        let mut sums = [0.0; 2];
        for clips in &self.validation {
            let target = self.images(clips.clone());
            let mask = self.mask(network, &target).greater_equal_elem(0.5).float();
            let aerial = self.simulator.aerial(mask, &self.mask, &self.image);
            let print = |c: lithoburn_litho::Corner| {
                aerial.at(c.focus).greater_equal_elem(loss.resist.threshold / c.dose).float()
            };
            let target = target.greater_equal_elem(0.5).float();
            let l2 = (print(loss.window.nominal) - target).abs().sum();
            let band = (print(loss.window.outer) - print(loss.window.inner)).abs().sum();
            for (sum, value) in sums.iter_mut().zip([l2, band]) {
                *sum += f64::from(scalar(value, "validated")?);
            }
        }
        Ok(sums.map(|s| s * IMAGE_PIXEL_NM.powi(2) / self.config.validation_clips as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lithoburn_litho::tcc::Optics;

    fn tiny() -> TrainConfig {
        let network =
            NeuralIltConfig { width: 2, pixel_nm: 32.0, upsample: 8, ..Default::default() };
        TrainConfig {
            network,
            batch: 2,
            steps: 4,
            warm_up: 1,
            bf16: false,
            validate_every: 2,
            validation_clips: 2,
            ..Default::default()
        }
    }

    #[test]
    fn a_short_run_leaves_weights_that_load() -> Result<(), Box<dyn std::error::Error>> {
        let kernels = Optics { count: 4, source_step: 0.1, ..Optics::default() }.kernels()?;
        let out = std::env::temp_dir().join(format!("lithoburn-train-{}", std::process::id()));
        let trained = train_neural_ilt(&tiny(), &kernels, &Device::flex(), &out, &mut |_| true)?;
        assert!(trained.best_nm2.is_finite() && !trained.records.is_empty());
        assert_eq!(weights::hash(&out)?, trained.hash);
        NeuralIlt::load(&out, &Device::flex())?;
        Ok(())
    }

    #[test]
    fn a_network_that_does_not_fit_the_field_is_refused() {
        let kernels =
            Optics { count: 2, source_step: 0.1, ..Optics::default() }.kernels().expect("optics");
        let mut config = tiny();
        config.network.pixel_nm = 2048.0 / 44.0;
        let out = std::env::temp_dir();
        let result = train_neural_ilt(&config, &kernels, &Device::flex(), &out, &mut |_| true);
        assert!(result.is_err());
    }
}
