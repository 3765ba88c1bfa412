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

use std::path::Path;

use burn::module::Module;
use burn::tensor::activation::sigmoid;
use burn::tensor::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::unet::{UNet, UNetConfig, enlarged};
use crate::weights::{self, WeightsError};

/// Shape of the method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeuralIltConfig {
    /// Name of the architecture, so that a file of another one is refused.
    pub architecture: String,
    /// Channels of the U-Net at full resolution.
    pub width: usize,
    /// Side of a pixel that the network sees, in nm.
    pub pixel_nm: f64,
    /// Mask pixels per network pixel and side.
    pub upsample: usize,
    /// Logit of a pixel inside the target before the network's change; outside it is the negative.
    pub target_logit: f64,
}

/// The architecture's name in `config.json`.
pub const ARCHITECTURE: &str = "neural-ilt";

impl Default for NeuralIltConfig {
    fn default() -> Self {
        Self {
            architecture: ARCHITECTURE.into(),
            width: 64,
            pixel_nm: 8.0,
            upsample: 4,
            target_logit: 2.0,
        }
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct NeuralIlt {
    unet: UNet,
    #[module(skip)]
    config: NeuralIltConfig,
}

impl NeuralIltConfig {
    /// A network with random weights.
    pub fn init(&self, device: &Device) -> NeuralIlt {
        let unet = UNetConfig::new().with_width(self.width).init(device);
        NeuralIlt { unet, config: self.clone() }
    }
}

impl NeuralIlt {
    /// Loads `config.json` and the weights of a directory.
    ///
    /// # Errors
    ///
    /// [`WeightsError`], naming the file and tensor.
    pub fn load(directory: &Path, device: &Device) -> Result<Self, WeightsError> {
        let config: NeuralIltConfig = weights::config(directory, ARCHITECTURE)?;
        let mut network = config.init(device);
        weights::load(&mut network, directory)?;
        Ok(network)
    }

    /// Its configuration.
    pub fn config(&self) -> &NeuralIltConfig {
        &self.config
    }

    /// Side of a pixel of the mask, in nm.
    pub fn mask_pixel_nm(&self) -> f64 {
        self.config.pixel_nm / self.config.upsample as f64
    }

    /// The mask in 0 to 1, `[batch, u·n, u·n]`, for a target `[batch, n, n]` at the network's pixel size.
    ///
    /// `precision` is the network's; the mask is f32.
    pub fn forward(&self, target: Tensor<3>, precision: DType) -> Tensor<3> {
        let input = target.clone().unsqueeze_dim::<4>(1).cast(precision);
        self.mask(target, self.unet.forward(input))
    }

    /// As [`NeuralIlt::forward`], with the logits averaged over the eight symmetries of the square.
    ///
    /// A cross-quad source images mirrored and transposed layouts alike, so the eight answers are
    /// equally right and their mean is better; it costs eight passes.
    pub fn forward_symmetric(&self, target: Tensor<3>, precision: DType) -> Tensor<3> {
        let input = target.clone().unsqueeze_dim::<4>(1).cast(precision);
        let answer =
            |code: usize| turned_back(self.unet.forward(turned(input.clone(), code)), code);
        let sum = (1..SYMMETRIES).fold(answer(0), |sum, code| sum + answer(code));
        self.mask(target, sum / SYMMETRIES as f64)
    }

    fn mask(&self, target: Tensor<3>, change: Tensor<4>) -> Tensor<3> {
        let own = (target * 2.0 - 1.0) * self.config.target_logit;
        sigmoid(self.enlarged(own + change.cast(DType::F32).squeeze_dim::<3>(1)))
    }

    /// Bilinear interpolation between pixel middles.
    fn enlarged(&self, logits: Tensor<3>) -> Tensor<3> {
        let factor = self.config.upsample;
        if factor <= 1 {
            return logits;
        }
        let [batch, n, _] = logits.dims();
        let offset = |j: usize| (j as f64 + 0.5) / factor as f64 - 0.5;
        let offsets: Vec<Vec<f64>> = (0..factor).map(|j| vec![offset(j); n]).collect();
        let tall = enlarged(logits.unsqueeze_dim::<4>(1), &offsets);
        let m = n * factor;
        enlarged(tall.reshape([batch, m, n, 1]), &offsets).reshape([batch, m, m])
    }

    /// Builds a network from the bytes of its `config.json` and its tensors.
    ///
    /// # Errors
    ///
    /// As [`NeuralIlt::load`].
    pub fn from_bytes(
        config: &[u8],
        tensors: &[u8],
        device: &Device,
    ) -> Result<Self, WeightsError> {
        let origin = Path::new("built-in weights");
        let config: NeuralIltConfig = weights::parse_config(origin, config, ARCHITECTURE)?;
        let mut network = config.init(device);
        weights::load_bytes(&mut network, origin, tensors.to_vec())?;
        Ok(network)
    }
}

/// Symmetries of the square: two mirrors and a transposition, one bit each.
const SYMMETRIES: usize = 8;

fn turned(x: Tensor<4>, code: usize) -> Tensor<4> {
    let x = if code & 1 == 0 { x } else { x.flip([2]) };
    let x = if code & 2 == 0 { x } else { x.flip([3]) };
    if code & 4 == 0 { x } else { x.swap_dims(2, 3) }
}

fn turned_back(x: Tensor<4>, code: usize) -> Tensor<4> {
    let x = if code & 4 == 0 { x } else { x.swap_dims(2, 3) };
    let x = if code & 2 == 0 { x } else { x.flip([3]) };
    if code & 1 == 0 { x } else { x.flip([2]) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
