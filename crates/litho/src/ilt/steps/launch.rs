//! The order of the kernels: exposure, gradient, step.
#![allow(
    unsafe_code,
    reason = "kernels are launched without bounds checks: buffers are made here for the sizes that the kernels are given"
)]

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::Optics;
use super::kernels::{self, TILE};
use super::shares::FINE_PARTS;

mod descent;

/// Units of a cube.
const UNITS: u32 = 128;
/// Parts that a sum over an image's side is split into, so that a single clip keeps a card busy: these in the first
/// product of a pair, [`FINE_PARTS`] in the second, which has fewer outputs.
const PARTS: usize = 4;
/// Cubes for `units` of each of `images`.
fn cubes(units: usize, images: usize) -> (CubeCount, CubeDim) {
    let count = (units as u32).div_ceil(UNITS);
    (CubeCount::Static(count, images as u32, 1), CubeDim::new_1d(UNITS))
}

/// A matrix product's operand: where its batches, copies, rows and columns are.
#[derive(Clone, Copy)]
struct Left<'a> {
    data: &'a CubeTensor,
    batch: usize,
    copy: usize,
    row: usize,
    at: usize,
}

/// The other operand, whose rows are the output's.
#[derive(Clone, Copy)]
struct Right<'a> {
    data: &'a CubeTensor,
    batch: usize,
    copy: usize,
}

/// Sizes of a batch of products, and how they are shared out.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    rows: usize,
    columns: usize,
    depth: usize,
    parts: usize,
    copies: usize,
}

/// Buffers and constants of a level.
pub(super) struct PlainKernels {
    optics: Optics<CubeBackend>,
    /// Transposes of `columns`, `interpolate` and `spread`.
    columns: CubeTensor,
    interpolate: CubeTensor,
    gather: CubeTensor,
    batch: usize,
    /// Pixels on a side of the mask, and of the images.
    n: usize,
    pixels: usize,
    side: usize,
    coarse: usize,
    /// Kernels of one focus.
    count: usize,
    // Named by what they hold first; the adjoint uses them again.
    by_row: CubeTensor,
    basis: CubeTensor,
    spectrum: CubeTensor,
    along_x: CubeTensor,
    fields: CubeTensor,
    intensity: CubeTensor,
    rows: CubeTensor,
}

impl PlainKernels {
    pub(super) fn new(optics: Optics<CubeBackend>, batch: usize) -> Self {
        let turned =
            |x: &CubeTensor| into_contiguous(CubeBackend::float_swap_dims(x.clone(), 0, 1));
        let optics: Optics<CubeBackend> = Optics {
            kernels_re: into_contiguous(optics.kernels_re),
            kernels_im: into_contiguous(optics.kernels_im),
            spread: into_contiguous(optics.spread),
            columns: into_contiguous(optics.columns),
            rows: into_contiguous(optics.rows),
            interpolate: into_contiguous(optics.interpolate),
        };
        let [n, side] = optics.columns.shape().dims::<2>();
        let [coarse, pixels] = optics.interpolate.shape().dims::<2>();
        let [_, kernels, _, _] = optics.kernels_re.shape().dims::<4>();
        let empty = |length: usize| empty_like(&optics.columns, [length]);
        let foci = batch * 2;
        Self {
            columns: turned(&optics.columns),
            interpolate: turned(&optics.interpolate),
            gather: turned(&optics.spread),
            by_row: empty(batch * PARTS * n * side),
            basis: empty(batch * FINE_PARTS * 2 * side * side),
            spectrum: empty(batch * 2 * side * side),
            along_x: empty(batch * kernels * 2 * side * coarse),
            fields: empty(batch * kernels * 2 * coarse * coarse),
            intensity: empty(foci * FINE_PARTS * coarse * coarse),
            rows: empty(foci * PARTS * coarse * pixels),
            batch,
            n,
            pixels,
            side,
            coarse,
            count: kernels / 2,
            optics,
        }
    }

