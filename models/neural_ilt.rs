//! Neural-ILT: a network proposes the mask, the simulator corrects it on the layout.
//!
//! Paper: Jiang et al., ICCAD 2020 (see [`crate::unet`]). What is ours:
//!
//! * The network sees the target at 8 nm a pixel. Its logits are interpolated to 2 nm before the
//!   sigmoid, so that the mask's contours are smooth and not bound to the network's pixels.
//! * It learns what to change: its output is added to the target's own logits.
//! * It is trained without labels, through the simulator, on generated clips.
//! * The correction moves the mask's pixels (see [`lithoburn_litho::ilt`]), not the network's weights:
//!   the same gradient, a thousand times fewer operations.
//! * The fast variant has an [`crate::encoder_decoder`] for a backbone, which never computes at full resolution.

use std::path::Path;

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::config::{Configuration, check_head};
use crate::encoder_decoder::{EncoderDecoder, EncoderDecoderConfig};
use crate::head::{Head, MaskNetwork, unscaled};
use crate::kernel::{Kernel, random_kernels};
use crate::parallel::Parallel;
use crate::program::Program;
use crate::unet::{UNet, UNetConfig};
use crate::weights::{Stored, WeightsError};

/// Shape of the method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeuralIltConfig {
    /// Name of the architecture, so that a file of another one is refused.
    pub architecture: String,
    /// Channels of the U-Net at full resolution.
    pub width: usize,
    /// Side of the U-Net's last convolution; 1 in the paper, 3 in LithoBench's.
    #[serde(default = "one")]
    pub last_side: usize,
    /// Side of a pixel that the network sees, in nm.
    pub pixel_nm: f64,
    /// Mask pixels per network pixel and side.
    pub upsample: usize,
    /// Logit of a pixel inside the target before the network's change; outside it is the negative.
    pub target_logit: f64,
    /// Factor on all logits (see [`Head`]); training finds it.
    #[serde(default = "unscaled")]
    pub logit_scale: f64,
    /// An encoder-decoder in the place of the U-Net: the fast variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fast: Option<EncoderDecoderConfig>,
}

/// The architecture's name in `config.json`.
pub const ARCHITECTURE: &str = "neural-ilt";

/// What configurations without `last_side` mean.
fn one() -> usize {
    1
}

impl Default for NeuralIltConfig {
    fn default() -> Self {
        Self {
            architecture: ARCHITECTURE.into(),
            width: 64,
            last_side: one(),
            pixel_nm: 8.0,
            upsample: 4,
            target_logit: 2.0,
            logit_scale: 1.0,
            fast: None,
        }
    }
}

/// The network: one of the two backbones.
#[derive(Module, Debug)]
pub struct NeuralIlt {
    unet: Option<UNet>,
    fast: Option<EncoderDecoder>,
    #[module(skip)]
    config: NeuralIltConfig,
}

impl Configuration for NeuralIltConfig {
    const ARCHITECTURE: &'static str = ARCHITECTURE;

    fn check(&self) -> Result<(), String> {
        check_head(self.pixel_nm, self.upsample, self.target_logit, self.logit_scale)?;
        match &self.fast {
            Some(fast) => fast.check().map_err(|problem| format!("fast.{problem}")),
            None => UNetConfig { width: self.width, last_side: self.last_side }.check(),
        }
    }
}

impl NeuralIltConfig {
    /// The fast variant, as it is shipped: the same target and mask pixels, a quarter of the work.
    pub fn fast() -> Self {
        let fast = EncoderDecoderConfig::new(vec![32, 64, 128, 256], true, 1);
        Self { width: 0, fast: Some(fast), ..Self::default() }
    }

    /// A network with random weights.
    pub fn init(&self, device: &Device) -> NeuralIlt {
        let fast = self.fast.as_ref().map(|fast| fast.init(device));
        let unet = match &fast {
            Some(_) => None,
            None => {
                let unet = UNetConfig::new().with_width(self.width);
                Some(unet.with_last_side(self.last_side).init(device))
            }
        };
        NeuralIlt { unet, fast, config: self.clone() }
    }
}

