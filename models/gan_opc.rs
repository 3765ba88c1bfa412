//! GAN-OPC: a generator proposes the mask, a discriminator learns to tell it from an optimised one.
//!
//! Paper: Yang, Li, Deng, Ma, Yu, Young: "GAN-OPC: mask optimization with lithography-guided generative
//! adversarial nets", DAC 2018 and TCAD 2020: the discriminator judges *pairs* of target and mask, the generator
//! is first trained through the lithography simulator, and the enhanced form has skip connections and
//! sub-pixel up-sampling. What is ours:
//!
//! * The published generators have 36 million parameters; the form that we ship is the enhanced one with
//!   smaller widths. The published one is a configuration ([`GanOpcConfig::published`]).
//! * There is no batch normalisation: in the published weights it is folded into the convolutions on import.
//! * The discriminator gives a logit for every patch instead of one number for the image, and has no
//!   ReLU after its last layer, which in LithoBench keeps its probability above one half.

use std::path::Path;

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::activation::leaky_relu;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::config::{Configuration, check_head};
use crate::encoder_decoder::{EncoderDecoder, EncoderDecoderConfig};
use crate::head::{Head, MaskNetwork, unscaled};
use crate::kernel::{Kernel, random_kernels};
use crate::parallel::Parallel;
use crate::program::Program;
use crate::resample::folded;
use crate::unet::{conv3, convolve};
use crate::weights::{Stored, WeightsError};

/// The architecture's name in `config.json`.
pub const ARCHITECTURE: &str = "gan-opc";

/// Shape of the generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GanOpcConfig {
    /// Name of the architecture, so that a file of another one is refused.
    pub architecture: String,
    /// The encoder-decoder.
    pub generator: EncoderDecoderConfig,
    /// Side of a pixel that the network sees, in nm.
    pub pixel_nm: f64,
    /// Mask pixels per network pixel and side.
    pub upsample: usize,
    /// Logit of a pixel inside the target before the network's change; outside it is the negative.
    pub target_logit: f64,
    /// Factor on all logits (see [`Head`]); training finds it.
    #[serde(default = "unscaled")]
    pub logit_scale: f64,
}

impl Default for GanOpcConfig {
    fn default() -> Self {
        Self {
            architecture: ARCHITECTURE.into(),
            generator: EncoderDecoderConfig::new(vec![32, 64, 128, 192, 256], true, 0),
            pixel_nm: 8.0,
            upsample: 4,
            target_logit: 2.0,
            logit_scale: 1.0,
        }
    }
}

/// The generator.
#[derive(Module, Debug)]
pub struct GanOpc {
    generator: EncoderDecoder,
    #[module(skip)]
    config: GanOpcConfig,
}

impl Configuration for GanOpcConfig {
    const ARCHITECTURE: &'static str = ARCHITECTURE;

    fn check(&self) -> Result<(), String> {
        check_head(self.pixel_nm, self.upsample, self.target_logit, self.logit_scale)?;
        self.generator.check().map_err(|problem| format!("generator.{problem}"))
    }
}

impl GanOpcConfig {
    /// LithoBench's generator: no skips, 8 nm pixels, the output is the mask's logits.
    pub fn published() -> Self {
        let widths = vec![16, 64, 128, 512, 1024];
        let generator = EncoderDecoderConfig::new(widths, false, 0);
        Self { generator, upsample: 1, target_logit: 0.0, ..Self::default() }
    }

    /// A generator with random weights.
    pub fn init(&self, device: &Device) -> GanOpc {
        GanOpc { generator: self.generator.init(device), config: self.clone() }
    }
}

impl GanOpc {
    /// The network of a folder: `config.json` and the weights.
    ///
    /// # Errors
    ///
    /// [`WeightsError`], naming the file, and the field or tensor.
    pub fn load(directory: &Path, device: &Device) -> Result<Self, WeightsError> {
        let stored = Stored::read(directory)?;
        Self::of(&stored, device)
    }

    /// The network of these files.
    ///
    /// # Errors
    ///
    /// As [`GanOpc::load`].
    pub fn of(stored: &Stored, device: &Device) -> Result<Self, WeightsError> {
        stored.network(|config: &GanOpcConfig| config.init(device))
    }

    /// Its configuration.
    pub fn config(&self) -> &GanOpcConfig {
        &self.config
    }

    /// The encoder-decoder.
    pub fn generator(&self) -> &EncoderDecoder {
        &self.generator
    }
}

