//! What determines a training run.

use std::path::PathBuf;

use lithoburn_layout::generate::ClipRules;
use lithoburn_litho::loss::PrintLoss;
use lithoburn_litho::{ProcessWindow, Resist};
use lithoburn_models::config::within;
use lithoburn_models::{Configuration, GanOpcConfig, NeuralIltConfig};
use serde::{Deserialize, Serialize};

/// The network to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Network {
    /// Neural-ILT, with either backbone.
    NeuralIlt(NeuralIltConfig),
    /// GAN-OPC's generator.
    GanOpc(GanOpcConfig),
}

/// The adversarial phase: a discriminator learns to tell the network's masks from optimised ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adversarial {
    /// Share of the schedule after which the phase begins; before it, only the simulator teaches.
    pub from: f64,
    /// Clips with masks by the ILT solver.
    pub labels: usize,
    /// The solver's steps on pixels of 8 and 4 nm.
    pub label_steps: [usize; 2],
    /// Channels of the discriminator after each halving.
    pub discriminator: Vec<usize>,
    /// Step size of the discriminator, against the generator's at its peak.
    pub rate: f64,
    /// Weight of the discriminator's opinion against the print's error of 10,000 nm² a clip.
    pub weight: f64,
    /// Weight of the squared difference from the solver's mask, summed over its area in nm².
    pub label_weight: f64,
}

impl Default for Adversarial {
    fn default() -> Self {
        Self {
            from: 0.5,
            labels: 2048,
            label_steps: [100, 60],
            discriminator: vec![32, 64, 128, 256],
            rate: 0.2,
            weight: 0.05,
            label_weight: 0.02,
        }
    }
}

/// Everything that determines a training run, apart from the optics and the devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainConfig {
    /// The network.
    pub network: Network,
    /// The error to minimise.
    pub loss: CornerLoss,
    /// Weight of the mask's grey pixels, growing over the run.
    pub grey: f64,
    /// The clips.
    pub clips: ClipRules,
    /// A folder of layouts to train on instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layouts: Option<PathBuf>,
    /// Seed of the clips and of the first weights.
    pub seed: u64,
    /// Clips per step, on all devices together.
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
    /// Whether the network computes in bf16 (its weights and the simulator stay in f32). Small networks are
    /// no faster by it: on a card, casting their weights takes as long as it saves.
    pub bf16: bool,
    /// Steps between validations; after each, the run can be resumed.
    pub validate_every: usize,
    /// Clips of the validation.
    pub validation_clips: usize,
    /// Validations without a better one after which the run ends; none goes on to the end.
    pub patience: Option<usize>,
    /// The adversarial phase, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adversarial: Option<Adversarial>,
}

/// The error of prints, and the corners that they are made at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CornerLoss {
    /// Weights of the errors.
    #[serde(flatten)]
    pub print: PrintLoss,
    /// The corners.
    pub window: ProcessWindow,
}

impl Default for CornerLoss {
    fn default() -> Self {
        let print = PrintLoss { band: 2.0, resist: Resist::default(), ..PrintLoss::default() };
        Self { print, window: ProcessWindow::default() }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            network: Network::NeuralIlt(NeuralIltConfig::default()),
            loss: CornerLoss::default(),
            grey: 0.05,
            clips: ClipRules::default(),
            layouts: None,
            seed: 1,
            batch: 16,
            steps: 6000,
            minutes: None,
            learning_rate: 5e-4,
            warm_up: 200,
            bf16: true,
            validate_every: 500,
            validation_clips: 64,
            patience: None,
            adversarial: None,
        }
    }
}

impl TrainConfig {
    /// The settings that the fast Neural-ILT was trained with.
    pub fn neural_ilt_fast() -> Self {
        let network = Network::NeuralIlt(NeuralIltConfig::fast());
        Self { network, learning_rate: 1e-3, bf16: false, ..Self::default() }
    }

    /// The settings that GAN-OPC was trained with.
    pub fn gan_opc() -> Self {
        Self {
            network: Network::GanOpc(GanOpcConfig::default()),
            learning_rate: 1e-3,
            bf16: false,
            adversarial: Some(Adversarial::default()),
            ..Self::default()
        }
    }
}

impl TrainConfig {
    /// Whether a network can be trained so on this many devices.
    ///
    /// # Errors
    ///
    /// In words: the field, its value, and what was expected.
    pub fn check(&self, devices: usize) -> Result<(), String> {
        match &self.network {
            Network::NeuralIlt(network) => network.check(),
            Network::GanOpc(network) => network.check(),
        }
        .map_err(|problem| format!("network.{problem}"))?;
        within("batch", self.batch, 1..=1 << 20)?;
        within("steps", self.steps, 1..=usize::MAX >> 16)?;
        within("minutes", self.minutes.unwrap_or(1.0), 1e-6..=1e6)?;
        within("learning_rate", self.learning_rate, 0.0..=10.0)?;
        within("grey", self.grey, 0.0..=1e6)?;
        within("validate_every", self.validate_every, 1..=usize::MAX)?;
        within("validation_clips", self.validation_clips, 1..=1 << 20)?;
        within("patience", self.patience.unwrap_or(1), 1..=usize::MAX)?;
        check_clips(&self.clips)?;
        if let Some(adversarial) = &self.adversarial {
            adversarial.check()?;
        }
        self.check_shares(devices)
    }