impl NeuralIlt {
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
    /// As [`NeuralIlt::load`].
    pub fn of(stored: &Stored, device: &Device) -> Result<Self, WeightsError> {
        stored.network(|config: &NeuralIltConfig| config.init(device))
    }

    /// Its configuration.
    pub fn config(&self) -> &NeuralIltConfig {
        &self.config
    }

    /// The U-Net, unless this is the fast variant.
    pub fn unet(&self) -> Option<&UNet> {
        self.unet.as_ref()
    }

    /// The encoder-decoder, if this is the fast variant.
    pub fn encoder_decoder(&self) -> Option<&EncoderDecoder> {
        self.fast.as_ref()
    }
}

impl MaskNetwork for NeuralIlt {
    fn head(&self) -> Head {
        let NeuralIltConfig { pixel_nm, upsample, target_logit, logit_scale, .. } = self.config;
        Head { pixel_nm, upsample, target_logit, logit_scale }
    }

    fn stride(&self) -> usize {
        self.config.fast.as_ref().map_or(UNet::STRIDE, EncoderDecoderConfig::stride)
    }

    fn logits(&self, x: Tensor<4>) -> Tensor<4> {
        match (&self.fast, &self.unet) {
            (Some(fast), _) => fast.forward(x),
            (None, Some(unet)) => unet.forward(x),
            (None, None) => unreachable!("a network has one of the two"),
        }
    }
}

impl NeuralIltConfig {
    /// The program of a network with random weights, which are made where they are placed: no device, nor the host, ever holds all
    /// of them. A seed gives the same weights everywhere.
    pub fn random_program(&self, seed: u64) -> Program {
        self.init(&Device::flex()).program_with(&mut random_kernels(seed))
    }
}

impl NeuralIlt {
    fn program_with(&self, kernel: &mut dyn FnMut(&Conv2d) -> Kernel) -> Program {
        let layers = match (&self.fast, &self.unet) {
            (Some(fast), _) => fast.layers("fast", kernel),
            (None, Some(unet)) => unet.layers("unet", kernel),
            (None, None) => unreachable!("a network has one of the two"),
        };
        let architecture = self.config.architecture.clone();
        Program { architecture, head: self.head(), stride: self.stride(), layers }
    }
}

impl Parallel for NeuralIlt {
    fn program(&self) -> Program {
        self.program_with(&mut |conv| Kernel::of(conv))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::DType;

    #[test]
    fn the_mask_is_finer_than_the_target_by_the_factor() {
        let config = NeuralIltConfig { width: 2, ..Default::default() };
        let network = config.init(&Device::flex());
        let mask = network.forward(Tensor::zeros([1, 16, 16], &Device::flex()), DType::F32);
        assert_eq!(mask.dims(), [1, 64, 64]);
        assert_eq!(network.mask_pixel_nm(), 2.0);
    }

    /// What the mean over the symmetries is for: mirroring the layout mirrors the mask.
    #[test]
    fn the_symmetric_form_mirrors_and_transposes_with_its_input() {
        let config = NeuralIltConfig { width: 2, ..Default::default() };
        let network = config.init(&Device::flex());
        let wave: Vec<f32> = (0..256).map(|i| (i as f32 * 1.3).sin().abs()).collect();
        let x = Tensor::<1>::from_floats(wave.as_slice(), &Device::flex()).reshape([1, 16, 16]);
        let mask = network.forward_symmetric(x.clone(), DType::F32);
        let off = |a: Tensor<3>, b: Tensor<3>| (a - b).abs().max().into_scalar::<f32>();
        let mirrored = network.forward_symmetric(x.clone().flip([2]), DType::F32);
        assert!(off(mirrored, mask.clone().flip([2])) < 1e-6);
        let transposed = network.forward_symmetric(x.swap_dims(1, 2), DType::F32);
        assert!(off(transposed, mask.swap_dims(1, 2)) < 1e-6);
    }
}
