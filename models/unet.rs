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

use std::ops::Range;

use burn::config::Config;
use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor};

use crate::onnx::{Graph, OnnxError, Value};
use crate::parallel::kernel::Kernel;
use crate::parallel::program::{Chain, Layer, Step, run};

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
pub struct Block {
    conv1: Conv2d,
    conv2: Conv2d,
}

/// The network: `[batch, 1, height, width]` to logits of the same shape.
#[derive(Module, Debug)]
pub struct UNet {
    down1: Block,
    down2: Block,
    down3: Block,
    down4: Block,
    up3: Block,
    up2: Block,
    up1: Block,
    last: Conv2d,
}

impl UNetConfig {
    /// A network with random weights.
    pub fn init(&self, device: &Device) -> UNet {
        let w = self.width;
        let block = |from: usize, to: usize| Block {
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

impl Block {
    fn chain(&self, chain: &mut Chain, name: &str) {
        chain.convolve(&format!("{name}.conv1"), &self.conv1, true);
        chain.convolve(&format!("{name}.conv2"), &self.conv2, true);
    }

    fn draw(&self, graph: &mut Graph, name: &str, x: &Value) -> Result<Value, OnnxError> {
        let x = graph.conv(&format!("{name}.conv1"), &self.conv1, x)?;
        let x = graph.relu(&x);
        let x = graph.conv(&format!("{name}.conv2"), &self.conv2, &x)?;
        Ok(graph.relu(&x))
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
        let mut chain = Chain::new(kernel);
        let path = |part: &str| format!("{name}.{part}");
        chain.push("enter", Step::Enter);
        let downs = [(&self.down1, "down1"), (&self.down2, "down2"), (&self.down3, "down3")];
        for (down, part) in downs {
            down.chain(&mut chain, &path(part));
            chain.push(&path(&format!("{part}.keep")), Step::Push);
            chain.push(&path(&format!("{part}.halve")), Step::Halve);
        }
        self.down4.chain(&mut chain, &path("down4"));
        for (up, part) in [(&self.up3, "up3"), (&self.up2, "up2"), (&self.up1, "up1")] {
            chain.push(&path(&format!("{part}.double")), Step::Double);
            chain.push(&path(&format!("{part}.join")), Step::Join);
            up.chain(&mut chain, &path(part));
        }
        chain.convolve(&path("last"), &self.last, false);
        chain.push("leave", Step::Leave);
        chain.into_layers()
    }

    /// Draws what [`UNet::forward`] computes.
    pub(crate) fn draw(
        &self,
        graph: &mut Graph,
        name: &str,
        x: &Value,
    ) -> Result<Value, OnnxError> {
        let path = |part: &str| format!("{name}.{part}");
        let one = self.down1.draw(graph, &path("down1"), x)?;
        let x = graph.max_pool2(&one);
        let two = self.down2.draw(graph, &path("down2"), &x)?;
        let x = graph.max_pool2(&two);
        let three = self.down3.draw(graph, &path("down3"), &x)?;
        let x = graph.max_pool2(&three);
        let mut x = self.down4.draw(graph, &path("down4"), &x)?;
        let ups = [(&self.up3, "up3", three), (&self.up2, "up2", two), (&self.up1, "up1", one)];
        for (up, part, skip) in ups {
            let doubled = graph.doubled(&x);
            let both = graph.concat(&doubled, &skip);
            x = up.draw(graph, &path(part), &both)?;
        }
        graph.conv(&path("last"), &self.last, &x)
    }
}

/// The largest of each two by two pixels.
pub(crate) fn halved(x: Tensor<4>) -> Tensor<4> {
    let pool = MaxPoolOptions::new([2, 2]).with_stride([2, 2]);
    max_pool2d(x.permute([0, 3, 1, 2]), pool).permute([0, 2, 3, 1])
}

/// Twice the size, bilinear with aligned corners.
///
/// Output 2k lies at k - k/(2n-1) and output 2k+1 at k + (n-1-k)/(2n-1), so each is a mix of a pixel and
/// one neighbour. Written out as such, because `interpolate` has no gradient on GPUs in Burn 0.22.
pub(crate) fn doubled(x: Tensor<4>) -> Tensor<4> {
    let height = x.dims()[1];
    doubled_rows(x, 0, height)
}

/// As [`doubled`], of rows `start..` of an image that is `total` rows high. The outermost rows of the result lack a neighbour, unless
/// they are the image's own.
pub(crate) fn doubled_rows(x: Tensor<4>, start: usize, total: usize) -> Tensor<4> {
    let [batch, height, width, channels] = x.dims();
    let wide = enlarged(x, &doubling(0..width, width));
    let wide = wide.reshape([batch, 1, height, 2 * width * channels]);
    let rows = doubling(start..start + height, total);
    enlarged(wide, &rows).reshape([batch, 2 * height, 2 * width, channels])
}

fn doubling(pixels: Range<usize>, n: usize) -> [Vec<f64>; 2] {
    let last = (2 * n - 1) as f64;
    let even = pixels.clone().map(|k| -(k as f64) / last).collect();
    let odd = pixels.map(|k| (n - 1 - k) as f64 / last).collect();
    [even, odd]
}

/// Enlarges dimension 2 of `[a, b, n, c]`: output `f k + j` lies at `k + offsets[j][k]`, between -1 and
/// 1 off pixel k, and is interpolated linearly. Beyond the ends, the end pixels are repeated.
pub(crate) fn enlarged(x: Tensor<4>, offsets: &[Vec<f64>]) -> Tensor<4> {
    let ([a, b, n, c], device, dtype) = (x.dims(), x.device(), x.dtype());
    let part = |start: usize, length: usize| x.clone().narrow(2, start, length);
    let [left, right] = match n {
        1 => [x.clone(), x.clone()],
        _ => [
            Tensor::cat(vec![part(0, 1), part(0, n - 1)], 2),
            Tensor::cat(vec![part(1, n - 1), part(n - 1, 1)], 2),
        ],
    };
    let mixed = offsets.iter().map(|offsets| {
        let neighbour = if offsets.iter().all(|&o| o <= 0.0) { &left } else { &right };
        let share: Vec<f32> = offsets.iter().map(|o| o.abs() as f32).collect();
        let share = Tensor::<1>::from_floats(share.as_slice(), &device).cast(dtype);
        x.clone() + (neighbour.clone() - x.clone()) * share.reshape([1, 1, n, 1])
    });
    let outputs: Vec<Tensor<4>> = mixed.collect();
    let factor = outputs.len();
    Tensor::stack::<5>(outputs, 3).reshape([a, b, n * factor, c])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

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
        use burn::tensor::module::interpolate;
        use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
        let device = Device::flex();
        let net = UNetConfig::new().with_width(3).with_last_side(3).init(&device);
        let wave: Vec<f32> = (0..2 * 16 * 24).map(|i| (i as f32 * 0.61).sin()).collect();
        let x = Tensor::<1>::from_floats(wave.as_slice(), &device).reshape([2, 1, 16, 24]);
        let block = |block: &Block, x| relu(block.conv2.forward(relu(block.conv1.forward(x))));
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

    /// Rows of a part, with a neighbour on each side, are rows of the whole.
    #[test]
    fn doubling_some_rows_is_doubling_all() {
        let wave: Vec<f32> = (0..9 * 5 * 2).map(|i| (i as f32 * 0.61).sin()).collect();
        let x = Tensor::<1>::from_floats(wave.as_slice(), &Device::flex()).reshape([1, 9, 5, 2]);
        let values = |x: Tensor<4>| x.try_into_vec_as::<f32>().expect("f32");
        let whole = doubled(x.clone());
        for (start, end) in [(0, 3), (3, 4), (4, 9), (8, 9)] {
            let (first, last) = (start.max(1) - 1, (end + 1).min(9));
            let part = doubled_rows(x.clone().narrow(1, first, last - first), first, 9);
            let part = part.narrow(1, 2 * (start - first), 2 * (end - start));
            let expected = whole.clone().narrow(1, 2 * start, 2 * (end - start));
            assert_eq!(values(part), values(expected), "{start}..{end}");
        }
    }

    /// A ramp is linear, so interpolation keeps it exactly.
    #[test]
    fn doubling_keeps_a_ramp_and_its_ends() {
        let ramp: Vec<f32> = (0..32).map(|i| (i % 8) as f32 + 10.0 * (i / 8) as f32).collect();
        let x = Tensor::<4>::from_data(TensorData::new(ramp, [1, 4, 8, 1]), &Device::flex());
        let y = doubled(x).try_into_vec_as::<f32>().expect("f32");
        for (i, value) in y.iter().enumerate() {
            let (row, column) = (i / 16, i % 16);
            let expected = column as f32 * 7.0 / 15.0 + row as f32 * 30.0 / 7.0;
            assert!((value - expected).abs() < 1e-5, "{value} vs {expected}");
        }
    }
}
