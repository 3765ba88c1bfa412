//! U-Net of Neural-ILT.
//!
//! Paper: Jiang, Liu, Ma, Chen, Young: "Neural-ILT: Migrating ILT to neural networks for mask printability
//! and complexity co-optimization", ICCAD 2020; layers as in the authors' `unet_torch.py`. No batch
//! normalisation, three poolings, bilinear up-sampling with aligned corners.
//!
//! ```text
//! [B,1,h,w] ─ 2 convs w ─┬─ pool ─ 2 convs 2w ─┬─ pool ─ 2 convs 4w ─┬─ pool ─ 2 convs 8w ─┐
//! [B,1,h,w] ─ 1×1 ─ 2 convs w ◄─ up, cat ─ 2 convs 2w ◄─ up, cat ─ 2 convs 4w ◄─ up, cat ──┘
//! ```
//!
//! Height and width are multiples of 8. 7,781,761 parameters at width 64.

use burn::config::Config;
use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor};

use crate::config::{CHANNELS, within};
use crate::kernel::Kernel;
use crate::program::{Layer, LayerChain, LayerKind, run};

/// Shape of the U-Net.
#[derive(Config, Debug, PartialEq, Eq)]
pub struct UNetConfig {
    /// Channels at full resolution; 64 in the paper.
    #[config(default = 64)]
    pub width: usize,
    /// Side of the last convolution; 1 in the paper.
    #[config(default = 1)]
    pub last_side: usize,
}

/// Two 3×3 convolutions, each with a ReLU.
#[derive(Module, Debug)]
pub struct DoubleConv {
    conv1: Conv2d,
    conv2: Conv2d,
}

/// The network: `[batch, 1, height, width]` to logits of the same shape.
#[derive(Module, Debug)]
pub struct UNet {
    down1: DoubleConv,
    down2: DoubleConv,
    down3: DoubleConv,
    down4: DoubleConv,
    up3: DoubleConv,
    up2: DoubleConv,
    up1: DoubleConv,
    last: Conv2d,
}

impl UNetConfig {
    /// Whether a network can be made of it.
    ///
    /// # Errors
    ///
    /// In words: the field, its value, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        within("width", self.width, CHANNELS)?;
        within("last_side", self.last_side, 1..=15)?;
        match self.last_side % 2 {
            1 => Ok(()),
            _ => Err(format!("last_side is {}; expected an odd number", self.last_side)),
        }
    }

    /// A network with random weights.
    pub fn init(&self, device: &Device) -> UNet {
        let w = self.width;
        let block = |from: usize, to: usize| DoubleConv {
            conv1: conv3(from, to, device),
            conv2: conv3(to, to, device),
        };
        UNet {
            down1: block(1, w),
            down2: block(w, 2 * w),
            down3: block(2 * w, 4 * w),
            down4: block(4 * w, 8 * w),
            up3: block(12 * w, 4 * w),
            up2: block(6 * w, 2 * w),
            up1: block(3 * w, w),
            last: conv(w, 1, self.last_side, device),
        }
    }
}

pub(crate) fn conv3(from: usize, to: usize, device: &Device) -> Conv2d {
    conv(from, to, 3, device)
}

fn conv(from: usize, to: usize, side: usize, device: &Device) -> Conv2d {
    let pad = side / 2;
    Conv2dConfig::new([from, to], [side, side])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .init(device)
}

/// Convolves in the input's own precision: weights are kept in f32 and cast on the way.
pub(crate) fn convolve(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    Kernel::of(conv).convolved(x)
}

impl DoubleConv {
    fn chain(&self, chain: &mut LayerChain, name: &str) {
        chain.convolve(&format!("{name}.conv1"), &self.conv1, true);
        chain.convolve(&format!("{name}.conv2"), &self.conv2, true);
    }
}

impl UNet {
    /// What sides of images must be multiples of.
    pub const STRIDE: usize = 8;

