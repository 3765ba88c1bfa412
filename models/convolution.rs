//! A convolution that needs no tuning.
//!
//! Burn 0.22 picks among dozens of convolution kernels by trying them, which on CUDA takes minutes for
//! every new shape, longer for gradients; without tuning it falls back to one without tensor cores.
//! This operation names the kernel instead: an implicit matrix product, or the plain kernel where a
//! device has no matrix units. The input's gradient is such a convolution too; the weight's is a
//! product over the pixels, in parts. Burn's own kernels do the work.
//!
//! Images have their channels last, `[batch, height, width, channels]`: that is what the kernels read.
//! Kernels are square with an odd side, `[to, side, side, from]`; the stride is 1, and beyond the
//! border the image is zero, so the output has the input's size.

#[cfg(feature = "gpu")]
mod cube;

use burn::backend::ops::{ConvOptions, FloatTensorOps, ModuleOps};
use burn::backend::tensor::FloatTensor;
use burn::backend::{AutodiffBackend, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Tensor};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

/// The same-size convolution as an operation of a backend.
#[backend_extension(
    Cube: cfg(feature = "gpu"),
    Flex,
    Autodiff,
    Fusion: cfg(feature = "gpu")
)]
pub trait SameConvolution: Backend {
    /// Convolves `[batch, height, width, from]` with `[to, side, side, from]`.
    #[fusion(dtype = x, shape = output_shape(x, weight))]
    fn same_convolution(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Gradient of the weight `[to, side, side, from]`, from the input and the output's gradient.
    #[fusion(dtype = x, shape = weight_shape(x, gradient, *side))]
    fn same_convolution_weight(
        x: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        side: usize,
    ) -> FloatTensor<Self>;

    /// Adds `[channels]` to every pixel of `[batch, height, width, channels]`.
    #[fusion(default)]
    fn biased(x: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let shape = Shape::from([1, 1, 1, bias.shape()[0]]);
        Self::float_add(x, Self::float_reshape(bias, shape))
    }
}

#[cfg(feature = "gpu")]
fn output_shape(x: &Shape, weight: &Shape) -> Shape {
    Shape::from([x[0], x[1], x[2], weight[0]])
}

#[cfg(feature = "gpu")]
fn weight_shape(x: &Shape, gradient: &Shape, side: usize) -> Shape {
    Shape::from([gradient[3], side, side, x[3]])
}

fn options(side: usize) -> ConvOptions<2> {
    ConvOptions::new([1, 1], [side / 2, side / 2], [1, 1], 1)
}

/// Channels second, as Burn's own interface has them.
const TO_NCHW: [usize; 4] = [0, 3, 1, 2];
/// Channels last again.
const TO_NHWC: [usize; 4] = [0, 2, 3, 1];

/// Pixels whose products with the gradient are summed by one kernel.
///
/// The weight's gradient is a product over all pixels of a batch, a million or more, of matrices of a
/// few hundred columns. As one product it would keep a handful of the card's processors busy;
/// in parts of this size it keeps all.
const MOST_PIXELS: usize = 2048;

fn pixels(image: &Shape) -> usize {
    image[0] * image[1] * image[2]
}

/// The number of parts, and the pixels of each.
fn parted(pixels: usize) -> [usize; 2] {
    let part = (1..=MOST_PIXELS).rev().find(|&n| pixels.is_multiple_of(n)).unwrap_or(1);
    [pixels / part, part]
}

impl SameConvolution for Flex {
    fn same_convolution(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let options = options(weight.shape()[1]);
        let x = Self::float_permute(x, &TO_NCHW);
        let y = Self::conv2d(x, Self::float_permute(weight, &TO_NCHW), None, options);
        Self::float_permute(y, &TO_NHWC)
    }

    fn same_convolution_weight(
        x: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        side: usize,
    ) -> FloatTensor<Self> {
        let shape = Shape::from([gradient.shape()[3], x.shape()[3], side, side]);
        // Only the shape of the weight matters here.
        let weight = Self::float_zeros(shape, &x.device(), x.dtype().into());
        let x = Self::float_permute(x, &TO_NCHW);
        let gradient = Self::float_permute(gradient, &TO_NCHW);
        let weight = Self::conv2d_weight_backward(x, weight, gradient, options(side));
        Self::float_permute(weight, &TO_NHWC)
    }
}

/// The gradient of a same-size convolution.
#[derive(Debug)]
struct Differentiated;

impl<B: SameConvolution> Backward<B, 2> for Differentiated {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (x, weight) = ops.state;
        let [of_x, of_weight] = ops.parents;
        let gradient = grads.consume::<B>(&ops.node);
        let side = weight.shape()[1];
        if let Some(node) = of_weight {
            let value = B::same_convolution_weight(x, gradient.clone(), side);
            grads.register::<B>(node.id, value);
        }
        if let Some(node) = of_x {
            // The adjoint of a convolution is the convolution with the kernel turned round.
            let turned = B::float_flip(B::float_permute(weight, &[3, 1, 2, 0]), &[1, 2]);
            grads.register::<B>(node.id, B::same_convolution(gradient, turned));
        }
    }
}

/// The gradient of a bias: a sum over all pixels.
#[derive(Debug)]
struct Summed;

impl<B: SameConvolution> Backward<B, 2> for Summed {
    type State = ();

