//! What all launches share: arguments, buffers, cubes.

use burn::tensor::{DType, Shape};
use burn_cubecl::ops::numeric::{empty_device_contiguous_dtype, zeros_client};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// Units of a cube.
const UNITS: u32 = 128;

/// Cubes for `units` of each of `images`, which are along y.
pub(crate) fn cubes(units: usize, images: usize) -> (CubeCount, CubeDim) {
    let count = (units as u32).div_ceil(UNITS);
    (CubeCount::Static(count, images as u32, 1), CubeDim::new_1d(UNITS))
}

/// A tensor as a kernel's buffer.
pub(crate) fn arg(tensor: &CubeTensor) -> BufferArg {
    tensor.clone().into_buffer_arg()
}

/// A tensor where another is, of anything.
pub(crate) fn empty<const D: usize>(
    like: &CubeTensor,
    shape: [usize; D],
    dtype: DType,
) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, Shape::from(shape), dtype)
}

/// A tensor where another is, of zeros.
pub(crate) fn zeros<const D: usize>(
    like: &CubeTensor,
    shape: [usize; D],
    dtype: DType,
) -> CubeTensor {
    zeros_client(like.client.clone(), like.device.clone(), Shape::from(shape), dtype)
}
