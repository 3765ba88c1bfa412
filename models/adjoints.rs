//! Adjoints of a network's steps on a GPU: what is not a product of large matrices on the way back.
//!
//! Plain kernels of CubeCL, which run on every GPU and take images in any precision; the products are the card's own
//! ([`crate::hopper`]). Images have their channels last, in multiples of 32. No kernel adds atomically: sums are made in parts, and the parts in
//! an order that is always the same, so a gradient has the same bits in every run.
#![allow(
    unsafe_code,
    reason = "kernels are launched without bounds checks: buffers are made here for the sizes that the kernels are given"
)]
#![allow(
    clippy::too_many_arguments,
    reason = "a kernel's arguments are its buffers and sizes, one by one"
)]

pub(crate) mod adam;
pub(crate) mod images;
pub(crate) mod products;
pub(crate) mod sums;
pub(crate) mod tables;
#[cfg(all(test, feature = "wgpu", feature = "cuda"))]
mod tests;

use burn::tensor::{DType, Shape};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;

use crate::steps::back::Thin;

/// Units of a cube.
const UNITS: u32 = 256;

/// An image on a card: `[batch, height, width, channels]`.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) values: CubeTensor,
    pub(crate) batch: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

impl Picture {
    /// Channels that a unit has at once: 16 bytes.
    fn lanes(&self) -> usize {
        if self.values.dtype == DType::F32 { 4 } else { 8 }
    }

    fn groups(&self) -> usize {
        self.channels / self.lanes()
    }

    pub(crate) fn pixels(&self) -> usize {
        self.batch * self.height * self.width
    }

    fn element(&self) -> ElemType {
        element(&self.values)
    }
}

/// What a tensor's numbers are.
fn element(tensor: &CubeTensor) -> ElemType {
    ElemType::Float(match tensor.dtype {
        DType::F32 => FloatKind::F32,
        DType::F16 => FloatKind::F16,
        DType::BF16 => FloatKind::BF16,
        other => unreachable!("images and gradients are floats of 16 or 32 bits, not {other:?}"),
    })
}

fn empty(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, dtype)
}

fn arg(tensor: &CubeTensor) -> BufferArg {
    tensor.clone().into_buffer_arg()
}

fn cubes_of(units: usize) -> CubeCount {
    CubeCount::Static((units as u32).div_ceil(UNITS), 1, 1)
}

/// A position moved by a tap of a kernel, and whether it is inside.
#[cube]
fn moved(at: usize, tap: usize, #[comptime] half: usize, size: usize) -> (usize, bool) {
    let to = at + tap;
    let inside = to >= half && to - half < size;
    (select(inside, to - half, 0), inside)
}

/// A value of a thin image at a pixel moved by a tap, zero outside: `[batch, height, width]`, or two by two of such pixels as `few` values.
#[cube]
fn thin_value(
    thin: &[f32],
    image: usize,
    y: usize,
    x: usize,
    row: usize,
    column: usize,
    which: usize,
    height: usize,
    width: usize,
    #[comptime] side: usize,
    #[comptime] few: usize,
) -> f32 {
    let (y, in_y) = moved(y, row, comptime!(side / 2), height);
    let (x, in_x) = moved(x, column, comptime!(side / 2), width);
    let line = image * height + y;
    let at = if comptime!(few == 4) {
        ((line * 2 + which / 2) * width + x) * 2 + which % 2
    } else {
        line * width + x
    };
    select(in_y && in_x, thin[at], f32::new(0.0))
}