    fn backward(self, ops: Ops<(), 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [of_x, of_bias] = ops.parents;
        let gradient = grads.consume::<B>(&ops.node);
        if let Some(node) = of_bias {
            grads.register::<B>(node.id, channel_sums::<B>(gradient.clone()));
        }
        if let Some(node) = of_x {
            grads.register::<B>(node.id, gradient);
        }
    }
}

/// Sums of `[batch, height, width, channels]` over all but the channels.
///
/// As products with ones: Burn's reduction gives each of the few sums to one thread, and takes 0.1 s for
/// what this does in 0.3 ms (16 images of 256² with 32 channels on an H200).
fn channel_sums<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let ([parts, part], channels) = (parted(pixels(&x.shape())), x.shape()[3]);
    let ones = B::float_ones(Shape::from([1, 1, part]), &x.device(), x.dtype().into());
    let x = B::float_reshape(x, Shape::from([parts, part, channels]));
    let sums = B::float_sum_dim(B::float_matmul(ones, x), 0);
    B::float_reshape(sums, Shape::from([channels]))
}

impl<B: SameConvolution, C: CheckpointStrategy> SameConvolution for Autodiff<B, C> {
    fn biased(x: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [x.node(), bias.node()];
        let y = B::biased(x.into_primitive(), bias.into_primitive());
        match Summed.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((), y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }

    fn same_convolution(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let y = B::same_convolution(x.clone(), weight.clone());
        match Differentiated.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((x, weight), y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        }
    }

    /// A constant: Burn differentiates once, and this is a gradient already.
    fn same_convolution_weight(
        x: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        side: usize,
    ) -> FloatTensor<Self> {
        let (x, gradient) = (x.into_primitive(), gradient.into_primitive());
        Self::from_inner(B::same_convolution_weight(x, gradient, side))
    }
}

/// Convolves an image `[batch, height, width, from]` with a kernel `[to, side, side, from]`.
///
/// Differentiable in both. The output is `[batch, height, width, to]`.
///
/// # Panics
///
/// If the kernel's side is even, or its channels are not the image's.
pub fn same_convolution(x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    let ([_, _, _, from], [_, tall, wide, channels]) = (x.dims(), weight.dims());
    assert!(tall == wide && tall % 2 == 1, "a kernel of {tall} x {wide} has no middle");
    assert_eq!(from, channels, "the image's channels are not the kernel's");
    let y =
        <Dispatch as SameConvolution>::same_convolution(x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(y)
}

/// Adds a bias `[channels]` to every pixel of an image `[batch, height, width, channels]`.
///
/// Differentiable in both.
pub fn biased(x: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let y = <Dispatch as SameConvolution>::biased(x.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::module::conv2d;
    use burn::tensor::{Device, TensorData};
    use lithoburn_compare::{largest, largest_difference};

    fn wave(shape: [usize; 4], pitch: f32, device: &Device) -> Tensor<4> {
        let count = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * pitch).sin()).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.try_into_vec_as::<f32>().expect("f32")
    }

    fn assert_near(a: &[f32], b: &[f32]) {
        let scale = largest(b.iter().map(|v| v.abs())).max(1.0);
        let off = largest_difference(a, b);
        assert!(off < 1e-5 * scale, "{off} of {scale}");
    }

    /// Burn's own convolution and its gradients are the second implementation.
    #[test]
    fn it_is_burns_convolution_and_so_are_its_gradients() {
        for (side, from, to) in [(3, 4, 6), (1, 5, 1), (3, 1, 2), (5, 2, 3)] {
            let device = Device::flex().autodiff();
            let x = wave([2, 9, 7, from], 0.37, &device).require_grad();
            let weight = wave([to, side, side, from], 0.71, &device).require_grad();
            let options = ConvOptions::new([1, 1], [side / 2, side / 2], [1, 1], 1);
            let expected = conv2d(
                x.clone().permute([0, 3, 1, 2]),
                weight.clone().permute([0, 3, 1, 2]),
                None,
                options,
            )
            .permute([0, 2, 3, 1]);
            let found = same_convolution(x.clone(), weight.clone());
            assert_near(&values(found.clone()), &values(expected.clone()));
            let gradients = |y: Tensor<4>| {
                let gradients = (y.clone() * y.clone() * y).sum().backward();
                [&x, &weight].map(|v| v.grad(&gradients).map(values).unwrap_or_default())
            };
            for (a, b) in gradients(found).iter().zip(&gradients(expected)) {
                assert!(!b.is_empty());
                assert_near(a, b);
            }
        }
    }

    /// Burn's broadcast addition is the second implementation.
    #[test]
    fn a_bias_is_added_to_every_pixel_and_its_gradient_is_the_sum() {
        let device = Device::flex().autodiff();
        let x = wave([2, 5, 3, 4], 0.37, &device).require_grad();
        let bias = wave([1, 1, 1, 4], 0.9, &device).reshape([4]).require_grad();
        let gradients = |y: Tensor<4>| {
            let gradients = (y.clone() * y.clone() * y).sum().backward();
            let of_bias = bias.grad(&gradients).map(|g| values(g.reshape([1, 1, 1, 4])));
            [x.grad(&gradients).map(values), of_bias].map(Option::unwrap_or_default)
        };
        let expected = x.clone() + bias.clone().reshape([1, 1, 1, 4]);
        let found = biased(x.clone(), bias.clone());
        assert_near(&values(found.clone()), &values(expected.clone()));
        let (found, expected) = (gradients(found), gradients(expected));
        for (a, b) in found.iter().zip(&expected) {
            assert!(!b.is_empty());
            assert_near(a, b);
        }
    }
}
