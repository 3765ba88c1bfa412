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
use burn::module::{Module, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor};

use crate::convolution::{biased, same_convolution};
use crate::onnx::{Graph, OnnxError, Value};

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
    let dtype = x.dtype();
    let weight = in_dtype(&conv.weight, dtype).permute([0, 2, 3, 1]);
    let y = same_convolution(x, weight);
    match &conv.bias {
        Some(bias) => biased(y, in_dtype(bias, dtype)),
        None => y,
    }
}

fn in_dtype<const D: usize>(weight: &Param<Tensor<D>>, dtype: burn::tensor::DType) -> Tensor<D> {
    let value = weight.val();
    if value.dtype() == dtype { value } else { value.cast(dtype) }
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        relu(convolve(&self.conv2, relu(convolve(&self.conv1, x))))
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
        let [batch, _, height, width] = x.dims();
        // One channel: moving it is only another name.
        let one = self.down1.forward(x.reshape([batch, height, width, 1]));
        let two = self.down2.forward(halved(one.clone()));
        let three = self.down3.forward(halved(two.clone()));
        let four = self.down4.forward(halved(three.clone()));
        let x = self.up3.forward(Tensor::cat(vec![doubled(four), three], 3));
        let x = self.up2.forward(Tensor::cat(vec![doubled(x), two], 3));
        let x = self.up1.forward(Tensor::cat(vec![doubled(x), one], 3));
        convolve(&self.last, x).reshape([batch, 1, height, width])
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
fn halved(x: Tensor<4>) -> Tensor<4> {
    let pool = MaxPoolOptions::new([2, 2]).with_stride([2, 2]);
    max_pool2d(x.permute([0, 3, 1, 2]), pool).permute([0, 2, 3, 1])
}

/// Twice the size, bilinear with aligned corners.
///
/// Output 2k lies at k - k/(2n-1) and output 2k+1 at k + (n-1-k)/(2n-1), so each is a mix of a pixel and
/// one neighbour. Written out as such, because `interpolate` has no gradient on GPUs in Burn 0.22.
fn doubled(x: Tensor<4>) -> Tensor<4> {
    let [batch, height, width, channels] = x.dims();
    let wide = enlarged(x, &doubling(width)).reshape([batch, 1, height, 2 * width * channels]);
    enlarged(wide, &doubling(height)).reshape([batch, 2 * height, 2 * width, channels])
}

fn doubling(n: usize) -> [Vec<f64>; 2] {
    let last = (2 * n - 1) as f64;
    let even = (0..n).map(|k| -(k as f64) / last).collect();
    let odd = (0..n).map(|k| (n - 1 - k) as f64 / last).collect();
    [even, odd]
}

/// Enlarges dimension 2 of `[a, b, n, c]`: output `f k + j` lies at `k + offsets[j][k]`, between -1 and
/// 1 off pixel k, and is interpolated linearly. Beyond the ends, the end pixels are repeated.
pub(crate) fn enlarged(x: Tensor<4>, offsets: &[Vec<f64>]) -> Tensor<4> {
    let ([a, b, n, c], device, dtype) = (x.dims(), x.device(), x.dtype());
    let part = |start: usize, length: usize| x.clone().narrow(2, start, length);
    let left = Tensor::cat(vec![part(0, 1), part(0, n - 1)], 2);
    let right = Tensor::cat(vec![part(1, n - 1), part(n - 1, 1)], 2);
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
