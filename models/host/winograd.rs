//! The convolution of the CPU: 3×3 by Winograd's F(4×4, 3×3), with a quarter of the products.
//!
//! A tile of 6×6 pixels becomes 36 other numbers, `V = Bᵀ d B`. Those are multiplied, channel by channel, with the 36 numbers of each kernel,
//! `U = G g Gᵀ`, and of the sums `Aᵀ M A` makes 4×4 pixels. For each of the 36, tiles by input channels and input by output channels are
//! two matrices, and their product is all the work there is. A band of tiles goes through three stages, on all threads that are free:
//!
//! ```text
//! image ── Bᵀ d B ──► V [eight tiles, 36, tile, from] ── U ──► M [36, tile, to] ── Aᵀ M A, bias, ReLU ──► image
//! ```
//!
//! Channels lie side by side, so that a transformation works on sixteen of them at once. Folded, joined and unfolded images are read and
//! written in place, and nothing but a band is ever written down.
//!
//! Source: Lavin, Gray: "Fast algorithms for convolutional neural networks", CVPR 2016.

#[cfg(test)]
mod tests;
mod transforms;

use std::array;
use std::ops::Range;
use std::sync::Mutex;

use lithoburn_processor::{Processor, Vectors, Work};
use rayon::prelude::*;

use self::transforms::{POINTS, TILE, transform_kernels, transform_pixels, transform_sums};
use super::numbers::{LANES, Lanes, Numbers};
use super::picture::{BORDER, Picture};
use super::product::{ROWS, Rows};

/// Tiles of a band: their numbers stay in a core's own cache, and the weights are read once for all of them.
const TILES: usize = 32;

/// What a convolution reads: an image, maybe folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) picture: usize,
    pub(super) folded: bool,
    /// Channels that lie side by side: a pixel's, or two pixels'.
    pub(super) run: usize,
}

impl Input {
    /// Pixels of the image for one that the convolution sees, along a side.
    fn fold(&self) -> usize {
        if self.folded { 2 } else { 1 }
    }

    /// The first pixel that a tile reads, one above and to the left of those that it makes; of a folded pixel, this row.
    fn start(&self, picture: &Picture, tile: [usize; 2], dy: usize) -> usize {
        let fold = self.fold();
        let [row, column] = tile.map(|tile| tile * TILE * fold + BORDER - fold);
        (row + dy) * picture.line() + column * picture.channels
    }
}

/// A part of sixteen channels that lie side by side in the output.
#[derive(Clone, Copy, Debug)]
struct Segment {
    from: usize,
    length: usize,
    /// Which of an unfolded pixel's two rows.
    dy: usize,
    /// Its place in that row.
    at: usize,
}

/// What a convolution writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// Whether it is unfolded.
    pub(super) unfolded: bool,
    pub(super) relu: bool,
}

/// A convolution with its weights.
#[derive(Debug)]
pub(super) struct Convolution {
    processor: Processor,
    inputs: Vec<Input>,
    /// Input channels.
    from: usize,
    /// `[36, from, columns]` for two vectors of output channels each, or for one.
    weights: Vec<Numbers>,
    bias: Vec<Lanes>,
    /// For each vector of output channels.
    segments: Vec<Vec<Segment>>,
    /// Rows of the output for one of pixels: two if it is unfolded.
    unfold: usize,
    /// Numbers of an output pixel that lie side by side.
    run: usize,
    /// The least that it writes.
    floor: f32,
}

impl Convolution {
    /// One of weights `weight(to, from, row, column)`.
    pub(super) fn new(
        processor: Processor,
        inputs: Vec<Input>,
        bias: &[f32],
        output: Output,
        weight: impl Fn(usize, usize, usize, usize) -> f32 + Sync,
    ) -> Self {
        let channels = bias.len();
        let (unfold, run) = if output.unfolded { (2, channels / 2) } else { (1, channels) };
        let from = inputs.iter().map(|input| input.fold() * input.run).sum();
        let wide = if processor.is_wide() { 2 * LANES } else { LANES };
        let panels: Vec<_> = (0..channels).step_by(wide).collect();
        let panels = panels.into_par_iter().map(|first| {
            let to = first..channels.min(first + wide);
            panel(to, from, &weight)
        });
        let part = |at: usize| segments(at..channels.min(at + LANES), run);
        let lanes = |part: &[f32]| array::from_fn(|i| part.get(i).copied().unwrap_or_default());
        Self {
            processor,
            inputs,
            from,
            weights: panels.collect(),
            bias: bias.chunks(LANES).map(lanes).collect(),
            segments: (0..channels).step_by(LANES).map(part).collect(),
            unfold,
            run,
            floor: if output.relu { 0.0 } else { f32::NEG_INFINITY },
        }
    }

