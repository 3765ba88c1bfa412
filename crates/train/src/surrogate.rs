//! Training of Surrogate-ILT's forward model, from masks and the images that a true model makes of them.

mod pairs;

use std::f64::consts::PI;
use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use lithoburn_layout::generate::ClipRules;
use lithoburn_layout::write_whole;
use lithoburn_litho::bake::{Bake, BakeConfig};
use lithoburn_litho::forward::{ForwardModel, ThinMask};
use lithoburn_litho::ilt::{Ilt, IltConfig, Start};
use lithoburn_litho::{KernelSet, LithoError, ProcessWindow, Resist, Simulator};
use lithoburn_models::config::{Configuration, within};
use lithoburn_models::{LearnedModel, Surrogate, SurrogateConfig, Truth, kernels_sha256, weights};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::adam::{Adam, AdamTerms};
use crate::checkpoint::FILE as CHECKPOINT;
use crate::config::check_clips;
use crate::files::write_network;
use crate::masks::MaskPool;
use crate::target::on_device;
use crate::{TrainError, field_clip, read};
use pairs::{Pairs, points};

/// Steps between looks at the loss.
const LOOK_EVERY: usize = 50;
/// Adam's divisor is far below the gradients, which end at 1e-8 per weight.
const TERMS: AdamTerms = AdamTerms { betas: [0.9, 0.99], epsilon: 1e-12, most_norm: None };
/// What is being done when images are read.
const IMAGES: &str = "read images";
/// Seeds of what is held out are this far from those of training.
const HELD_OUT: u64 = 1 << 41;

/// Everything that determines a training run, apart from the optics and the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SurrogateTraining {
    /// The resist whose bake is learned; none is the threshold resist.
    pub bake: Option<BakeConfig>,
    /// The corners.
    pub window: ProcessWindow,
    /// Kernels of an intensity at one focus.
    pub kernels: usize,
    /// The clips that masks come from.
    pub clips: ClipRules,
    /// Seed of clips, masks and first weights.
    pub seed: u64,
    /// Clips that short descents make masks of.
    pub pool: usize,
    /// Masks that the true model images, once each.
    pub pairs: usize,
    /// Masks of a step.
    pub batch: usize,
    /// Steps of Adam.
    pub steps: usize,
    /// Step size at the start; it falls along a cosine to a hundredth.
    pub learning_rate: f64,
    /// Held-out clips that a full descent makes masks of.
    pub validation_clips: usize,
}

impl Default for SurrogateTraining {
    fn default() -> Self {
        Self {
            bake: None,
            window: ProcessWindow::default(),
            kernels: 8,
            clips: ClipRules::default(),
            seed: 1,
            pool: 128,
            pairs: 1024,
            batch: 8,
            steps: 2000,
            learning_rate: 0.02,
            validation_clips: 8,
        }
    }
}

impl SurrogateTraining {
    /// Whether a surrogate can be trained so.
    ///
    /// # Errors
    ///
    /// In words: the field, its value, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        within("kernels", self.kernels, 1..=1000)?;
        within("pool", self.pool, 1..=1 << 20)?;
        within("batch", self.batch, 1..=1 << 16)?;
        within("pairs", self.pairs, self.batch..=1 << 24)?;
        within("steps", self.steps, 1..=1 << 30)?;
        within("learning_rate", self.learning_rate, 0.0..=10.0)?;
        check_clips(&self.clips)
    }
}

/// News of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SurrogateRecord {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Seconds since the start.
    pub seconds: f64,
    /// Mean square error of the batch's images.
    pub mse: f64,
}

/// What a run leaves.
#[derive(Clone, Debug, Serialize)]
pub struct TrainedSurrogate {
    /// SHA-256 of the weights.
    pub weights_sha256: String,
    /// Number of weights.
    pub parameters: usize,
    /// Size of the file.
    pub bytes: usize,
    /// Images that the true model made, for training.
    pub true_model_calls: usize,
    /// Mean square error on held-out masks like those of training, of the weights as saved.
    pub held_out_mse: f64,
    /// The same on masks that full descents made of held-out clips.
    pub optimized_mse: f64,
    /// The largest of any of those masks.
    pub worst_optimized_mse: f64,
    /// Seconds for the masks, for their true images, and for the steps.
    pub seconds: [f64; 3],
}

