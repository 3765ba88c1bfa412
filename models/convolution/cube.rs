//! The convolution on GPUs: kernels of CubeCL by name, and the weight's gradient as a product in parts.

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{Shape, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::conv::{ConvStrategy, conv_forward_nhwc};

use super::{SameConvolution, options, parted, pixels};

impl SameConvolution for CubeBackend {
    fn same_convolution(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let convolve = |strategy| {
            let options = options(weight.shape()[1]);
            conv_forward_nhwc::<2>(x.clone(), weight.clone(), None, options, strategy)
        };
        // A device without matrix units, or a shape they do not take, is told before anything runs.
        convolve(ConvStrategy::ImplicitGemm)
            .or_else(|_| convolve(ConvStrategy::Direct))
            .unwrap_or_else(|e| panic!("no kernel convolves {:?}: {e:?}", x.shape()))
    }

    fn same_convolution_weight(
        x: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        side: usize,
    ) -> FloatTensor<Self> {
        let ([to, from], pixels) = ([gradient.shape()[3], x.shape()[3]], pixels(&x.shape()));
        let size = side * side * from;
        let [parts, part] = parted(pixels);
        let columns = neighbourhoods::<Self>(x, side);
        let columns = Self::float_reshape(columns, Shape::from([parts, part, size]));
        let gradient = Self::float_reshape(gradient, Shape::from([parts, part, to]));
        let products = Self::float_matmul(Self::float_swap_dims(columns, 1, 2), gradient);
        let weight = Self::float_sum_dim(products, 0);
        let weight = Self::float_reshape(weight, Shape::from([side, side, from, to]));
        Self::float_permute(weight, &[3, 0, 1, 2])
    }
}

/// The `side * side` shifted copies of an image, zero outside, along its last dimension.
fn neighbourhoods<B: Backend>(x: FloatTensor<B>, side: usize) -> FloatTensor<B> {
    if side == 1 {
        return x;
    }
    let ([batch, height, width, from], edge) = (x.shape().dims::<4>(), side / 2);
    let framed = Shape::from([batch, height + 2 * edge, width + 2 * edge, from]);
    let zeros = B::float_zeros(framed, &x.device(), x.dtype().into());
    let window = |top: usize, left: usize| -> [Slice; 4] {
        let (rows, columns) = (top..top + height, left..left + width);
        [(0..batch).into(), rows.into(), columns.into(), (0..from).into()]
    };
    let framed = B::float_slice_assign(zeros, &window(edge, edge), x);
    let shifted = |i: usize| B::float_slice(framed.clone(), &window(i / side, i % side));
    B::float_cat((0..side * side).map(shifted).collect(), 3)
}
