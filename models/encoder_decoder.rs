//! An encoder-decoder that never computes at full resolution.
//!
//! Every halving moves two by two pixels into channels and convolves; every doubling convolves and moves
//! channels back into pixels (sub-pixel convolution: Shi et al., CVPR 2016; in mask optimisation the SPSR
//! blocks of LithoBench's GAN-OPC). The first convolution therefore sees a quarter of the pixels, where a
//! U-Net spends half of its time on all of them.
//!
//! ```text
//! [B,1,h,w] ─ fold ─ conv w₀ ─┬─ fold ─ conv w₁ ─┬─ … ─ fold ─ conv wₗ ─┐
//! [B,1,h,w] ◄─ unfold ─ conv ─┴◄─ cat, unfold ───┴─ … ◄─ unfold ─ conv ─┘
//! ```
//!
//! A strided convolution of up to 6×6 is a fold and a 3×3 convolution, and a transposed one a 3×3 convolution and
//! an unfold, so the published generators have this form too (see [`crate::gan_opc`]).

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};

use crate::config::{CHANNELS, within};
use crate::kernel::Kernel;
use crate::program::{Layer, LayerChain, LayerKind, run};
use crate::unet::conv3;

/// Halvings, of images that are 1024 pixels at least then.
const MOST_HALVINGS: usize = 10;

/// Shape of an encoder-decoder.
#[derive(Config, Debug, PartialEq, Eq)]
pub struct EncoderDecoderConfig {
    /// Channels after each halving, fine to coarse.
    pub widths: Vec<usize>,
    /// Whether the decoder sees the encoder's images of its size.
    pub skips: bool,
    /// Convolutions of a stage after the one that folds or joins. The finest stage has none: there they would
    /// take as long as all others together.
    pub refine: usize,
}

/// A convolution that changes the number of channels, and some that do not; each with a ReLU.
#[derive(Module, Debug)]
pub struct ConvStack {
    first: Conv2d,
    refine: Vec<Conv2d>,
}

/// The network: `[batch, 1, height, width]` to the same shape; sides are multiples of `2^stages`.
#[derive(Module, Debug)]
pub struct EncoderDecoder {
    /// Fine to coarse.
    down: Vec<ConvStack>,
    /// Convolutions before each unfolding, fine to coarse.
    up: Vec<Conv2d>,
    /// What joins an unfolded image with the encoder's, fine to coarse; one fewer, and none without skips.
    join: Vec<ConvStack>,
}

impl EncoderDecoderConfig {
    /// Whether a network can be made of it.
    ///
    /// # Errors
    ///
    /// In words: the field, its value, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        within("widths' length", self.widths.len(), 1..=MOST_HALVINGS)?;
        within("refine", self.refine, 0..=64)?;
        self.widths.iter().try_for_each(|&width| within("widths' entry", width, CHANNELS))
    }

    /// A network with random weights.
    pub fn init(&self, device: &Device) -> EncoderDecoder {
        let w = &self.widths;
        let stage = |from: usize, to: usize, refine: usize| ConvStack {
            first: conv3(from, to, device),
            refine: (0..refine).map(|_| conv3(to, to, device)).collect(),
        };
        let finer = |i: usize| if i == 0 { 1 } else { w[i - 1] };
        let refine = |i: usize| if i == 0 { 0 } else { self.refine };
        let down = (0..w.len()).map(|i| stage(4 * finer(i), w[i], refine(i))).collect();
        let up = (0..w.len()).map(|i| conv3(w[i], 4 * finer(i), device)).collect();
        // Without skips there is nothing to join, and the unfolding convolution is all.
        let joins = if self.skips { w.len().saturating_sub(1) } else { 0 };
        let join = (0..joins).map(|i| stage(2 * w[i], w[i], refine(i))).collect();
        EncoderDecoder { down, up, join }
    }

    /// What sides of images must be multiples of.
    pub fn stride(&self) -> usize {
        1 << self.widths.len()
    }
}

impl ConvStack {
    fn chain(&self, chain: &mut LayerChain, name: &str) {
        chain.convolve(&format!("{name}.first"), &self.first, true);
        for (i, conv) in self.refine.iter().enumerate() {
            chain.convolve(&format!("{name}.refine.{i}"), conv, true);
        }
    }

    /// Its convolutions, in order.
    pub fn convolutions(&self) -> impl Iterator<Item = &Conv2d> {
        std::iter::once(&self.first).chain(&self.refine)
    }
}

