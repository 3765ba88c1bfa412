//! The order of the kernels: edges, their runs along rows and along columns, marks.
#![allow(
    unsafe_code,
    reason = "kernels are launched without bounds checks: buffers are made here for the sizes that the kernels are given"
)]

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::{Marks, kernels};
use crate::WORD;
use crate::launch::{arg, cubes, empty, zeros};
use crate::words::{Flips, joined};

pub(super) fn strips(target: CubeTensor, marks: Marks) -> CubeTensor {
    let target = into_contiguous(target);
    let [batch, side, _] = target.shape().dims::<3>();
    let bench = StripKernels { batch, side };
    let edge = bench.edge(&target);
    let along_rows = bench.marked(&target, &edge, marks);
    let (target, edge) = (bench.transposed(&target), bench.transposed(&edge));
    let along_columns = bench.marked(&target, &edge, marks);
    joined(&along_rows, &bench.transposed(&along_columns), Flips::OR)
}

/// Sizes of a batch of targets.
struct StripKernels {
    batch: usize,
    side: usize,
}

impl StripKernels {
    fn words(&self) -> usize {
        self.side * self.side / WORD
    }

    fn like(&self, set: &CubeTensor) -> CubeTensor {
        empty(set, [self.batch, self.side, self.side / WORD], DType::U32)
    }

    /// Pixels on the edge.
    fn edge(&self, target: &CubeTensor) -> CubeTensor {
        let out = self.like(target);
        let (count, dim) = cubes(self.words(), self.batch);
        let (words, row) = (self.words(), self.side / WORD);
        // SAFETY: units beyond an image's words end at once; the buffers have the sizes that are told.
        unsafe {
            let edge = kernels::edge::launch_unchecked;
            edge(&target.client, count, dim, arg(target), arg(&out), words, row);
        }
        out
    }

    /// Rows to columns.
    fn transposed(&self, set: &CubeTensor) -> CubeTensor {
        let out = self.like(set);
        let (count, dim) = cubes(self.words(), self.batch);
        // SAFETY: as in `edge`.
        unsafe {
            let transpose = kernels::transpose::launch_unchecked;
            transpose(&set.client, count, dim, arg(set), arg(&out), self.side);
        }
        out
    }

    /// Marks around the sites on runs along rows.
    fn marked(&self, target: &CubeTensor, edge: &CubeTensor, marks: Marks) -> CubeTensor {
        let runs = self.like(target);
        let out = zeros(target, [self.batch, self.side, self.side / WORD], DType::U32);
        let (count, dim) = cubes(self.words(), self.batch);
        let (words, row) = (self.words(), self.side / WORD);
        let client = &target.client;
        let [least, most] = marks.depths;
        // SAFETY: as in `edge`; marks beyond an image are left out.
        unsafe {
            let thin = kernels::thin::launch_unchecked;
            thin(client, count.clone(), dim, arg(edge), arg(&runs), words, row);
            kernels::mark::launch_unchecked(
                client,
                count,
                dim,
                arg(target),
                arg(&runs),
                arg(&out),
                words,
                row,
                kernels::PlacesLaunch::new(
                    marks.along as u32,
                    least as u32,
                    most as u32,
                    marks.step as u32,
                    marks.short as u32,
                ),
            );
        }
        out
    }
}