/// Trains a surrogate of these optics, with or without a bake, and writes it to `out`. `watch` hears of the
/// loss; false stops the run, and nothing is written.
///
/// # Errors
///
/// [`TrainError`] if the configuration does not fit the optics, the loss diverges, or nothing can be written.
pub fn train_surrogate(
    config: &SurrogateTraining,
    kernels: &KernelSet,
    device: &Device,
    out: &Path,
    watch: &mut dyn FnMut(&SurrogateRecord) -> bool,
) -> Result<TrainedSurrogate, TrainError> {
    config.check().map_err(TrainError::Config)?;
    let most = kernels.period_nm.min(f64::from(u32::MAX)) as u32;
    within("clips.window_nm's largest side", config.clips.window_nm[1], 1..=most)
        .map_err(TrainError::Config)?;
    if out.join(CHECKPOINT).exists() {
        let problem = "it is of a network's training: choose another folder, or delete the file";
        return Err(TrainError::Resume(out.join(CHECKPOINT), problem.into()));
    }
    let start = Instant::now();
    let truth = true_model(config, kernels, device)?;
    let pool = MaskPool::new(&config.clips, config.seed, config.pool, kernels, device)?;
    let masked = start.elapsed().as_secs_f64();
    let pairs = Pairs::new(config, &pool, config.seed, config.pairs, truth.as_ref())?;
    let labelled = start.elapsed().as_secs_f64() - masked;
    let surrogate = fitted(config, kernels, &pairs, device, start, watch)?;
    let stepped = start.elapsed().as_secs_f64() - masked - labelled;
    let surrogate = surrogate.learned_from(identity(config, kernels));
    let (bytes, weights_sha256) = save(config, &surrogate, out)?;
    // What counts is the file, which has fewer bits.
    let parameters = surrogate.num_params();
    let learned = LearnedModel::new(Surrogate::load(out, device)?, config.window, device);
    let held_out = Pairs::new(config, &pool, config.seed ^ HELD_OUT, 64, truth.as_ref())?;
    let held_out_mse = held_out.error(&learned, device)?;
    let errors = optimized_errors(config, kernels, truth.as_ref(), &learned, device)?;
    let trained = TrainedSurrogate {
        weights_sha256,
        parameters,
        bytes,
        true_model_calls: config.pairs,
        held_out_mse,
        optimized_mse: errors.iter().sum::<f64>() / errors.len().max(1) as f64,
        // What is no number is the worst.
        worst_optimized_mse: errors.iter().copied().max_by(f64::total_cmp).unwrap_or(0.0),
        seconds: [masked, labelled, stepped],
    };
    let text = serde_json::to_vec_pretty(&trained);
    let text = text.map_err(|e| TrainError::Save(out.to_path_buf(), e.to_string()))?;
    write_whole(&out.join("trained.json"), &text)?;
    Ok(trained)
}

/// What a surrogate trained with this configuration is good for.
fn identity(config: &SurrogateTraining, kernels: &KernelSet) -> Truth {
    Truth {
        kernels_sha256: kernels_sha256(kernels),
        diffusion_nm: 0.0,
        bake: config.bake,
        window: config.window,
    }
}

/// The model that is learned from.
fn true_model(
    config: &SurrogateTraining,
    kernels: &KernelSet,
    device: &Device,
) -> Result<Box<dyn ForwardModel>, LithoError> {
    match &config.bake {
        None => Ok(Box::new(ThinMask::new(Simulator::new(kernels, device), config.window))),
        Some(bake) => {
            let bake = Bake::new(kernels, bake, config.window, &Resist::default(), device)?;
            Ok(Box::new(bake))
        }
    }
}

/// Adam on the images' mean square error.
fn fitted(
    config: &SurrogateTraining,
    kernels: &KernelSet,
    pairs: &Pairs,
    device: &Device,
    start: Instant,
    watch: &mut dyn FnMut(&SurrogateRecord) -> bool,
) -> Result<Surrogate, TrainError> {
    let shape = match config.bake {
        None => SurrogateConfig::thin(kernels),
        Some(_) => SurrogateConfig::baked(kernels),
    };
    let shape = SurrogateConfig { kernels: config.kernels, ..shape };
    shape.check().map_err(TrainError::Config)?;
    let mut surrogate = shape.init(config.seed, &device.clone().autodiff());
    let grid = pairs.grid(&surrogate, device)?;
    let mut adam = Adam::new(TERMS);
    let mut order = Epochs::new(pairs.len(), config.seed);
    for step in 0..config.steps {
        let batch = order.next_batch(config.batch);
        let (mask, images) = pairs.batch(&batch, device);
        let found = surrogate.forward(mask, &grid, &config.window);
        let loss = images.mean_square_error(&found).mean();
        let ends = step + 1 == config.steps;
        let look = (step + 1) % LOOK_EVERY == 0 || step == 0 || ends;
        let value = look.then(|| loss.clone().inner());
        let gradients = GradientsParams::from_grads(loss.backward(), &surrogate);
        let share = step as f64 / config.steps as f64;
        let rate = config.learning_rate * (0.01 + 0.495 * (1.0 + (PI * share).cos()));
        surrogate = adam.step(surrogate, gradients, rate, 1.0);
        if let Some(value) = value {
            let mse = read(value, "read the training loss")?[0];
            if !mse.is_finite() {
                return Err(TrainError::Diverged { step, loss: mse });
            }
            let seconds = start.elapsed().as_secs_f64();
            let (done, steps) = (step + 1, config.steps);
            let record = SurrogateRecord { step: done, steps, seconds, mse: f64::from(mse) };
            if !watch(&record) {
                return Err(LithoError::Interrupted.into());
            }
        }
    }
    Ok(surrogate.valid())
}

/// The order in which pairs are seen: shuffled, epoch by epoch.
struct Epochs {
    rng: ChaCha8Rng,
    left: Vec<usize>,
    count: usize,
}

