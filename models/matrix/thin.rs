//! What is no large product: the first convolution, the last ones, and twice the size. Memory's work, a unit for some pixels and four channels.

use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::sums::{Four, positive};

/// Pixels of a unit of a first convolution.
pub(super) const RUN: usize = 4;

/// What such a kernel is told of the image with channels: an output of the first convolution, an input of the others.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(super) struct Thin {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    /// Where the weights begin, in fours, and the bias, in numbers.
    pub(super) weights: usize,
    pub(super) bias: usize,
    /// Units that have work.
    pub(super) count: usize,
}

/// The unit's number among those of all cubes.
#[cube]
fn number() -> usize {
    let cube = CUBE_POS_Y as usize * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
    cube * CUBE_DIM as usize + UNIT_POS as usize
}

/// A 3×3 convolution of `[batch, height, width]`, or of two by two of its pixels, with its ReLU. Weights `[tap, pixel, to]`.
#[cube(launch_unchecked)]
pub(super) fn stem<F: Float>(
    input: &[f32],
    numbers: &[Four],
    made: &mut [Vector<F, Const<4>>],
    sizes: Thin,
    #[comptime] folded: bool,
    #[define(F)] _element: ElemType,
) {
    let unit = number();
    if unit >= sizes.count {
        terminate!();
    }
    let groups = sizes.channels / 4;
    let runs = sizes.width.div_ceil(RUN);
    let (group, x) = (unit % groups, unit / groups % runs * RUN);
    let line = unit / groups / runs;
    let (image, y) = (line / sizes.height, line % sizes.height);
    let mut sums = Array::<Four>::new(RUN);
    #[unroll]
    for i in 0..RUN {
        sums[i] = numbers[sizes.bias / 4 + group];
    }
    let few = comptime!(if folded { 4usize } else { 1usize });
    for tap in 0..comptime!(9 * few) {
        let (row, column, which) = (tap / comptime!(3 * few), tap / few % 3, tap % few);
        let weight = numbers[sizes.weights + tap * groups + group];
        let above = y + row;
        if above >= 1 && above <= sizes.height {
            #[unroll]
            for i in 0..RUN {
                let beside = x + i + column;
                if beside >= 1 && beside <= sizes.width {
                    let at = image * sizes.height + above - 1;
                    let from = if comptime!(folded) {
                        ((at * 2 + which / 2) * sizes.width + beside - 1) * 2 + which % 2
                    } else {
                        at * sizes.width + beside - 1
                    };
                    sums[i] += weight * Four::new(input[from]);
                }
            }
        }
    }
    #[unroll]
    for i in 0..RUN {
        if x + i < sizes.width {
            let value = positive(sums[i]);
            made[(line * sizes.width + x + i) * groups + group] = Vector::cast_from(value);
        }
    }
}

/// A convolution of side 3 or 1 to logits: one of a pixel, or four that are unfolded to two by two. Weights `[to, tap, from]`.
#[cube(launch_unchecked)]
pub(super) fn last<F: Float>(
    image: &[Vector<F, Const<4>>],
    numbers: &[Four],
    logits: &mut [f32],
    sizes: Thin,
    #[comptime] side: usize,
    #[comptime] unfold: bool,
    #[define(F)] _element: ElemType,
) {
    let pixel = number();
    if pixel >= sizes.count {
        terminate!();
    }
    let groups = sizes.channels / 4;
    let (x, line) = (pixel % sizes.width, pixel / sizes.width);
    let y = line % sizes.height;
    let few = comptime!(if unfold { 4usize } else { 1usize });
    let half = comptime!(side / 2);
    let mut sums = Array::<Four>::new(few);
    #[unroll]
    for k in 0..few {
        sums[k] = Four::new(0.0);
    }
    for tap in 0..comptime!(side * side) {
        let (above, beside) = (y + tap / side, x + tap % side);
        let inside = above >= half && above - half < sizes.height;
        if inside && beside >= half && beside - half < sizes.width {
            let from = ((line - y + above - half) * sizes.width + beside - half) * groups;
            let first = sizes.weights + tap * groups;
            for group in 0..groups {
                let value = Four::cast_from(image[from + group]);
                #[unroll]
                for k in 0..few {
                    let weight = numbers[first + k * comptime!(side * side) * groups + group];
                    sums[k] += value * weight;
                }
            }
        }
    }
    let bias = numbers[sizes.bias / 4];
    #[unroll]
    for k in 0..few {
        let four = sums[k];
        let mut sum = bias.extract(k);
        #[unroll]
        for lane in 0..4usize {
            sum += four.extract(lane);
        }
        let at = if comptime!(unfold) {
            ((line * 2 + k / 2) * sizes.width + x) * 2 + k % 2
        } else {
            pixel
        };
        logits[at] = sum;
    }
}

/// Where an output of twice the size lies: the pixel before or beside it, and that neighbour's share.
#[cube]
fn between(at: usize, size: usize) -> (usize, f32) {
    let own = at / 2;
    let last = f32::cast_from(2 * size - 1);
    let before = select(own > 0, own - 1, 0);
    let after = select(own + 1 < size, own + 1, own);
    let even = at.is_multiple_of(2);
    let share = select(even, f32::cast_from(own), f32::cast_from(size - 1 - own)) / last;
    (select(even, before, after), share)
}

/// A pixel of a row mixed with a neighbour, by the neighbour's share.
#[cube]
fn mixed<F: Float>(
    image: &[Vector<F, Const<4>>],
    row: usize,
    column: usize,
    beside: usize,
    share: f32,
    group: usize,
    sizes: &Thin,
) -> Four {
    let groups = sizes.channels / 4;
    let own = Four::cast_from(image[(row * sizes.width + column) * groups + group]);
    let other = Four::cast_from(image[(row * sizes.width + beside) * groups + group]);
    own + (other - own) * Four::new(share)
}

/// Twice the size, bilinear with aligned corners.
#[cube(launch_unchecked)]
pub(super) fn double<F: Float>(
    image: &[Vector<F, Const<4>>],
    made: &mut [Vector<F, Const<4>>],
    sizes: Thin,
    #[define(F)] _element: ElemType,
) {
    let unit = number();
    if unit >= sizes.count {
        terminate!();
    }
    let groups = sizes.channels / 4;
    let (group, pixel) = (unit % groups, unit / groups);
    let (x, line) = (pixel % (2 * sizes.width), pixel / (2 * sizes.width));
    let (y, first) = (line % (2 * sizes.height), line / (2 * sizes.height) * sizes.height);
    let (above, down) = between(y, sizes.height);
    let (left, right) = between(x, sizes.width);
    let own = mixed::<F>(image, first + y / 2, x / 2, left, right, group, &sizes);
    let beside = mixed::<F>(image, first + above, x / 2, left, right, group, &sizes);
    made[unit] = Vector::cast_from(own + (beside - own) * Four::new(down));
}