    fn client(&self) -> &Client {
        &self.columns.client
    }

    fn image(&self) -> CubeTensor {
        empty_like(&self.columns, [self.batch, self.n, self.n])
    }

    fn product(&self, a: Left, b: Right, out: &CubeTensor, sizes: Sizes) {
        let Sizes { batch, rows, columns, depth, parts, copies } = sizes;
        let (count, dim) = cubes(rows.div_ceil(TILE) * columns, batch * parts);
        // SAFETY: units beyond the output end at once; the operands' sizes are the callers' concern.
        unsafe {
            kernels::product::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(a.data),
                arg(b.data),
                arg(out),
                rows,
                columns,
                depth,
                parts,
                copies,
                a.batch,
                a.copy,
                a.row,
                a.at,
                b.batch,
                b.copy,
            );
        }
    }

    /// From a mask to the images' sums along x, `self.rows`; leaves the fields for the gradient.
    fn expose(&self, mask: &CubeTensor) {
        let (n, side, coarse, batch) = (self.n, self.side, self.coarse, self.batch);
        let kernels = 2 * self.count;
        let whole = Sizes { batch, rows: n, columns: side, depth: n, parts: PARTS, copies: 1 };
        let columns = Right { data: &self.optics.columns, batch: 0, copy: 0 };
        let mask = Left { data: mask, batch: n * n, copy: 0, row: n, at: 1 };
        self.product(mask, columns, &self.by_row, whole);
        let rows = Left { data: &self.optics.rows, batch: 0, copy: 0, row: 1, at: 2 * side };
        let by_row = Right { data: &self.by_row, batch: PARTS * n * side, copy: n * side };
        let sizes = Sizes {
            batch,
            rows: 2 * side,
            columns: side,
            depth: n,
            parts: FINE_PARTS,
            copies: PARTS,
        };
        self.product(rows, by_row, &self.basis, sizes);
        let (count, dim) = cubes(side * side, batch);
        // SAFETY: as in `product`, with the buffers that `new` made for these sizes.
        unsafe {
            kernels::frequencies::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(&self.basis),
                arg(&self.spectrum),
                side,
                FINE_PARTS,
            );
            let (count, dim) = cubes(side * coarse, batch * kernels);
            kernels::pass::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(&self.spectrum),
                arg(&self.optics.kernels_re),
                arg(&self.optics.kernels_im),
                arg(&self.optics.spread),
                arg(&self.along_x),
                side,
                coarse,
                kernels,
            );
        }
        self.turn(&self.along_x, &self.fields, [coarse, side], [1, 2 * coarse], 1.0);
        let (count, dim) = cubes(coarse * coarse, batch * 2);
        // SAFETY: as above.
        unsafe {
            kernels::power::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(&self.fields),
                arg(&self.intensity),
                coarse,
                self.count,
            );
        }
        let area = coarse * coarse;
        let points = Left { data: &self.intensity, batch: area, copy: 0, row: coarse, at: 1 };
        let interpolate = Right { data: &self.optics.interpolate, batch: 0, copy: 0 };
        self.product(points, interpolate, &self.rows, self.interpolation(coarse));
    }

    /// Sizes of an interpolation to some rows.
    fn interpolation(&self, rows: usize) -> Sizes {
        let (columns, depth) = (self.pixels, self.coarse);
        Sizes { batch: self.batch * 2, rows, columns, depth, parts: 1, copies: 1 }
    }

    /// Images of a mask in focus and out of it, `[batch * 2, pixels, pixels]`.
    pub(super) fn images(&self, mask: &CubeTensor) -> CubeTensor {
        self.expose(mask);
        let (pixels, coarse) = (self.pixels, self.coarse);
        let out = empty_like(&self.columns, [self.batch * 2, pixels, pixels]);
        let along_y =
            Left { data: &self.optics.interpolate, batch: 0, copy: 0, row: 1, at: pixels };
        let rows = Right { data: &self.rows, batch: coarse * pixels, copy: 0 };
        self.product(along_y, rows, &out, self.interpolation(pixels));
        out
    }

    /// Turns the rows of all fields by phases; `sizes` are the rows there and here, `phases` the strides of the table.
    fn turn(
        &self,
        from: &CubeTensor,
        to: &CubeTensor,
        sizes: [usize; 2],
        phases: [usize; 2],
        sign: f32,
    ) {
        let [rows, depth] = sizes;
        let images = self.batch * 2 * self.count;
        let (count, dim) = cubes(rows.div_ceil(TILE) * self.coarse, images);
        // SAFETY: as in `product`.
        unsafe {
            kernels::turn::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(from),
                arg(&self.optics.spread),
                arg(to),
                rows,
                depth,
                self.coarse,
                phases[0],
                phases[1],
                sign,
            );
        }
    }

    /// From the images' gradient to the columns' real basis, `self.by_row`: the adjoint of [`PlainKernels::expose`], but for
    /// its first product.
    fn pull_back(&self, gradient: &CubeTensor) {
        let (n, side, coarse, batch) = (self.n, self.side, self.coarse, self.batch);
        let (kernels, m) = (2 * self.count, self.pixels);
        let interpolate = Left { data: &self.optics.interpolate, batch: 0, copy: 0, row: m, at: 1 };
        let gradient = Right { data: gradient, batch: m * m, copy: 0 };
        let sizes =
            Sizes { batch: batch * 2, rows: coarse, columns: m, depth: m, parts: PARTS, copies: 1 };
        self.product(interpolate, gradient, &self.rows, sizes);
        let part = coarse * m;
        let rows = Left { data: &self.rows, batch: PARTS * part, copy: part, row: m, at: 1 };
        let points = Right { data: &self.interpolate, batch: 0, copy: 0 };
        let sizes = Sizes { columns: coarse, parts: FINE_PARTS, copies: PARTS, ..sizes };
        self.product(rows, points, &self.intensity, sizes);
        let (count, dim) = cubes(coarse * coarse, batch * kernels);
        // SAFETY: as in `product`.
        unsafe {
            kernels::weigh::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(&self.fields),
                arg(&self.intensity),
                coarse,
                self.count,
                FINE_PARTS,
            );
        }
        self.turn(&self.fields, &self.along_x, [side, coarse], [2 * coarse, 1], -1.0);
        let (count, dim) = cubes(side * side, batch * kernels);
        // SAFETY: as above. The fields are done with, and larger than what the kernels' spectra need.
        unsafe {
            kernels::pass_back::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(&self.along_x),
                arg(&self.optics.kernels_re),
                arg(&self.optics.kernels_im),
                arg(&self.gather),
                arg(&self.fields),
                side,
                coarse,
                kernels,
            );
            let (count, dim) = cubes(side * side, batch);
            kernels::frequencies_back::launch_unchecked(
                self.client(),
                count,
                dim,
                arg(&self.fields),
                arg(&self.basis),
                side,
                kernels,
            );
        }
        let rows = Left { data: &self.optics.rows, batch: 0, copy: 0, row: 2 * side, at: 1 };
        let basis = Right { data: &self.basis, batch: 2 * side * side, copy: 0 };
        let sizes = Sizes { batch, rows: n, columns: side, depth: 2 * side, parts: 1, copies: 1 };
        self.product(rows, basis, &self.by_row, sizes);
    }
}

pub(super) fn arg(tensor: &CubeTensor) -> BufferArg {
    tensor.clone().into_buffer_arg()
}

pub(super) fn empty_like<const D: usize>(like: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, Shape::from(shape), like.dtype)
}

/// A tensor that may be changed in place: itself if nobody else has it, else a copy.
pub(super) fn owned(tensor: CubeTensor) -> CubeTensor {
    let tensor = into_contiguous(tensor);
    match tensor.can_mut() {
        true => tensor,
        false => CubeBackend::float_add_scalar(tensor.clone(), 0.0_f32.into()),
    }
}