    /// Convolves.
    pub(super) fn run(&self, pictures: &[Picture], made: &mut Picture, spare: &Spare) {
        let [height, width] = [made.height, made.width].map(|side| side / self.unfold);
        let (across, line) = (width.div_ceil(TILE), made.line());
        let tall = TILES.div_ceil(across).min(height.div_ceil(TILE));
        let bands = made.rows_mut().par_chunks_mut(tall * TILE * self.unfold * line).enumerate();
        bands.for_each(|(number, to)| {
            let rows = (to.len() / line / self.unfold).div_ceil(TILE);
            let band = Band { convolution: self, first: number * tall, rows, across, width, line };
            spare.lend(|scratch| band.run(pictures, scratch, to));
        });
    }

    /// Numbers from one tile's to the next one's. No power of two, so that eight tiles do not meet in a cache.
    fn pitch(&self) -> usize {
        self.from.next_multiple_of(LANES) + LANES
    }

    /// Output channels with those that fill the last vector.
    fn to(&self) -> usize {
        self.bias.len() * LANES
    }
}

/// Memory of a band.
#[derive(Debug, Default)]
struct Scratch {
    seen: Numbers,
    sums: Numbers,
}

/// Memory of bands that are done.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Scratch>>);

impl Spare {
    fn lend(&self, work: impl FnOnce(&mut Scratch)) {
        let scratch = self.0.lock().ok().and_then(|mut spare| spare.pop());
        let mut scratch = scratch.unwrap_or_default();
        work(&mut scratch);
        if let Ok(mut spare) = self.0.lock() {
            spare.push(scratch);
        }
    }
}

/// Some rows of tiles.
#[derive(Clone, Copy)]
struct Band<'a> {
    convolution: &'a Convolution,
    /// The first row of tiles.
    first: usize,
    rows: usize,
    /// Tiles of a row.
    across: usize,
    /// Pixels of a row.
    width: usize,
    /// Numbers of a row of the output.
    line: usize,
}

impl Band<'_> {
    fn run(self, pictures: &[Picture], scratch: &mut Scratch, to: &mut [f32]) {
        let Convolution { processor, unfold, .. } = self.convolution;
        let (block, apart) = (self.block(), self.apart());
        let seen = scratch.seen.first(self.tiles().div_ceil(ROWS) * block);
        seen.par_chunks_mut(block).enumerate().for_each(|(number, to)| {
            processor.compute(Pixels { band: self, pictures, number, to });
        });
        let sums = scratch.sums.first(POINTS * apart);
        sums.par_chunks_mut(apart).enumerate().for_each(|(point, to)| {
            processor.compute(Products { band: self, point, seen, to });
        });
        to.par_chunks_mut(TILE * unfold * self.line).enumerate().for_each(|(row, to)| {
            processor.compute(Sums { band: self, row, sums, to });
        });
    }

    fn tiles(&self) -> usize {
        self.rows * self.across
    }

    /// Numbers of eight transformed tiles.
    fn block(&self) -> usize {
        POINTS * ROWS * self.convolution.pitch()
    }

    /// Numbers from one of the 36 sums to the next one.
    fn apart(&self) -> usize {
        self.tiles().next_multiple_of(ROWS) * self.convolution.to() + LANES
    }
}

/// Eight tiles, from pixels to the 36 numbers of each channel.
struct Pixels<'a> {
    band: Band<'a>,
    pictures: &'a [Picture],
    number: usize,
    to: &'a mut [f32],
}

impl Work for Pixels<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const WIDE: bool>(self, _: impl Vectors) {
        let Self { band, pictures, number, to } = self;
        let pitch = band.convolution.pitch();
        let tiles = number * ROWS..band.tiles().min((number + 1) * ROWS);
        let mut points = [[0.0; LANES]; POINTS];
        for (own, tile) in tiles.enumerate() {
            let tile = [band.first + tile / band.across, tile % band.across];
            let mut first = own * pitch;
            for input in &band.convolution.inputs {
                let (picture, fold) = (&pictures[input.picture], input.fold());
                let steps = [fold * picture.line(), input.run];
                for dy in 0..fold {
                    let pixels = &picture.data[input.start(picture, tile, dy)..];
                    for channel in (0..input.run).step_by(LANES) {
                        transform_pixels::<FUSED>(&pixels[channel..], steps, &mut points);
                        // Of a last vector some numbers are others' channels: those are written next, or not read.
                        let to = to[first + channel..].chunks_mut(ROWS * pitch);
                        for (to, point) in to.zip(&points) {
                            to[..LANES].copy_from_slice(point);
                        }
                    }
                    first += input.run;
                }
            }
        }
    }
}

