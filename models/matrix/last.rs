//! The last convolution, to logits: memory's work.

use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::sums::Four;
use super::thin::{Thin, UNITS};

/// Pixels of a row that some units compute together.
pub(super) const RUN: usize = 4;
/// Units that share their channels, so that they read side by side.
const TOGETHER: usize = 8;
/// Runs of pixels of a cube.
pub(super) const RUNS: usize = UNITS as usize / TOGETHER;

/// A convolution of side 3 or 1 to logits: one of a pixel, or four that are unfolded to two by two. Weights `[to, tap, from]`. Units have work by
/// runs of pixels.
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
    let few = comptime!(if unfold { 4usize } else { 1usize });
    let cube = CUBE_POS_Y as usize * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
    let mut shares = Shared::<[f32]>::new_slice(comptime!(UNITS as usize * RUN * few));
    let run = cube * RUNS + UNIT_POS as usize / TOGETHER;
    let sums = sums_of_run::<F>(image, numbers, run, &sizes, side, few);
    let own = UNIT_POS as usize * comptime!(RUN * few);
    #[unroll]
    for i in 0..comptime!(RUN * few) {
        let four = sums[i];
        let mut share = 0.0f32;
        #[unroll]
        for lane in 0..4usize {
            share += four.extract(lane);
        }
        shares[own + i] = share;
    }
    sync_cube();
    let bias = numbers[sizes.bias / 4];
    let runs = sizes.width.div_ceil(RUN);
    #[unroll]
    for step in 0..comptime!((RUNS * RUN * few).div_ceil(UNITS as usize)) {
        let item = UNIT_POS as usize + comptime!(step * UNITS as usize);
        let (run, which) = (item / comptime!(RUN * few), item % comptime!(RUN * few));
        let (number, k) = (cube * RUNS + run, which % few);
        let (line, x) = (number / runs, number % runs * RUN + which / few);
        if run < RUNS && number < sizes.count && x < sizes.width {
            let mut sum = bias.extract(0usize);
            #[unroll]
            for i in 1..few {
                sum = select(k == i, bias.extract(i), sum);
            }
            #[unroll]
            for i in 0..TOGETHER {
                sum += shares[(run * TOGETHER + i) * comptime!(RUN * few) + which];
            }
            let at = if comptime!(unfold) {
                ((line * 2 + k / 2) * sizes.width + x) * 2 + k % 2
            } else {
                line * sizes.width + x
            };
            logits[at] = sum;
        }
    }
}

/// A unit's share of the sums of a run of pixels, `[pixel, to]`: fours of channels, which are not yet one.
#[cube]
fn sums_of_run<F: Float>(
    image: &[Vector<F, Const<4>>],
    numbers: &[Four],
    run: usize,
    sizes: &Thin,
    #[comptime] side: usize,
    #[comptime] few: usize,
) -> Array<Four> {
    let groups = sizes.channels / 4;
    let runs = sizes.width.div_ceil(RUN);
    let half = comptime!(side / 2);
    let (line, left) = (run / runs, run % runs * RUN);
    let y = line % sizes.height;
    let lane = UNIT_POS as usize % TOGETHER;
    let mut sums = Array::<Four>::new(comptime!(RUN * few));
    #[unroll]
    for i in 0..comptime!(RUN * few) {
        sums[i] = Four::new(0.0);
    }
    for step in 0..groups.div_ceil(TOGETHER) {
        let group = step * TOGETHER + lane;
        let has = group < groups && run < sizes.count;
        #[unroll]
        for row in 0..side {
            let above = y + row;
            let inside = has && above >= half && above - half < sizes.height;
            let start = (line + row - half) * sizes.width;
            let pixels = pixels_of_row::<F>(image, start, left, inside, group, sizes, side);
            #[unroll]
            for column in 0..side {
                #[unroll]
                for k in 0..few {
                    let tap = comptime!((k * side + row) * side + column);
                    let at = sizes.weights + tap * groups + select(has, group, 0);
                    let weight = numbers[at];
                    #[unroll]
                    for i in 0..RUN {
                        sums[comptime!(i * few + k)] += pixels[comptime!(i + column)] * weight;
                    }
                }
            }
        }
    }
    sums
}

/// What a run of outputs sees of a row: four channels of its pixels, zero outside of the image.
#[cube]
fn pixels_of_row<F: Float>(
    image: &[Vector<F, Const<4>>],
    start: usize,
    left: usize,
    inside: bool,
    group: usize,
    sizes: &Thin,
    #[comptime] side: usize,
) -> Array<Four> {
    let (groups, half) = (sizes.channels / 4, comptime!(side / 2));
    let mut pixels = Array::<Four>::new(comptime!(RUN + side - 1));
    #[unroll]
    for i in 0..comptime!(RUN + side - 1) {
        let beside = left + i;
        let seen = inside && beside >= half && beside - half < sizes.width;
        let at = select(seen, (start + beside - half) * groups + group, 0);
        let value = Four::cast_from(image[at]);
        pixels[i] = select(seen, value, Four::new(0.0));
    }
    pixels
}
