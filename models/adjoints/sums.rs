//! Gradients of weights: sums over all pixels of a batch, in parts, and the parts in order.
#![allow(clippy::manual_div_ceil, reason = "kernels know no div_ceil")]

use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::{Picture, Thin, UNITS, arg, cubes_of, empty, thin_value};

/// Channels of a cube.
const CHANNELS: usize = 32;
/// Most parts that a sum over pixels is made in, and pixels of a part at least.
const MOST_PARTS: usize = 512;
const LEAST_PIXELS: usize = 1024;

fn parts_of(pixels: usize) -> usize {
    pixels.div_ceil(LEAST_PIXELS).min(MOST_PARTS)
}

/// Where a table of sums goes among all numbers: entry `(row, column)` of `[rows, columns]`, rows counting `few` first, then taps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Where it begins.
    pub(crate) start: usize,
    /// How many values of a thin image a tap has.
    pub(crate) few: usize,
    /// Steps of a tap, of a thin image's value, and of a channel.
    pub(crate) strides: [usize; 3],
}

/// Adds up every pixel of an image, channel by channel: the gradient of a bias, into `out[start..]`.
pub(crate) fn channels(sums: &Picture, out: &CubeTensor, start: usize) {
    let parts = parts_of(sums.pixels());
    let all = empty(&sums.values, Shape::from([parts, sums.channels]), DType::F32);
    let cubes = CubeCount::Static(parts as u32, (sums.channels / CHANNELS) as u32, 1);
    // SAFETY: loops end at the image's last pixel.
    unsafe {
        channel_sums::launch_unchecked(
            &sums.values.client,
            cubes,
            CubeDim::new_1d(UNITS),
            sums.lanes(),
            arg(&sums.values),
            arg(&all),
            sums.pixels(),
            parts,
            sums.groups(),
            CHANNELS / sums.lanes(),
            sums.element(),
        );
    }
    total(&all, parts, sums.channels, out, Target { start, few: 1, strides: [0, 0, 1] });
}

/// Products of an image with a thin one, in f32, moved by each tap and added up over all pixels. `turned` moves the other way.
pub(crate) fn products(
    image: &Picture,
    thin: &CubeTensor,
    Thin { side, few, .. }: Thin,
    turned: bool,
    out: &CubeTensor,
    target: Target,
) {
    let (parts, rows) = (parts_of(image.pixels()), side * side * few);
    let all = empty(&image.values, Shape::from([parts, rows, image.channels]), DType::F32);
    let cubes = CubeCount::Static(parts as u32, (image.channels / CHANNELS) as u32, side as u32);
    // SAFETY: loops end at the image's last pixel.
    unsafe {
        thin_products::launch_unchecked(
            &image.values.client,
            cubes,
            CubeDim::new_1d(UNITS),
            image.lanes(),
            arg(&image.values),
            arg(thin),
            arg(&all),
            image.height,
            image.width,
            image.pixels(),
            parts,
            image.groups(),
            CHANNELS / image.lanes(),
            side,
            few,
            turned,
            image.element(),
        );
    }
    total(&all, parts, rows * image.channels, out, target.of(image.channels));
}

/// Adds up logits' gradients `[batch, height, width]`, each of two by two apart if `few` is 4: the gradient of the last bias.
pub(crate) fn logits(
    gradient: &CubeTensor,
    [pixels, width]: [usize; 2],
    few: usize,
    out: &CubeTensor,
    start: usize,
) {
    let parts = parts_of(pixels);
    let all = empty(gradient, Shape::from([parts, few]), DType::F32);
    // SAFETY: loops end at the last pixel.
    unsafe {
        logit_sums::launch_unchecked(
            &gradient.client,
            CubeCount::Static(parts as u32, few as u32, 1),
            CubeDim::new_1d(UNITS),
            arg(gradient),
            arg(&all),
            pixels / few,
            width / if few == 4 { 2 } else { 1 },
            parts,
            few,
        );
    }
    total(&all, parts, few, out, Target { start, few: 1, strides: [0, 0, 1] });
}

impl Target {
    fn of(self, columns: usize) -> TotalOf {
        TotalOf { target: self, columns }
    }
}

struct TotalOf {
    target: Target,
    columns: usize,
}

impl From<Target> for TotalOf {
    /// A table of one row.
    fn from(target: Target) -> Self {
        Self { target, columns: usize::MAX >> 1 }
    }
}

