//! Images of the CPU: f32, channels last, with a border of zeros that convolutions may read.

use lithoburn_processor::{Processor, Vectors, Work};
use rayon::prelude::*;

use super::numbers::{LANES, Numbers};

/// Pixels of the border: one folded pixel.
pub(super) const BORDER: usize = 2;
/// What stored sides are multiples of: a tile of folded pixels.
const WHOLE: usize = 8;

/// An image `[height + 2 BORDER, width + 2 BORDER, channels]`.
#[derive(Debug, Default)]
pub(super) struct Picture {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) data: Numbers,
}

impl Picture {
    pub(super) fn new(height: usize, width: usize, channels: usize) -> Self {
        let [tall, wide] = [height, width].map(|side| side.next_multiple_of(WHOLE) + 2 * BORDER);
        // A last vector of channels may reach beyond the image.
        let data = Numbers::new(tall * wide * channels + LANES);
        Self { height, width, channels, data }
    }

    /// Numbers of a row with its borders.
    pub(super) fn line(&self) -> usize {
        (self.width.next_multiple_of(WHOLE) + 2 * BORDER) * self.channels
    }

    /// Rows within the border, each with its own border to the left and right.
    pub(super) fn rows_mut(&mut self) -> &mut [f32] {
        let (line, height) = (self.line(), self.height);
        &mut self.data[BORDER * line..(BORDER + height) * line]
    }

    /// Rows of pixels without their border.
    pub(super) fn pixels_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let (line, edge) = (self.line(), BORDER * self.channels);
        let end = edge + self.width * self.channels;
        self.rows_mut().chunks_exact_mut(line).map(move |row| &mut row[edge..end])
    }

    /// A row's pixels.
    fn row(&self, y: usize) -> &[f32] {
        let start = (y + BORDER) * self.line() + BORDER * self.channels;
        &self.data[start..start + self.width * self.channels]
    }

    /// Takes an image of one channel.
    pub(super) fn fill(&mut self, pixels: &[f32]) {
        let (line, width) = (self.line(), self.width);
        for (row, from) in self.rows_mut().chunks_exact_mut(line).zip(pixels.chunks_exact(width)) {
            row[BORDER..BORDER + width].copy_from_slice(from);
        }
    }

    /// Gives an image of one channel.
    pub(super) fn copy_to(&self, pixels: &mut [f32]) {
        for (y, row) in pixels.chunks_exact_mut(self.width).enumerate() {
            row.copy_from_slice(self.row(y));
        }
    }

    /// Works on all rows of pixels at once: `work(y, row)`.
    fn each_row(&mut self, work: impl Fn(usize, &mut [f32]) + Sync) {
        let (line, edge) = (self.line(), BORDER * self.channels);
        let end = edge + self.width * self.channels;
        let rows = self.rows_mut().par_chunks_exact_mut(line).enumerate();
        rows.for_each(|(y, row)| work(y, &mut row[edge..end]));
    }

    /// The largest of each two by two pixels of an image twice as large.
    pub(super) fn pool(&mut self, from: &Self) {
        let channels = self.channels;
        self.each_row(|y, to| {
            let rows = [0, 1].map(|dy| from.row(2 * y + dy));
            Processor::here().compute(Pooled { rows, channels, to });
        });
    }

    /// An image half as large, bilinear with aligned corners (see [`crate::resample`]).
    pub(super) fn double(&mut self, from: &Self) {
        let channels = self.channels;
        self.each_row(|y, to| {
            let (near, far, share) = mix(y, from.height);
            let rows = [from.row(near), from.row(far)];
            Processor::here().compute(Doubled { rows, share, channels, to });
        });
    }

    /// A 1×1 convolution to one channel: its weights, then its bias.
    pub(super) fn project(&mut self, from: &Self, weights: &[f32]) {
        self.each_row(|y, to| {
            Processor::here().compute(Projected { row: from.row(y), weights, to })
        });
    }
}

/// A row of the largest of two by two pixels.
struct Pooled<'a> {
    rows: [&'a [f32]; 2],
    channels: usize,
    to: &'a mut [f32],
}

impl Work for Pooled<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const WIDE: bool>(self, _: impl Vectors) {
        let Self { rows: [upper, lower], channels, to } = self;
        let pairs = upper.chunks_exact(2 * channels).zip(lower.chunks_exact(2 * channels));
        for (to, (upper, lower)) in to.chunks_exact_mut(channels).zip(pairs) {
            let ((a, b), (c, d)) = (upper.split_at(channels), lower.split_at(channels));
            let seen = a.iter().zip(b).zip(c.iter().zip(d));
            for (to, ((&a, &b), (&c, &d))) in to.iter_mut().zip(seen) {
                *to = larger(larger(a, b), larger(c, d));
            }
        }
    }
}

/// A row of an image that is doubled, between two of its own.
struct Doubled<'a> {
    rows: [&'a [f32]; 2],
    share: f32,
    channels: usize,
    to: &'a mut [f32],
}

impl Work for Doubled<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const WIDE: bool>(self, _: impl Vectors) {
        let Self { rows: [near, far], share, channels, to } = self;
        let width = near.len() / channels;
        for (x, to) in to.chunks_exact_mut(channels).enumerate() {
            let (left, right, across) = mix(x, width);
            let pixel = |x: usize| x * channels..(x + 1) * channels;
            let near = near[pixel(left)].iter().zip(&near[pixel(right)]);
            let far = far[pixel(left)].iter().zip(&far[pixel(right)]);
            for (to, ((a, b), (c, d))) in to.iter_mut().zip(near.zip(far)) {
                let (own, other) = (a + (b - a) * across, c + (d - c) * across);
                *to = own + (other - own) * share;
            }
        }
    }
}

/// A row of a 1×1 convolution to one channel.
struct Projected<'a> {
    row: &'a [f32],
    weights: &'a [f32],
    to: &'a mut [f32],
}

impl Work for Projected<'_> {
    /// Sixteen sums side by side, which are added in pairs.
    #[inline(always)]
    fn run<const FUSED: bool, const WIDE: bool>(self, _: impl Vectors) {
        let Self { row, weights, to } = self;
        let channels = weights.len() - 1;
        for (to, pixel) in to.iter_mut().zip(row.chunks_exact(channels)) {
            let mut sums = [0.0; LANES];
            for (pixel, weights) in pixel.chunks(LANES).zip(weights.chunks(LANES)) {
                let products = pixel.iter().zip(weights).map(|(a, b)| a * b);
                sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
            }
            for half in [8, 4, 2, 1] {
                for i in 0..half {
                    sums[i] += sums[i + half];
                }
            }
            *to = sums[0] + weights[channels];
        }
    }
}

/// Output `i` of a doubling of `n` pixels: its pixel, the neighbour it leans to, and by how much.
fn mix(i: usize, n: usize) -> (usize, usize, f32) {
    let (own, last) = (i / 2, (2 * n - 1) as f32);
    match i % 2 {
        0 => (own, own.saturating_sub(1), own as f32 / last),
        _ => (own, (own + 1).min(n - 1), (n - 1 - own) as f32 / last),
    }
}

/// The larger of two numbers; what is none stays none.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}
