//! Images of the CPU: f32, channels last, with a border of zeros that convolutions may read.

use rayon::prelude::*;

use super::processor::{LANES, Numbers};

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
        self.each_row(|y, row| {
            let [upper, lower] = [0, 1].map(|dy| from.row(2 * y + dy).chunks_exact(2 * channels));
            let pairs = upper.zip(lower);
            for (to, (upper, lower)) in row.chunks_exact_mut(channels).zip(pairs) {
                for (i, to) in to.iter_mut().enumerate() {
                    let side = |row: &[f32]| larger(row[i], row[i + channels]);
                    *to = larger(side(upper), side(lower));
                }
            }
        });
    }

    /// An image half as large, bilinear with aligned corners (see [`crate::resample`]).
    pub(super) fn double(&mut self, from: &Self) {
        let channels = self.channels;
        self.each_row(|y, row| {
            let (near, far, share) = mix(y, from.height);
            let (near, far) = (from.row(near), from.row(far));
            for (x, to) in row.chunks_exact_mut(channels).enumerate() {
                let (left, right, across) = mix(x, from.width);
                let pixel = |row: &[f32], x: usize, i: usize| row[x * channels + i];
                for (i, to) in to.iter_mut().enumerate() {
                    let side = |row| {
                        let own = pixel(row, left, i);
                        own + (pixel(row, right, i) - own) * across
                    };
                    let own = side(near);
                    *to = own + (side(far) - own) * share;
                }
            }
        });
    }

    /// A 1×1 convolution to one channel: its weights, then its bias.
    pub(super) fn project(&mut self, from: &Self, weights: &[f32]) {
        self.each_row(|y, row| {
            for (to, pixel) in row.iter_mut().zip(from.row(y).chunks_exact(from.channels)) {
                let products = pixel.iter().zip(weights).map(|(a, b)| a * b);
                *to = products.sum::<f32>() + weights[from.channels];
            }
        });
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
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}
