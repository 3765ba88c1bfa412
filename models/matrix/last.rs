//! A last 1×1 convolution, to logits: memory's work.

use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::sums::Four;
use super::thin::{Thin, UNITS};

/// Units that share a pixel's channels, so that they read side by side.
const TOGETHER: usize = 8;
/// Pixels of a cube.
pub(super) const PIXELS: usize = UNITS as usize / TOGETHER;

/// A 1×1 convolution to one channel.
#[cube(launch_unchecked)]
pub(super) fn last<F: Float>(
    image: &[Vector<F, Const<4>>],
    numbers: &[Four],
    logits: &mut [f32],
    sizes: Thin,
    #[define(F)] _element: ElemType,
) {
    let cube = CUBE_POS_Y as usize * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
    let (own, lane) = (UNIT_POS as usize / TOGETHER, UNIT_POS as usize % TOGETHER);
    let pixel = cube * PIXELS + own;
    let groups = sizes.channels / 4;
    let mut shares = Shared::<[f32]>::new_slice(UNITS as usize);
    let mut sum = Four::new(0.0);
    for step in 0..groups.div_ceil(TOGETHER) {
        let group = step * TOGETHER + lane;
        if group < groups && pixel < sizes.count {
            let value = Four::cast_from(image[pixel * groups + group]);
            sum += value * numbers[sizes.weights + group];
        }
    }
    let mut share = 0.0f32;
    #[unroll]
    for k in 0..4usize {
        share += sum.extract(k);
    }
    shares[UNIT_POS as usize] = share;
    sync_cube();
    if lane == 0 && pixel < sizes.count {
        let mut sum = numbers[sizes.bias / 4].extract(0usize);
        #[unroll]
        for i in 0..TOGETHER {
            sum += shares[own * TOGETHER + i];
        }
        logits[pixel] = sum;
    }
}
