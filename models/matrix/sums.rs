//! A plane's sums: matrices of the device, or the same numbers dealt out to its units.

use cubecl::cmma::{self, MatrixIdent, MatrixLayout};
use cubecl::prelude::*;

use super::means::PLANE;
use super::tiles::{SEEN, SIDE, Tile};

/// Four numbers of a row.
pub(super) type Four = Vector<f32, Const<4>>;

/// What a ReLU lets through: not what is negative. What is no number stays so.
#[cube]
pub(super) fn positive(four: Four) -> Four {
    let zero = Four::new(0.0);
    select_many(four.less_than(&zero), zero, four)
}

/// Fours of a matrix that a unit has where there are no products of matrices: unit `u` has numbers `u`, `u + 32`, …
const OWN: usize = SIDE * SIDE / 4 / PLANE;

/// A plane's sums, by rows of pixels, then products abreast: matrices of 16 pixels by 16 channels.
#[derive(CubeType)]
pub(super) struct Sums {
    matrices: Sequence<cmma::Matrix<f32>>,
    fours: Array<Four>,
    #[cube(comptime)]
    tile: Tile,
}

/// Where a plane's operands for one column of the kernel and 16 channels begin, in vectors.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Operands {
    /// Its first row of pixels in shared memory.
    pub(super) pixels: usize,
    /// Its first weights.
    pub(super) weights: usize,
    /// From a row of the kernel to the next one's weights.
    pub(super) next: usize,
}

/// No products yet.
#[cube]
pub(crate) fn accumulator() -> cmma::Matrix<f32> {
    cmma::Matrix::<f32>::from_value(
        MatrixIdent::Accumulator,
        SIDE,
        SIDE,
        SIDE,
        MatrixLayout::Undefined,
        0.0,
    )
}

/// 16 pixels by 16 channels in rows of `pitch` numbers.
#[cube]
fn pixels<F: Float, S: Numeric, M: Size>(
    halo: &[Vector<S, M>],
    at: usize,
    #[comptime] pitch: usize,
    #[comptime] lanes: usize,
) -> cmma::Matrix<F> {
    let mut matrix = cmma::Matrix::<F>::from_value(
        MatrixIdent::A,
        SIDE,
        SIDE,
        SIDE,
        MatrixLayout::RowMajor,
        F::from_int(0),
    );
    let at_once = M::value();
    let apart = comptime!((pitch * at_once / lanes) as u32);
    cmma::load(&mut matrix, &halo[at..halo.len()], apart);
    matrix
}

/// 16 input channels by 16 output channels, of which the input's lie side by side.
#[cube]
fn weights_of<F: Float, S: Numeric, M: Size>(
    weights: &[Vector<S, M>],
    at: usize,
    #[comptime] lanes: usize,
) -> cmma::Matrix<F> {
    let mut matrix = cmma::Matrix::<F>::from_value(
        MatrixIdent::B,
        SIDE,
        SIDE,
        SIDE,
        MatrixLayout::ColMajor,
        F::from_int(0),
    );
    let at_once = M::value();
    let apart = comptime!((SIDE * at_once / lanes) as u32);
    cmma::load(&mut matrix, &weights[at..weights.len()], apart);
    matrix
}

#[cube]
impl Sums {
    /// Nothing yet.
    pub(super) fn new(#[comptime] tile: Tile) -> Sums {
        let mut matrices = Sequence::<cmma::Matrix<f32>>::new();
        let count = comptime!(tile.rows * tile.parts);
        let mut fours = Array::<Four>::new(comptime!(if tile.plain { count * OWN } else { 1 }));
        if comptime!(tile.plain) {
            for i in 0..comptime!(count * OWN) {
                fours[i] = Four::new(0.0);
            }
        } else {
            #[unroll]
            for _ in 0..count {
                matrices.push(accumulator());
            }
        }
        Sums { matrices, fours, tile }
    }

    /// Adds the products of one column of the kernel and 16 input channels.
    pub(super) fn add<F: Float, S: Numeric, M: Size>(
        &mut self,
        halo: &[Vector<S, M>],
        weights: &[Vector<S, M>],
        from: Operands,
    ) {
        if comptime!(self.tile.plain) {
            self.add_numbers::<S, M>(halo, weights, from);
        } else {
            self.add_matrices::<F, S, M>(halo, weights, from);
        }
    }

