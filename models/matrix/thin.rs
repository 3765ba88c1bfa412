//! What is no large product: the first convolution, and twice the size. Memory's work, a unit for some pixels and four channels.

use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::sums::{Four, positive};

/// Units of a cube of what is no product.
pub(super) const UNITS: u32 = 128;
/// Pixels of a unit of a first convolution …
pub(super) const RUN: usize = 8;
/// … and its output channels, in fours.
pub(super) const FOURS: usize = 2;

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
    let fours = sizes.channels / 4;
    let groups = fours / FOURS;
    let runs = sizes.width.div_ceil(RUN);
    let (group, x) = (unit % groups, unit / groups % runs * RUN);
    let line = unit / groups / runs;
    let (image, y) = (line / sizes.height, line % sizes.height);
    let mut sums = Array::<Four>::new(comptime!(RUN * FOURS));
    #[unroll]
    for i in 0..comptime!(RUN * FOURS) {
        sums[i] = numbers[sizes.bias / 4 + group * FOURS + comptime!(i % FOURS)];
    }
    // A pixel that is folded is two abreast, of two rows.
    let fold = comptime!(if folded { 2usize } else { 1usize });
    for row in 0..comptime!(3 * fold) {
        let pixels = pixels_of_row(input, image, y, x, &sizes, row, fold);
        let taps = row / fold * comptime!(3 * fold * fold) + row % fold * fold;
        #[unroll]
        for column in 0..comptime!(3 * fold) {
            let tap = taps + comptime!(column / fold * fold * fold + column % fold);
            #[unroll]
            for four in 0..FOURS {
                let at = sizes.weights + tap * fours + group * FOURS + four;
                let weight = numbers[at];
                #[unroll]
                for i in 0..RUN {
                    let pixel = Four::new(pixels[comptime!(i * fold + column)]);
                    sums[comptime!(i * FOURS + four)] += weight * pixel;
                }
            }
        }
    }
    #[unroll]
    for i in 0..RUN {
        if x + i < sizes.width {
            #[unroll]
            for four in 0..FOURS {
                let value = positive(sums[comptime!(i * FOURS + four)]);
                let at = (line * sizes.width + x + i) * fours + group * FOURS + four;
                made[at] = Vector::cast_from(value);
            }
        }
    }
}

/// What a run of the first convolution's outputs sees of a row of the kernel, which are `fold` rows of the image; zero outside of it.
#[cube]
fn pixels_of_row(
    input: &[f32],
    image: usize,
    y: usize,
    x: usize,
    sizes: &Thin,
    row: usize,
    #[comptime] fold: usize,
) -> Array<f32> {
    let above = y + row / fold;
    let inside = above >= 1 && above <= sizes.height;
    let start = ((image * sizes.height + above - 1) * fold + row % fold) * sizes.width;
    let mut pixels = Array::<f32>::new(comptime!((RUN + 2) * fold));
    #[unroll]
    for i in 0..comptime!((RUN + 2) * fold) {
        let beside = x + comptime!(i / fold);
        let seen = inside && beside >= 1 && beside <= sizes.width;
        let at = (start + beside - 1) * fold + comptime!(i % fold);
        pixels[i] = select(seen, input[select(seen, at, 0)], 0.0);
    }
    pixels
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

/// Two pixels of a column, mixed by the second one's share.
#[cube]
fn column<F: Float, N: Size>(
    image: &[Vector<F, N>],
    own: usize,
    above: usize,
    down: f32,
    groups: usize,
    group: usize,
) -> Vector<f32, N> {
    let own = Vector::<f32, N>::cast_from(image[own * groups + group]);
    let other = Vector::<f32, N>::cast_from(image[above * groups + group]);
    own + (other - own) * Vector::<f32, N>::new(down)
}

/// Twice the size, bilinear with aligned corners. A unit has two outputs that lie side by side, which share a column.
#[cube(launch_unchecked)]
pub(super) fn double<F: Float, N: Size>(
    image: &[Vector<F, N>],
    made: &mut [Vector<F, N>],
    sizes: Thin,
    #[define(F)] _element: ElemType,
) {
    let unit = number();
    if unit >= sizes.count {
        terminate!();
    }
    let groups = sizes.channels / N::value();
    let (group, pixel) = (unit % groups, unit / groups);
    let (x, line) = (pixel % sizes.width, pixel / sizes.width);
    let (y, first) = (line % (2 * sizes.height), line / (2 * sizes.height) * sizes.height);
    let (above, down) = between(y, sizes.height);
    let own = (first + y / 2) * sizes.width;
    let above = (first + above) * sizes.width;
    let middle = column::<F, N>(image, own + x, above + x, down, groups, group);
    #[unroll]
    for k in 0..2usize {
        let (beside, share) = between(2 * x + k, sizes.width);
        let other = column::<F, N>(image, own + beside, above + beside, down, groups, group);
        let value = middle + (other - middle) * Vector::<f32, N>::new(share);
        made[(2 * pixel + k) * groups + group] = Vector::cast_from(value);
    }
}
