//! All kernels.
#![allow(
    unsafe_code,
    reason = "kernels are launched without bounds checks: buffers are made here for the sizes that the kernels are given"
)]

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::kernels::{self, LINES, UNITS, WRITTEN};
use crate::launch::{arg, cubes, empty};

pub(super) fn rounded(image: CubeTensor, reach: usize) -> CubeTensor {
    let image = into_contiguous(image);
    let [batch, n, _] = image.shape().dims::<3>();
    let (sums, round) =
        (empty(&image, [batch, n, n], DType::F32), empty(&image, [batch, n, n], DType::F32));
    let count = [n.div_ceil(LINES), n.div_ceil(WRITTEN), batch].map(|cubes| cubes as u32);
    let count = CubeCount::Static(count[0], count[1], count[2]);
    let half = 0.5 * (2.0 * reach as f32 + 1.0).powi(6);
    for (from, to, down) in [(&image, &sums, false), (&sums, &round, true)] {
        // SAFETY: units beyond an image read and write nothing.
        unsafe {
            kernels::three_boxes::launch_unchecked(
                &image.client,
                count.clone(),
                CubeDim::new_1d(UNITS as u32),
                arg(from),
                arg(to),
                n,
                reach,
                half,
                down,
            );
        }
    }
    round
}

pub(super) fn shrunk(image: CubeTensor, factor: usize) -> CubeTensor {
    let image = into_contiguous(image);
    let [batch, rows, columns] = image.shape().dims::<3>();
    let (rows, columns) = (rows / factor, columns / factor);
    let means = empty(&image, [batch, rows, columns], DType::F32);
    let (count, dim) = cubes(rows * columns, batch);
    // SAFETY: units beyond an image end.
    unsafe {
        kernels::mean::launch_unchecked(
            &image.client,
            count,
            dim,
            arg(&image),
            arg(&means),
            columns,
            factor,
            rows * columns,
        );
    }
    means
}
