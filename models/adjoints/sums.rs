//! Gradients of weights: sums over all pixels of a batch, in parts, and the parts in order.
//!
//! What sums pixels leaves its parts in [`Tables`].
#![allow(clippy::manual_div_ceil, reason = "kernels know no div_ceil")]

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::tables::{MOST_PARTS, Tables, Target};
use super::{Picture, UNITS, arg, cubes_of, element};

/// Channels of a cube.
pub(super) const CHANNELS: usize = 32;
/// Pixels of a part at least: small images, too, have work for all of a card.
const LEAST_PIXELS: usize = 256;

/// Parts that so many pixels are dealt out to.
pub(super) fn parts_of(pixels: usize) -> usize {
    pixels.div_ceil(LEAST_PIXELS).min(MOST_PARTS)
}

/// How cubes walk an image's pixels to sum them channel by channel: the gradient of a bias. Where the image is `folded`, as a convolution makes one that is
/// unfolded, two by two of its pixels are one with four times the channels, each of which has a sum of its own.
#[derive(Clone, Copy)]
pub(super) struct Walk {
    pub(super) folded: bool,
    pub(super) pixels: usize,
    pub(super) width: usize,
    pub(super) parts: usize,
    /// Vectors of a pixel, and those of them that a cube has.
    pub(super) groups: usize,
    pub(super) own_groups: usize,
    cubes: [usize; 3],
}

impl Walk {
    pub(super) fn of(image: &Picture, folded: bool) -> Self {
        let fold = if folded { 2 } else { 1 };
        let (pixels, run) = (image.pixels() / (fold * fold), image.channels * fold);
        let parts = parts_of(pixels);
        Self {
            folded,
            pixels,
            width: image.width / fold,
            parts,
            groups: run / image.lanes(),
            own_groups: CHANNELS / image.lanes(),
            cubes: [parts, run / CHANNELS, fold],
        }
    }

    /// The same pixel by pixel, or over so many squares of them.
    pub(super) fn of_pixels(image: &Picture, pixels: usize) -> Self {
        let parts = parts_of(pixels);
        let walk = Self::of(image, false);
        Self { pixels, parts, cubes: [parts, walk.cubes[1], 1], ..walk }
    }

    pub(super) fn cubes(&self) -> CubeCount {
        let [x, y, z] = self.cubes.map(|cubes| cubes as u32);
        CubeCount::Static(x, y, z)
    }

    /// The same, with so many more beyond its parts at least.
    pub(super) fn cubes_and(&self, more: usize) -> CubeCount {
        let [x, y, z] = self.cubes;
        let x = x + more.div_ceil(y * z);
        CubeCount::Static(x as u32, y as u32, z as u32)
    }

    /// Memory for the parts of a bias's sums.
    pub(super) fn begin(&self, tables: &mut Tables, target: Target) -> BufferArg {
        let [_, runs, fold] = self.cubes;
        assert_eq!(target.count(), runs * CHANNELS * fold, "a sum for each channel");
        tables.begin(self.parts, target)
    }
}

/// Adds up every pixel of an image, channel by channel.
pub(crate) fn channels(sums: &Picture, folded: bool, tables: &mut Tables, target: Target) {
    let walk = Walk::of(sums, folded);
    let out = walk.begin(tables, target);
    // SAFETY: loops end at the image's last pixel.
    unsafe {
        channel_sums::launch_unchecked(
            &sums.values.client,
            walk.cubes(),
            CubeDim::new_1d(UNITS),
            sums.lanes(),
            arg(&sums.values),
            out,
            walk.pixels,
            walk.width,
            walk.parts,
            walk.groups,
            walk.own_groups,
            walk.folded,
            sums.element(),
        );
    }
}

/// Adds up logits' gradients `[batch, height, width]`, each of two by two apart if `few` is 4: the gradient of the last bias.
pub(crate) fn logits(
    gradient: &CubeTensor,
    [pixels, width]: [usize; 2],
    few: usize,
    tables: &mut Tables,
    target: Target,
) {
    assert_eq!(target.count(), few, "a sum for each of two by two");
    let parts = parts_of(pixels);
    let out = tables.begin(parts, target);
    // SAFETY: loops end at the last pixel.
    unsafe {
        logit_sums::launch_unchecked(
            &gradient.client,
            CubeCount::Static(parts as u32, few as u32, 1),
            CubeDim::new_1d(UNITS),
            arg(gradient),
            out,
            pixels / few,
            width / if few == 4 { 2 } else { 1 },
            parts,
            few,
        );
    }
}

/// How a convolution's weight gradient lies in blocks of 64 by 64 channels: `[split][to block][from block][tap][64][64]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    /// Splits of the pixels.
    pub(crate) splits: usize,
    /// Blocks of output channels, and of input channels.
    pub(crate) to: usize,
    pub(crate) from: usize,
    /// Blocks of input channels that are the first image's.
    pub(crate) first: usize,
    /// Channels that lie side by side: of the output, and of both inputs.
    pub(crate) runs: [usize; 3],
    /// Input channels of the first image, and all.
    pub(crate) channels: [usize; 2],
    /// Where the gradient goes among all numbers, as `[to, tap, from]`.
    pub(crate) start: usize,
}