impl Epochs {
    fn new(count: usize, seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), left: Vec::new(), count }
    }

    fn next_batch(&mut self, size: usize) -> Vec<usize> {
        if self.left.len() < size {
            self.left = (0..self.count).collect();
            self.left.shuffle(&mut self.rng);
        }
        self.left.split_off(self.left.len() - size)
    }
}

/// Mean square errors on the masks of full descents, clip by clip.
fn optimized_errors(
    config: &SurrogateTraining,
    kernels: &KernelSet,
    truth: &dyn ForwardModel,
    learned: &LearnedModel,
    device: &Device,
) -> Result<Vec<f64>, TrainError> {
    let descent = IltConfig::default();
    let Some(level) = descent.levels.last() else { return Ok(Vec::new()) };
    let n = (kernels.period_nm / level.pixel_nm).round() as usize;
    let optics = ThinMask::new(Simulator::new(kernels, device), ProcessWindow::default());
    let points = points(level.pixel_nm);
    let (truth, learned) = (truth.on(level.pixel_nm, points)?, learned.on(level.pixel_nm, points)?);
    let error = |i: usize| -> Result<f64, TrainError> {
        let seed = config.seed ^ HELD_OUT;
        let clip = field_clip(&config.clips, seed, i as u64, kernels.period_nm, level.pixel_nm);
        let target = on_device(&[clip], n, device);
        let descent = Ilt::new(&descent, &optics);
        let found = descent.run(&target, &Start::Target, &mut |_| true)?;
        let mask = found.masks.to_tensor(device);
        let expected = truth.images(mask.clone());
        Ok(f64::from(read(expected.mean_square_error(&learned.images(mask)), IMAGES)?[0]))
    };
    (0..config.validation_clips).map(error).collect()
}

/// Writes `config.json`, `training.json` and `model.safetensors`; returns the latter's size and hash.
fn save(
    config: &SurrogateTraining,
    surrogate: &Surrogate,
    out: &Path,
) -> Result<(usize, String), TrainError> {
    let failed = |problem: String| TrainError::Save(out.to_path_buf(), problem);
    let bytes = weights::encode(surrogate).map_err(failed)?;
    let text = serde_json::to_vec_pretty(config).map_err(|e| failed(e.to_string()))?;
    write_whole(&out.join("training.json"), &text)?;
    Ok((bytes.len(), write_network(out, surrogate.config(), &bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lithoburn_litho::optics::Optics;

    /// Two true kernels a focus, three learned ones: they can be learned, and so the error must fall.
    #[test]
    fn a_short_run_learns_and_leaves_weights_that_load() -> Result<(), Box<dyn std::error::Error>> {
        let kernels = Optics { count: 2, source_step: 0.1, ..Optics::default() }.kernels()?;
        let config = SurrogateTraining {
            kernels: 3,
            pool: 2,
            pairs: 16,
            batch: 4,
            steps: 60,
            validation_clips: 0,
            ..Default::default()
        };
        let out = std::env::temp_dir().join(format!("lithoburn-surrogate-{}", std::process::id()));
        let mut log = Vec::new();
        let mut watch = |record: &SurrogateRecord| {
            log.push(*record);
            true
        };
        let device = Device::flex();
        let trained = train_surrogate(&config, &kernels, &device, &out, &mut watch)?;
        assert_eq!(weights::Stored::read(&out)?.sha256, trained.weights_sha256);
        assert_eq!(trained.parameters, 2 * 2 * 3 * 35 * 35);
        assert!(trained.held_out_mse < log[0].mse / 20.0, "{trained:?} after {log:?}");
        let loaded = Surrogate::load(&out, &device)?;
        let truth = loaded.config().truth.clone().ok_or("no truth")?;
        assert_eq!(truth.is(&identity(&config, &kernels)), Ok(()));
        Ok(())
    }

    /// Fewer masks than a batch, clips larger than the field, a folder where a network is being trained: before anything is computed.
    #[test]
    fn what_does_not_fit_is_refused_at_once() {
        let kernels = Optics { count: 2, source_step: 0.1, ..Optics::default() };
        let kernels = kernels.kernels().expect("optics");
        let out =
            std::env::temp_dir().join(format!("lithoburn-surrogate-no-{}", std::process::id()));
        std::fs::create_dir_all(&out).expect("temporary folder");
        let refused = |config: &SurrogateTraining| {
            let result = train_surrogate(config, &kernels, &Device::flex(), &out, &mut |_| true);
            result.expect_err("is refused").to_string()
        };
        let pairs = SurrogateTraining { pairs: 2, ..Default::default() };
        assert!(refused(&pairs).starts_with("pairs is 2"));
        let clips = ClipRules { window_nm: [400, 4000], ..ClipRules::default() };
        let clips = SurrogateTraining { clips, ..Default::default() };
        assert!(refused(&clips).contains("4000; expected 1 to 2048"), "{}", refused(&clips));
        std::fs::write(out.join(CHECKPOINT), b"a network's").expect("writes");
        assert!(refused(&SurrogateTraining::default()).contains(CHECKPOINT));
        assert_eq!(std::fs::read_dir(&out).expect("a folder").count(), 1);
    }
}