/// The products of one of the 36 numbers.
struct Products<'a> {
    band: Band<'a>,
    point: usize,
    seen: &'a [f32],
    to: &'a mut [f32],
}

impl Work for Products<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const WIDE: bool>(self, vectors: impl Vectors) {
        let Self { band, point, seen, to } = self;
        let (pitch, wide) = (band.convolution.pitch(), band.convolution.to());
        let mut first = 0;
        for weights in &band.convolution.weights {
            let size = weights.len() / POINTS;
            let columns = size / band.convolution.from;
            let weights = &weights[point * size..(point + 1) * size];
            let blocks = seen.chunks_exact(band.block()).zip(to.chunks_exact_mut(ROWS * wide));
            for (seen, to) in blocks {
                let (values, to) = (&seen[point * ROWS * pitch..], &mut to[first..]);
                let rows = Rows { values, pitch };
                match columns {
                    LANES => rows.by_one::<WIDE>(vectors, weights, to, wide),
                    _ => rows.by_two(vectors, weights, to, wide),
                }
            }
            first += columns;
        }
    }
}

/// A row of tiles, from sums to pixels.
struct Sums<'a> {
    band: Band<'a>,
    row: usize,
    sums: &'a [f32],
    to: &'a mut [f32],
}

impl Work for Sums<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const WIDE: bool>(self, _: impl Vectors) {
        let Self { band, row, sums, to } = self;
        let Convolution { bias, segments, floor, .. } = band.convolution;
        let mut pixels = [[0.0; LANES]; TILE * TILE];
        for x in 0..band.across {
            let sums = &sums[(row * band.across + x) * band.convolution.to()..];
            for (vector, (bias, segments)) in bias.iter().zip(segments).enumerate() {
                let sums = &sums[vector * LANES..];
                transform_sums::<FUSED>(sums, band.apart(), (bias, *floor), &mut pixels);
                band.write(&pixels, segments, x, to);
            }
        }
    }
}

impl Band<'_> {
    /// Writes sixteen channels of a tile's pixels, those that are within the image.
    #[inline(always)]
    fn write(&self, pixels: &[Lanes], segments: &[Segment], x: usize, to: &mut [f32]) {
        let Convolution { run, unfold, .. } = self.convolution;
        let edge = BORDER * run / unfold;
        let width = TILE.min(self.width - x * TILE);
        let rows = to.chunks_exact_mut(unfold * self.line).zip(pixels.chunks_exact(TILE));
        for (to, pixels) in rows {
            for (dx, pixel) in pixels[..width].iter().enumerate() {
                let at = edge + (x * TILE + dx) * run;
                for &Segment { from, length, dy, at: own } in segments {
                    let to = &mut to[at + dy * self.line + own..];
                    match length {
                        LANES => to[..LANES].copy_from_slice(pixel),
                        _ => to[..length].copy_from_slice(&pixel[from..from + length]),
                    }
                }
            }
        }
    }
}

/// The weights of some output channels, `[36, from, columns]`; columns are whole vectors.
fn panel(
    to: Range<usize>,
    from: usize,
    weight: impl Fn(usize, usize, usize, usize) -> f32,
) -> Numbers {
    let columns = to.len().next_multiple_of(LANES);
    let mut panel = Numbers::new(POINTS * from * columns);
    let mut points = [[0.0; LANES]; POINTS];
    for (k, first) in (0..from).flat_map(|k| to.clone().step_by(LANES).map(move |to| (k, to))) {
        let value = |tap: usize, own: usize| match first + own {
            channel if channel < to.end => weight(channel, k, tap / 3, tap % 3),
            _ => 0.0,
        };
        let g: [Lanes; 9] = array::from_fn(|tap| array::from_fn(|i| value(tap, i)));
        transform_kernels(&g, &mut points);
        let at = k * columns + first - to.start;
        for (to, point) in panel[at..].chunks_mut(from * columns).zip(&points) {
            to[..LANES].copy_from_slice(point);
        }
    }
    panel
}

/// Parts of some channels that are side by side, of an output with `run` channels side by side.
fn segments(channels: Range<usize>, run: usize) -> Vec<Segment> {
    let (mut parts, mut at) = (Vec::new(), channels.start);
    while at < channels.end {
        let end = channels.end.min((at / run + 1) * run);
        let from = at - channels.start;
        parts.push(Segment { from, length: end - at, dy: at / run, at: at % run });
        at = end;
    }
    parts
}