#[cfg(test)]
impl Blocks {
    /// Where each sum goes that is in a channel, block by block.
    pub(crate) fn places(self) -> impl Iterator<Item = usize> {
        let Self { to, from, first, runs, channels: [before, all], start, .. } = self;
        let channel = |block: usize, place: usize, run: usize| {
            let (blocks, at) = (run.div_ceil(BLOCK), block % run.div_ceil(BLOCK) * BLOCK + place);
            (at < run).then_some(block / blocks * run + at)
        };
        let place = move |i: usize| {
            let (column, row, tap) = (i % BLOCK, i / BLOCK % BLOCK, i / (BLOCK * BLOCK) % TAPS);
            let (to, from) = (i / (BLOCK * BLOCK * TAPS) / from, i / (BLOCK * BLOCK * TAPS) % from);
            let from = match from.checked_sub(first) {
                None => channel(from, column, runs[1])?,
                Some(second) => before + channel(second, column, runs[2])?,
            };
            Some(start + (channel(to, row, runs[0])? * TAPS + tap) * all + from)
        };
        (0..to * from * TAPS * BLOCK * BLOCK).filter_map(place)
    }
}

/// A convolution's weight gradient, in splits that are not yet added up.
#[derive(Clone, Debug)]
pub(crate) struct Splits {
    pub(crate) all: CubeTensor,
    pub(crate) blocks: Blocks,
}

impl Splits {
    /// Sums, each a unit's work.
    fn count(&self) -> usize {
        self.blocks.to * self.blocks.from * TAPS * BLOCK * BLOCK
    }

    /// Cubes that add them up.
    pub(super) fn cubes(&self) -> usize {
        self.count().div_ceil(UNITS as usize)
    }

    /// What their kernel is told.
    pub(super) fn sizes(&self) -> SplitSizesLaunch {
        let Blocks { splits, from, first, runs, channels, start, .. } = self.blocks;
        let ([to_run, first_run, second_run], [before, channels]) = (runs, channels);
        let count = self.count();
        SplitSizesLaunch::new(
            count, splits, from, first, to_run, first_run, second_run, before, channels, start,
        )
    }

    /// Adds them up, and rounds the sums to the precision of `out`.
    pub(crate) fn total(&self, out: &CubeTensor) {
        // SAFETY: units beyond the blocks end at once.
        unsafe {
            split_totals::launch_unchecked(
                &self.all.client,
                cubes_of(self.count()),
                CubeDim::new_1d(UNITS),
                arg(&self.all),
                arg(out),
                self.sizes(),
                element(out),
            );
        }
    }
}

/// How a weight gradient lies in its splits, as [`Blocks`] says.
#[derive(Clone, Copy, CubeLaunch, CubeType)]
pub(super) struct SplitSizes {
    /// Sums.
    count: usize,
    splits: usize,
    from_blocks: usize,
    first_blocks: usize,
    to_run: usize,
    first_run: usize,
    second_run: usize,
    first_channels: usize,
    channels: usize,
    start: usize,
}

impl SplitSizes {
    /// Those of nothing.
    pub(super) fn none() -> SplitSizesLaunch {
        SplitSizesLaunch::new(0, 0, 1, 1, 1, 1, 1, 0, 0, 0)
    }
}

const TAPS: usize = 9;
/// Side of a block of channels.
const BLOCK: usize = 64;

/// Adds up what the units of a cube have that are `groups` apart; the first `groups` units have the sums.
#[cube]
pub(super) fn across_units<N: Size>(
    own: Vector<f32, N>,
    all: &mut Shared<[Vector<f32, N>]>,
    #[comptime] groups: usize,
) -> Vector<f32, N> {
    let unit = UNIT_POS as usize;
    sync_cube();
    all[unit] = own;
    sync_cube();
    let mut sum = Vector::<f32, N>::new(0.0);
    if unit < groups {
        for i in 0..comptime!(UNITS as usize / groups) {
            sum += all[i * groups + unit];
        }
    }
    sum
}

/// Where a pixel lies among those that have two of an image's side by side, if it is `folded`: two rows of pixels are one of folded pixels, whose
/// channels in a row lie side by side.
#[cube]
pub(super) fn folded_row(pixel: usize, width: usize, #[comptime] folded: bool) -> usize {
    if comptime!(folded) {
        (pixel / width * 2 + CUBE_POS_Z as usize) * width + pixel % width
    } else {
        pixel
    }
}