    /// Weights of three rows of the kernel stay in registers; a row of pixels is read once for all of them.
    fn add_matrices<F: Float, S: Numeric, M: Size>(
        &mut self,
        halo: &[Vector<S, M>],
        weights: &[Vector<S, M>],
        from: Operands,
    ) {
        let rows = comptime!(self.tile.rows);
        let parts = comptime!(self.tile.parts);
        let pitch = comptime!(self.tile.pitch());
        let lanes = comptime!(self.tile.lanes);
        let mut kernel = Sequence::<cmma::Matrix<F>>::new();
        #[unroll]
        for i in 0..comptime!(3 * parts) {
            let at = from.weights + comptime!(i / parts) * from.next;
            let within = comptime!(i % parts * SIDE * SIDE / lanes);
            kernel.push(weights_of::<F, S, M>(weights, at + within, lanes));
        }
        #[unroll]
        for y in 0..comptime!(rows + 2) {
            let at = from.pixels + comptime!(y * SEEN * pitch / lanes);
            let row = pixels::<F, S, M>(halo, at, pitch, lanes);
            #[unroll]
            for tap in 0..3usize {
                if comptime!(y >= tap && y - tap < rows) {
                    #[unroll]
                    for part in 0..parts {
                        let sum = self.matrices.index(comptime!((y - tap) * parts + part));
                        cmma::execute(&row, kernel.index(comptime!(tap * parts + part)), sum, sum);
                    }
                }
            }
        }
    }

    /// The same sums of the same numbers.
    fn add_numbers<S: Numeric, M: Size>(
        &mut self,
        halo: &[Vector<S, M>],
        weights: &[Vector<S, M>],
        from: Operands,
    ) {
        let rows = comptime!(self.tile.rows);
        let parts = comptime!(self.tile.parts);
        let pitch = comptime!(self.tile.pitch());
        let lanes = comptime!(self.tile.lanes);
        for i in 0..comptime!(3 * rows * parts * OWN) {
            let (tap, sum) = (i / comptime!(rows * parts * OWN), i % comptime!(rows * parts * OWN));
            let (row, part) = (sum / comptime!(parts * OWN), sum / OWN % parts);
            let four = UNIT_POS_X as usize + sum % OWN * PLANE;
            let pixel = (row + tap) * SEEN + four / comptime!(SIDE / 4);
            let channel = part * SIDE + four % comptime!(SIDE / 4) * 4;
            let at = from.pixels + pixel * comptime!(pitch / lanes);
            let first = from.weights + tap * from.next + channel * comptime!(SIDE / lanes);
            let mut own = self.fours[sum];
            #[unroll]
            for k in 0..4usize {
                let mut total = own.extract(k);
                for group in 0..comptime!(SIDE / lanes) {
                    let x = Vector::<f32, M>::cast_from(halo[at + group]);
                    let w = Vector::<f32, M>::cast_from(
                        weights[first + comptime!(k * SIDE / lanes) + group],
                    );
                    let product = x * w;
                    #[unroll]
                    for lane in 0..lanes {
                        total += product.extract(lane);
                    }
                }
                own.insert(k, total);
            }
            self.fours[sum] = own;
        }
    }

    /// Leaves 16 pixels by 16 channels in shared memory, in rows of `pitch` numbers.
    pub(super) fn leave(
        &self,
        stage: &mut [Four],
        at: usize,
        #[comptime] number: usize,
        #[comptime] pitch: usize,
    ) {
        if comptime!(self.tile.plain) {
            #[unroll]
            for i in 0..OWN {
                let four = UNIT_POS_X as usize + i * PLANE;
                let (pixel, group) = (four / comptime!(SIDE / 4), four % comptime!(SIDE / 4));
                stage[at + pixel * comptime!(pitch / 4) + group] =
                    self.fours[comptime!(number * OWN + i)];
            }
        } else {
            let end = stage.len();
            cmma::store(
                &mut stage[at..end],
                self.matrices.index(number),
                comptime!(pitch as u32),
                MatrixLayout::RowMajor,
            );
        }
    }
}