    /// Logits of the mask. Input and output are `[batch, 1, height, width]`; sides are multiples of 8.
    ///
    /// Computes in the input's precision (f32, f16 or bf16); the output has it too. Inside, channels
    /// come last, which is what the convolutions read.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        run(&self.layers("unet", &mut |conv| Kernel::of(conv)), x)
    }

    /// The forward pass as a list.
    pub(crate) fn layers(
        &self,
        name: &str,
        kernel: &mut dyn FnMut(&Conv2d) -> Kernel,
    ) -> Vec<Layer> {
        let mut chain = LayerChain::new(kernel);
        let path = |part: &str| format!("{name}.{part}");
        chain.push("enter", LayerKind::Enter);
        let downs = [(&self.down1, "down1"), (&self.down2, "down2"), (&self.down3, "down3")];
        for (down, part) in downs {
            down.chain(&mut chain, &path(part));
            chain.push(&path(&format!("{part}.keep")), LayerKind::Push);
            chain.push(&path(&format!("{part}.halve")), LayerKind::Halve);
        }
        self.down4.chain(&mut chain, &path("down4"));
        for (up, part) in [(&self.up3, "up3"), (&self.up2, "up2"), (&self.up1, "up1")] {
            chain.push(&path(&format!("{part}.double")), LayerKind::Double);
            chain.push(&path(&format!("{part}.join")), LayerKind::Join);
            up.chain(&mut chain, &path(part));
        }
        chain.convolve(&path("last"), &self.last, false);
        chain.push("leave", LayerKind::Leave);
        chain.into_layers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_width_has_the_papers_parameters() {
        assert_eq!(UNetConfig::new().init(&Device::flex()).num_params(), 7_781_761);
    }

    #[test]
    fn the_output_has_the_inputs_shape() {
        let net = UNetConfig::new().with_width(4).init(&Device::flex());
        assert_eq!(
            net.forward(Tensor::ones([2, 1, 24, 40], &Device::flex())).dims(),
            [2, 1, 24, 40]
        );
    }

    /// Burn's own modules, channels second, are the second implementation.
    #[test]
    fn the_forward_pass_is_the_published_drawing() {
        use burn::tensor::activation::relu;
        use burn::tensor::module::{interpolate, max_pool2d};
        use burn::tensor::ops::{InterpolateMode, InterpolateOptions, MaxPoolOptions};
        let device = Device::flex();
        let net = UNetConfig::new().with_width(3).with_last_side(3).init(&device);
        let wave: Vec<f32> = (0..2 * 16 * 24).map(|i| (i as f32 * 0.61).sin()).collect();
        let x = Tensor::<1>::from_floats(wave.as_slice(), &device).reshape([2, 1, 16, 24]);
        let block = |block: &DoubleConv, x| relu(block.conv2.forward(relu(block.conv1.forward(x))));
        let pool =
            |x: &Tensor<4>| max_pool2d(x.clone(), MaxPoolOptions::new([2, 2]).with_stride([2, 2]));
        let up = |x: Tensor<4>| {
            let options = InterpolateOptions::new(InterpolateMode::Bilinear);
            interpolate(x, options.with_scale_factor([2.0, 2.0]).with_align_corners(true))
        };
        let one = block(&net.down1, x.clone());
        let two = block(&net.down2, pool(&one));
        let three = block(&net.down3, pool(&two));
        let four = block(&net.down4, pool(&three));
        let y = block(&net.up3, Tensor::cat(vec![up(four), three], 1));
        let y = block(&net.up2, Tensor::cat(vec![up(y), two], 1));
        let y = block(&net.up1, Tensor::cat(vec![up(y), one], 1));
        let expected = net.last.forward(y);
        let scale: f32 = expected.clone().abs().max().into_scalar();
        let off: f32 = (net.forward(x) - expected).abs().max().into_scalar();
        assert!(off <= 1e-5 * scale && scale > 0.0, "{off} of {scale}");
    }
}