/// Where a unit's walk begins: its vector of each pixel's, and its first pixel.
#[cube]
pub(super) fn walk_begin(#[comptime] own_groups: usize) -> (usize, usize) {
    let unit = UNIT_POS as usize;
    let group = CUBE_POS_Y as usize * own_groups + unit % own_groups;
    (group, CUBE_POS_X as usize * comptime!(UNITS as usize / own_groups) + unit / own_groups)
}

/// How far it is from one of a unit's pixels to its next.
#[cube]
pub(super) fn walk_step(parts: usize, #[comptime] own_groups: usize) -> usize {
    parts * comptime!(UNITS as usize / own_groups)
}

/// Leaves the sum of a cube's pixels where the parts of all are.
#[cube]
pub(super) fn leave_part<N: Size>(
    own: Vector<f32, N>,
    out: &mut [Vector<f32, N>],
    group: usize,
    groups: usize,
    #[comptime] own_groups: usize,
    #[comptime] folded: bool,
) {
    let mut all = Shared::<[Vector<f32, N>]>::new_slice(comptime!(UNITS as usize));
    let total = across_units(own, &mut all, own_groups);
    if (UNIT_POS as usize) < own_groups {
        let part = CUBE_POS_X as usize;
        let row = if comptime!(folded) { part * 2 + CUBE_POS_Z as usize } else { part };
        out[row * groups + group] = total;
    }
}

#[cube(launch_unchecked)]
fn channel_sums<F: Float, N: Size>(
    image: &[Vector<F, N>],
    out: &mut [Vector<f32, N>],
    pixels: usize,
    width: usize,
    parts: usize,
    groups: usize,
    #[comptime] own_groups: usize,
    #[comptime] folded: bool,
    #[define(F)] _element: ElemType,
) {
    let (group, first) = walk_begin(own_groups);
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut pixel = first;
    while pixel < pixels {
        let at = folded_row(pixel, width, folded) * groups + group;
        sum += Vector::<f32, N>::cast_from(image[at]);
        pixel += walk_step(parts, own_groups);
    }
    leave_part(sum, out, group, groups, own_groups, folded);
}

#[cube(launch_unchecked)]
fn logit_sums(
    gradient: &[f32],
    out: &mut [f32],
    pixels: usize,
    width: usize,
    parts: usize,
    #[comptime] few: usize,
) {
    let mut all = Shared::<[f32]>::new_slice(comptime!(UNITS as usize));
    let unit = UNIT_POS as usize;
    let which = CUBE_POS_Y as usize;
    let mut sum = f32::new(0.0);
    let mut pixel = CUBE_POS_X as usize * comptime!(UNITS as usize) + unit;
    while pixel < pixels {
        let at = if comptime!(few == 4) {
            ((pixel / width * 2 + which / 2) * width + pixel % width) * 2 + which % 2
        } else {
            pixel
        };
        sum += gradient[at];
        pixel += parts * comptime!(UNITS as usize);
    }
    all[unit] = sum;
    sync_cube();
    if unit == 0 {
        let mut total = f32::new(0.0);
        for i in 0..comptime!(UNITS as usize) {
            total += all[i];
        }
        out[CUBE_POS_X as usize * few + which] = total;
    }
}

#[cube(launch_unchecked)]
fn split_totals<F: Float>(
    all: &[f32],
    out: &mut [F],
    sizes: &SplitSizes,
    #[define(F)] _element: ElemType,
) {
    split_total(all, out, ABSOLUTE_POS_X as usize, sizes);
}

/// Adds up the splits of one sum, in order, and leaves it among all numbers.
#[cube]
pub(super) fn split_total<F: Float>(all: &[f32], out: &mut [F], unit: usize, sizes: &SplitSizes) {
    let column = unit % BLOCK;
    let row = unit / BLOCK % BLOCK;
    let tap = unit / (BLOCK * BLOCK) % TAPS;
    let block = unit / (BLOCK * BLOCK * TAPS);
    let from_block = block % sizes.from_blocks;
    let second = from_block >= sizes.first_blocks;
    let run = select(second, sizes.second_run, sizes.first_run);
    let own = select(second, from_block - sizes.first_blocks, from_block);
    let before = select(second, sizes.first_channels, 0);
    let (to, to_inside) = channel(block / sizes.from_blocks, row, sizes.to_run);
    let (from, from_inside) = channel(own, column, run);
    if unit < sizes.count && to_inside && from_inside {
        let mut sum = f32::new(0.0);
        for split in 0..sizes.splits {
            sum += all[split * sizes.count + unit];
        }
        out[sizes.start + (to * TAPS + tap) * sizes.channels + before + from] = F::cast_from(sum);
    }
}

/// The channel that a place of a block is, and whether there is one: blocks fill each run of channels from its beginning.
#[cube]
fn channel(block: usize, place: usize, run: usize) -> (usize, bool) {
    let blocks = (run + BLOCK - 1) / BLOCK;
    let at = block % blocks * BLOCK + place;
    (block / blocks * run + at, at < run)
}