impl EncoderDecoder {
    /// Logits. Input and output are `[batch, 1, height, width]`, in the same precision.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        run(&self.layers("", &mut |conv| Kernel::of(conv)), x)
    }

    /// The forward pass as a list.
    pub(crate) fn layers(
        &self,
        name: &str,
        kernel: &mut dyn FnMut(&Conv2d) -> Kernel,
    ) -> Vec<Layer> {
        let mut chain = LayerChain::new(kernel);
        chain.push("enter", LayerKind::Enter);
        for (i, stage) in self.down.iter().enumerate() {
            let path = format!("{name}.down.{i}");
            chain.push(&format!("{path}.fold"), LayerKind::Fold);
            stage.chain(&mut chain, &path);
            // The coarsest image is what the decoder starts from.
            if i < self.join.len() {
                chain.push(&format!("{path}.keep"), LayerKind::Push);
            }
        }
        for (i, up) in self.up.iter().enumerate().rev() {
            // A ReLU does not mind where a pixel is, so it comes before the unfolding.
            chain.convolve(&format!("{name}.up.{i}"), up, i > 0);
            chain.push(&format!("{name}.up.{i}.unfold"), LayerKind::Unfold);
            if let Some(join) = i.checked_sub(1).and_then(|finer| self.join.get(finer)) {
                let path = format!("{name}.join.{}", i - 1);
                chain.push(&path, LayerKind::Join);
                join.chain(&mut chain, &path);
            }
        }
        chain.push("leave", LayerKind::Leave);
        chain.into_layers()
    }

    /// The encoder's stages, fine to coarse.
    pub fn encoder(&self) -> &[ConvStack] {
        &self.down
    }

    /// The convolutions before each unfolding, fine to coarse.
    pub fn decoder(&self) -> &[Conv2d] {
        &self.up
    }

    /// What joins an unfolded image with the encoder's, fine to coarse: one fewer than stages, and none without skips.
    pub fn joins(&self) -> &[ConvStack] {
        &self.join
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resample::{folded, unfolded};

    #[test]
    fn every_form_keeps_the_inputs_shape() {
        for (skips, refine) in [(false, 0), (true, 0), (true, 1), (false, 2)] {
            let config = EncoderDecoderConfig::new(vec![2, 3, 4], skips, refine);
            let net = config.init(&Device::flex());
            let y = net.forward(Tensor::ones([2, 1, 16, 24], &Device::flex()));
            assert_eq!((y.dims(), config.stride()), ([2, 1, 16, 24], 8), "{skips} {refine}");
        }
    }

    /// Burn's own convolution, channels second, is the second implementation.
    #[test]
    fn the_forward_pass_is_the_drawing() {
        use burn::tensor::activation::relu;
        let device = Device::flex();
        let wave: Vec<f32> = (0..2 * 8 * 16).map(|i| (i as f32 * 0.61).sin()).collect();
        let x = Tensor::<1>::from_floats(wave.as_slice(), &device).reshape([2, 1, 8, 16]);
        let last = |x: Tensor<4>| x.permute([0, 2, 3, 1]);
        let second = |x: Tensor<4>| x.permute([0, 3, 1, 2]);
        for skips in [false, true] {
            let net = EncoderDecoderConfig::new(vec![3, 4, 5], skips, 1).init(&device);
            let stage =
                |stage: &ConvStack, x| stage.convolutions().fold(x, |x, c| relu(c.forward(x)));
            let fold = |x: &Tensor<4>| second(folded(last(x.clone())));
            let unfold = |x: Tensor<4>| second(unfolded(last(x)));
            let one = stage(&net.down[0], fold(&x));
            let two = stage(&net.down[1], fold(&one));
            let three = stage(&net.down[2], fold(&two));
            let join = |i: usize, x: Tensor<4>, skip: &Tensor<4>| match net.join.get(i) {
                Some(join) => stage(join, Tensor::cat(vec![x, skip.clone()], 1)),
                None => x,
            };
            let y = join(1, relu(unfold(net.up[2].forward(three))), &two);
            let y = join(0, relu(unfold(net.up[1].forward(y))), &one);
            let expected = unfold(net.up[0].forward(y));
            let scale: f32 = expected.clone().abs().max().into_scalar();
            let off: f32 = (net.forward(x.clone()) - expected).abs().max().into_scalar();
            assert!(off <= 1e-5 * scale && scale > 0.0, "{skips}: {off} of {scale}");
        }
    }

    /// LithoBench's generator has 5×5 convolutions in its encoder and batch normalisation throughout; folded, it has
    /// 3×3 ones on four times the channels.
    #[test]
    fn the_published_generator_fits() {
        let w = [16, 64, 128, 512, 1024];
        let net = EncoderDecoderConfig::new(w.to_vec(), false, 0).init(&Device::flex());
        let pairs = [(1, 16), (16, 64), (64, 128), (128, 512), (512, 1024)];
        let both = |(a, b): (usize, usize)| (9 * 4 * a * b + b) + (9 * 4 * a * b + 4 * a);
        assert_eq!(net.num_params(), pairs.map(both).iter().sum::<usize>());
    }
}
