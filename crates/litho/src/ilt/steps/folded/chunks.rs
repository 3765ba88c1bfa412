//! Parts that the folded kernels split an image's rows into, so that a card is busy with few clips.

use super::{mask, print};

/// Clips that parts are made for.
const BATCH: usize = 24;
/// Cubes that [`parts`] aims at, kernel by kernel: what an H200 was fastest with.
const TRANSFORM_CUBES: usize = 384;
const PRINT_CUBES: [usize; 2] = [190, 768];
const GRADIENT_CUBES: usize = 700;
/// Cubes of `print` that a large card has at once.
const PRINT_SLOTS: usize = 264;
/// Quarter rows that a part of `transform` has at most, and any part at least.
const MOST_ROWS: usize = 64;
const LEAST_ROWS: usize = 4;
/// Parts that whoever reads the rows or the columns next adds up one by one: more of them keep a card busy with a single clip, and
/// then keep it waiting.
const MOST_TRANSFORM_PARTS: usize = 16;
const MOST_PRINT_PARTS: usize = 8;

/// Parts that kernels split the rows of masks and images into.
#[derive(Clone, Copy)]
pub(super) struct Chunks {
    pub transform: usize,
    pub print: usize,
    pub gradient: usize,
}

impl Chunks {
    /// Parts of masks of side `n` and images of side `pixels`, whatever the batch: another number of parts is another order of sums,
    /// and a mask must not depend on how many are computed with it.
    pub(super) fn new(n: usize, pixels: usize) -> Self {
        let quarter = n / 4;
        let print = BATCH * (pixels / 4 / print::COLUMNS);
        let wanted = PRINT_CUBES[usize::from(print > PRINT_SLOTS)];
        let transform = BATCH * (n / 2 / mask::UNITS);
        Self {
            transform: parts(transform, TRANSFORM_CUBES, quarter)
                .min(MOST_TRANSFORM_PARTS)
                .max(quarter / MOST_ROWS),
            print: parts(print, wanted, pixels / 8).min(MOST_PRINT_PARTS),
            gradient: parts(BATCH * (quarter / mask::COLUMNS), GRADIENT_CUBES, quarter),
        }
    }
}

/// Equal parts of `of` rows, a power of two, so that `cubes` become about `wanted`.
fn parts(cubes: usize, wanted: usize, of: usize) -> usize {
    let most = (of / LEAST_ROWS).max(1).ilog2().min(of.trailing_zeros());
    wanted.div_ceil(cubes).next_power_of_two().min(1 << most)
}
