//! What determines a training run.

use std::path::PathBuf;

use lithoburn_layout::generate::ClipRules;
use lithoburn_litho::loss::PrintLoss;
use lithoburn_litho::{ProcessWindow, Resist};
use lithoburn_models::{GanOpcConfig, NeuralIltConfig};
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

#[cfg(test)]
mod tests {
    use super::*;

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