    /// A batch is shared by the devices, and in the adversarial phase half of each share is labelled.
    fn check_shares(&self, devices: usize) -> Result<(), String> {
        let (batch, halves) = (self.batch, if self.adversarial.is_some() { 2 } else { 1 });
        let labelled = if halves == 2 { ", half of them labelled" } else { "" };
        match batch.is_multiple_of(halves * devices) {
            true => Ok(()),
            false => Err(format!(
                "a batch of {batch} clips{labelled} cannot be shared by {devices} devices: choose a multiple of {}",
                halves * devices
            )),
        }
    }
}

impl Adversarial {
    fn check(&self) -> Result<(), String> {
        within("adversarial.from", self.from, 0.0..=1.0)?;
        within("adversarial.labels", self.labels, 1..=1 << 20)?;
        for steps in self.label_steps {
            within("adversarial.label_steps' entry", steps, 0..=1 << 20)?;
        }
        within("adversarial.discriminator's length", self.discriminator.len(), 1..=10)?;
        for &width in &self.discriminator {
            within("adversarial.discriminator's entry", width, 1..=16_384)?;
        }
        within("adversarial.rate", self.rate, 0.0..=1e3)?;
        within("adversarial.weight", self.weight, 0.0..=1e6)?;
        within("adversarial.label_weight", self.label_weight, 0.0..=1e6)
    }
}

/// Whether clips can be drawn by these rules.
pub(crate) fn check_clips(rules: &ClipRules) -> Result<(), String> {
    const NM: std::ops::RangeInclusive<u32> = 1..=100_000;
    within("clips.least_width_nm", rules.least_width_nm, NM)?;
    within("clips.least_space_nm", rules.least_space_nm, NM)?;
    within("clips.grid_nm", rules.grid_nm, NM)?;
    let [least, most] = rules.window_nm;
    within("clips.window_nm's largest side", most, NM)?;
    within("clips.window_nm's smallest side", least, 1..=most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One field out of its range each; the error begins with its name.
    #[test]
    fn what_cannot_be_trained_is_refused_by_field_and_value() {
        type Change = fn(&mut TrainConfig);
        fn adversarial(config: &mut TrainConfig) -> &mut Adversarial {
            config.adversarial.get_or_insert_default()
        }
        let cases: [(&str, Change); 16] = [
            ("network.width", |c| {
                c.network = Network::NeuralIlt(NeuralIltConfig { width: 0, ..Default::default() });
            }),
            ("batch", |c| c.batch = 0),
            ("steps", |c| c.steps = 0),
            ("minutes", |c| c.minutes = Some(0.0)),
            ("minutes", |c| c.minutes = Some(f64::NAN)),
            ("learning_rate", |c| c.learning_rate = -1.0),
            ("grey", |c| c.grey = f64::INFINITY),
            ("validate_every", |c| c.validate_every = 0),
            ("validation_clips", |c| c.validation_clips = 0),
            ("patience", |c| c.patience = Some(0)),
            ("clips.window_nm", |c| c.clips.window_nm = [900, 400]),
            ("clips.grid_nm", |c| c.clips.grid_nm = 0),
            ("adversarial.from", |c| adversarial(c).from = f64::NAN),
            ("adversarial.labels", |c| adversarial(c).labels = 0),
            ("adversarial.discriminator", |c| adversarial(c).discriminator = vec![8; 64]),
            ("adversarial.discriminator", |c| adversarial(c).discriminator = vec![0]),
        ];
        for (field, change) in cases {
            let mut config = TrainConfig::default();
            assert_eq!(config.check(1), Ok(()));
            change(&mut config);
            let problem = config.check(1).expect_err(field);
            assert!(problem.starts_with(field), "{field}: {problem}");
        }
    }

    /// An odd batch has no half that could be labelled.
    #[test]
    fn a_batch_is_shared_in_whole_clips() {
        let mut config = TrainConfig { batch: 15, ..TrainConfig::default() };
        assert_eq!([1, 3, 5].map(|devices| config.check(devices).is_ok()), [true; 3]);
        assert!(config.check(2).expect_err("is odd").contains("multiple of 2"));
        config.adversarial = Some(Adversarial::default());
        assert!(config.check(1).expect_err("is odd").contains("half of them labelled"));
        config.batch = 12;
        assert_eq!([1, 2, 3, 6].map(|devices| config.check(devices).is_ok()), [true; 4]);
        assert!(config.check(4).expect_err("no whole halves").contains("multiple of 8"));
    }

    /// Configurations are told apart by what only one of them has.
    #[test]
    fn what_is_written_is_read_back() {
        for config in
            [TrainConfig::default(), TrainConfig::neural_ilt_fast(), TrainConfig::gan_opc()]
        {
            let value = serde_json::to_value(&config).expect("JSON");
            let again: TrainConfig = serde_json::from_value(value).expect("a configuration");
            assert_eq!(again, config);
        }
    }
}