impl MaskNetwork for GanOpc {
    fn head(&self) -> Head {
        let GanOpcConfig { pixel_nm, upsample, target_logit, logit_scale, .. } = self.config;
        Head { pixel_nm, upsample, target_logit, logit_scale }
    }

    fn stride(&self) -> usize {
        self.config.generator.stride()
    }

    fn logits(&self, x: Tensor<4>) -> Tensor<4> {
        self.generator.forward(x)
    }
}

impl GanOpcConfig {
    /// The program of a generator with random weights (see
    /// [`NeuralIltConfig::random_program`](crate::NeuralIltConfig::random_program)).
    pub fn random_program(&self, seed: u64) -> Program {
        self.init(&Device::flex()).program_with(&mut random_kernels(seed))
    }
}

impl GanOpc {
    fn program_with(&self, kernel: &mut dyn FnMut(&Conv2d) -> Kernel) -> Program {
        let layers = self.generator.layers("generator", kernel);
        let architecture = self.config.architecture.clone();
        Program { architecture, head: self.head(), stride: self.stride(), layers }
    }
}

impl Parallel for GanOpc {
    fn program(&self) -> Program {
        self.program_with(&mut |conv| Kernel::of(conv))
    }
}

/// Slope of the discriminator's units below zero.
const LEAK: f64 = 0.2;

/// The discriminator: pairs of target and mask to a logit per patch, positive for an optimised mask.
#[derive(Module, Debug)]
pub struct Discriminator {
    stages: Vec<Conv2d>,
    last: Conv2d,
}

impl Discriminator {
    /// A discriminator with random weights and these channels after each halving.
    pub fn new(widths: &[usize], device: &Device) -> Self {
        let mut from = 2;
        let stage = |&to: &usize| conv3(4 * std::mem::replace(&mut from, to), to, device);
        let stages = widths.iter().map(stage).collect();
        Self { stages, last: conv3(from, 1, device) }
    }

    /// Logits `[batch, patches]` of targets and masks `[batch, n, n]`, both at the network's pixel size, in
    /// the target's precision.
    pub fn forward(&self, target: Tensor<3>, mask: Tensor<3>) -> Tensor<2> {
        let dtype = target.dtype();
        let pair = Tensor::stack::<4>(vec![target, mask.cast(dtype)], 3);
        let unit = |x: Tensor<4>, conv: &Conv2d| leaky_relu(convolve(conv, folded(x)), LEAK);
        let x = convolve(&self.last, self.stages.iter().fold(pair, unit));
        let [batch, height, width, _] = x.dims();
        x.reshape([batch, height * width])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::DType;

    #[test]
    fn the_mask_is_finer_than_the_target_by_the_factor() {
        let generator = EncoderDecoderConfig::new(vec![2, 2], true, 0);
        let config = GanOpcConfig { generator, ..Default::default() };
        let network = config.init(&Device::flex());
        let mask = network.forward(Tensor::zeros([1, 16, 16], &Device::flex()), DType::F32);
        assert_eq!((mask.dims(), network.stride()), ([1, 64, 64], 4));
    }

    /// A patch sees the target and the mask: changing either changes its logits.
    #[test]
    fn the_discriminator_sees_both_of_a_pair() {
        let device = Device::flex();
        let judge = Discriminator::new(&[4, 4], &device);
        let [zeros, ones] =
            [Tensor::zeros([1, 16, 16], &device), Tensor::ones([1, 16, 16], &device)];
        let logits = |target: &Tensor<3>, mask: &Tensor<3>| {
            let y = judge.forward(target.clone(), mask.clone());
            assert_eq!(y.dims(), [1, 16]);
            y.try_into_vec_as::<f32>().expect("f32")
        };
        let plain = logits(&zeros, &zeros);
        assert_ne!(plain, logits(&ones, &zeros));
        assert_ne!(plain, logits(&zeros, &ones));
        // No unit holds the last layer above zero.
        let logit: Vec<f32> = logits(&ones, &ones);
        let mut turned = judge.clone();
        turned.last.weight = turned.last.weight.map(|w| w * -1.0);
        turned.last.bias = turned.last.bias.map(|b| b.map(|b| b * -1.0));
        let other = turned.forward(ones.clone(), ones).try_into_vec_as::<f32>().expect("f32");
        assert!(logit.iter().zip(&other).all(|(a, b)| (a + b).abs() < 1e-6 && *a != 0.0));
    }
}
