//! Both kernels.
#![allow(
    unsafe_code,
    reason = "kernels are launched without bounds checks: buffers are made here for the sizes that the kernels are given"
)]

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::kernels::{self, LINE};
use crate::launch::{arg, empty, zeros};

/// Rows of an edge that are drawn at once.
const ROWS: u32 = 64;
/// Cubes along one dimension: no device has less.
const CUBES: usize = 1 << 15;

pub(super) fn drawn(edges: CubeTensor, offsets: CubeTensor, side: usize) -> CubeTensor {
    let (edges, offsets) = (into_contiguous(edges), into_contiguous(offsets));
    let count = edges.shape()[0] - 1;
    let batch = offsets.shape()[0] - 1;
    let sums = zeros(&edges, [batch, side, side], DType::I32);
    let image = empty(&edges, [batch, side, side], DType::F32);
    let many = CubeCount::Static(count.min(CUBES) as u32, count.div_ceil(CUBES) as u32, 1);
    let client = &edges.client;
    // SAFETY: the caller keeps edges within images; units beyond the edges or a row end or write nothing.
    unsafe {
        if count > 0 {
            kernels::accumulate::launch_unchecked(
                client,
                many,
                CubeDim::new_1d(ROWS),
                arg(&edges),
                arg(&offsets),
                arg(&sums),
                side,
                batch,
                count,
            );
        }
        kernels::sum_rows::launch_unchecked(
            client,
            CubeCount::Static(side as u32, batch as u32, 1),
            CubeDim::new_1d(LINE as u32),
            arg(&sums),
            arg(&image),
            side,
        );
    }
    image
}