fn total(
    all: &CubeTensor,
    parts: usize,
    count: usize,
    out: &CubeTensor,
    target: impl Into<TotalOf>,
) {
    let TotalOf { target: Target { start, few, strides: [tap, of, channel] }, columns } =
        target.into();
    // SAFETY: units beyond the table end at once.
    unsafe {
        totals::launch_unchecked(
            &all.client,
            cubes_of(count),
            CubeDim::new_1d(UNITS),
            arg(all),
            arg(out),
            count,
            parts,
            columns.min(count),
            few,
            start,
            tap,
            of,
            channel,
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
}

/// Adds up the splits of a convolution's weight gradient, into `out[start..]` as `[to, tap, from]`.
pub(crate) fn splits(all: &CubeTensor, blocks: Blocks, out: &CubeTensor, start: usize) {
    let Blocks { splits, to, from, first, runs, channels } = blocks;
    let count = to * from * TAPS * BLOCK * BLOCK;
    // SAFETY: units beyond the blocks end at once.
    unsafe {
        split_totals::launch_unchecked(
            &all.client,
            cubes_of(count),
            CubeDim::new_1d(UNITS),
            arg(all),
            arg(out),
            count,
            splits,
            from,
            first,
            runs[0],
            runs[1],
            runs[2],
            channels[0],
            channels[1],
            start,
        );
    }
}

const TAPS: usize = 9;
/// Side of a block of channels.
const BLOCK: usize = 64;

/// Adds up what the units of a cube have that are `groups` apart; the first `groups` units have the sums.
#[cube]
fn across_units<N: Size>(
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

#[cube(launch_unchecked)]
fn channel_sums<F: Float, N: Size>(
    image: &[Vector<F, N>],
    out: &mut [Vector<f32, N>],
    pixels: usize,
    parts: usize,
    groups: usize,
    #[comptime] own_groups: usize,
    #[define(F)] _element: ElemType,
) {
    let mut all = Shared::<[Vector<f32, N>]>::new_slice(comptime!(UNITS as usize));
    let unit = UNIT_POS as usize;
    let group = CUBE_POS_Y as usize * own_groups + unit % own_groups;
    let lanes = comptime!(UNITS as usize / own_groups);
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut pixel = CUBE_POS_X as usize * lanes + unit / own_groups;
    while pixel < pixels {
        sum += Vector::<f32, N>::cast_from(image[pixel * groups + group]);
        pixel += parts * lanes;
    }
    let total = across_units(sum, &mut all, own_groups);
    if unit < own_groups {
        out[CUBE_POS_X as usize * groups + group] = total;
    }
}

/// A cube has 32 channels, a row of the kernel, and a part of the pixels.
#[cube(launch_unchecked)]
fn thin_products<F: Float, N: Size>(
    image: &[Vector<F, N>],
    thin: &[f32],
    out: &mut [Vector<f32, N>],
    height: usize,
    width: usize,
    pixels: usize,
    parts: usize,
    groups: usize,
    #[comptime] own_groups: usize,
    #[comptime] side: usize,
    #[comptime] few: usize,
    #[comptime] turned: bool,
    #[define(F)] _element: ElemType,
) {
    let mut all = Shared::<[Vector<f32, N>]>::new_slice(comptime!(UNITS as usize));
    let unit = UNIT_POS as usize;
    let group = CUBE_POS_Y as usize * own_groups + unit % own_groups;
    let lanes = comptime!(UNITS as usize / own_groups);
    let tap_row = CUBE_POS_Z as usize;
    let mut sums = Array::<Vector<f32, N>>::new(comptime!(side * few));
    #[unroll]
    for i in 0..comptime!(side * few) {
        sums[i] = Vector::new(0.0);
    }
    let mut pixel = CUBE_POS_X as usize * lanes + unit / own_groups;
    while pixel < pixels {
        let x = pixel % width;
        let line = pixel / width;
        let value = Vector::<f32, N>::cast_from(image[pixel * groups + group]);
        let row = if comptime!(turned) { side - 1 - tap_row } else { tap_row };
        #[unroll]
        for i in 0..comptime!(side * few) {
            let column = comptime!(if turned { side - 1 - i / few } else { i / few });
            let other = thin_value(
                thin,
                line / height,
                line % height,
                x,
                row,
                column,
                comptime!(i % few),
                height,
                width,
                side,
                few,
            );
            sums[i] += value * Vector::new(other);
        }
        pixel += parts * lanes;
    }
    #[unroll]
    for i in 0..comptime!(side * few) {
        let total = across_units(sums[i], &mut all, own_groups);
        if unit < own_groups {
            let row = (CUBE_POS_X as usize * side + tap_row) * side * few + i;
            out[row * groups + group] = total;
        }
    }
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
fn totals(
    all: &[f32],
    out: &mut [f32],
    count: usize,
    parts: usize,
    columns: usize,
    few: usize,
    start: usize,
    tap_stride: usize,
    few_stride: usize,
    channel_stride: usize,
) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= count {
        terminate!();
    }
    let mut sum = f32::new(0.0);
    for part in 0..parts {
        sum += all[part * count + unit];
    }
    let row = unit / columns;
    let to = row / few * tap_stride + row % few * few_stride + unit % columns * channel_stride;
    out[start + to] = sum;
}

#[cube(launch_unchecked)]
fn split_totals(
    all: &[f32],
    out: &mut [f32],
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
) {
    let unit = ABSOLUTE_POS_X as usize;
    if unit >= count {
        terminate!();
    }
    let column = unit % BLOCK;
    let row = unit / BLOCK % BLOCK;
    let tap = unit / (BLOCK * BLOCK) % TAPS;
    let block = unit / (BLOCK * BLOCK * TAPS);
    let from_block = block % from_blocks;
    let second = from_block >= first_blocks;
    let run = select(second, second_run, first_run);
    let own = select(second, from_block - first_blocks, from_block);
    let before = select(second, first_channels, 0);
    let (to, to_inside) = channel(block / from_blocks, row, to_run);
    let (from, from_inside) = channel(own, column, run);
    if to_inside && from_inside {
        let mut sum = f32::new(0.0);
        for split in 0..splits {
            sum += all[split * count + unit];
        }
        out[start + (to * TAPS + tap) * channels + before + from] = sum;
    }
}

/// The channel that a place of a block is, and whether there is one: blocks fill each run of channels from its beginning.
#[cube]
fn channel(block: usize, place: usize, run: usize) -> (usize, bool) {
    let blocks = (run + BLOCK - 1) / BLOCK;
    let at = block % blocks * BLOCK + place;
    (block / blocks * run + at, at < run)
}
