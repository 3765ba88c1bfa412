//! Cosines and sines on the pixels of a period, and products with them at a quarter of the work.
//!
//! Pixels act at their middles, so between pixels q, n/2 − 1 − q, n/2 + q and n − 1 − q a wave differs by its sign alone, which
//! depends on its class: cosine or sine, even or odd frequency. Sums of four rows with those signs are therefore all that a
//! class sees of an image, and a product over a quarter of the rows does. A Walsh-Hadamard matrix of order four leads there
//! and, since it is symmetric, back.

use std::f64::consts::PI;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use lithoburn_processor::{Processor, Vectors, Work};
use rayon::prelude::*;

/// Classes of waves: even cosines, odd cosines, odd sines, even sines.
const CLASSES: usize = 4;

/// Waves of all frequencies up to a highest one, class after class, at `n` places.
pub(super) struct Waves {
    pub(super) n: usize,
    highest: usize,
    /// Where each class begins, and where the last one ends.
    starts: [usize; CLASSES + 1],
    /// `[count, n]`.
    values: Vec<f32>,
}

impl Waves {
    /// Waves with an amplitude for each frequency. `n` is a multiple of four.
    pub(super) fn new(n: usize, highest: usize, amplitude: impl Fn(usize) -> f64) -> Self {
        let (even, odd) = (highest / 2, highest.div_ceil(2));
        let ends = [even + 1, even + 1 + odd, even + 1 + 2 * odd, 2 * highest + 1];
        let starts = [0, ends[0], ends[1], ends[2], ends[3]];
        let mut waves = Self { n, highest, starts, values: vec![0.0; ends[3] * n] };
        for f in 0..=highest {
            let phase = |x: usize| 2.0 * PI * f as f64 * (x as f64 + 0.5) / n as f64;
            let (cosine, sine) = (waves.cosine(f), waves.sine(f));
            for x in 0..n {
                waves.values[cosine * n + x] = (amplitude(f) * phase(x).cos()) as f32;
                if let Some(sine) = sine {
                    waves.values[sine * n + x] = (amplitude(f) * phase(x).sin()) as f32;
                }
            }
        }
        waves
    }

    /// Number of waves.
    pub(super) fn count(&self) -> usize {
        self.starts[CLASSES]
    }

    /// The row of a cosine.
    pub(super) fn cosine(&self, f: usize) -> usize {
        self.starts[f % 2] + f / 2
    }

    /// The row of a sine; frequency 0 has none.
    pub(super) fn sine(&self, f: usize) -> Option<usize> {
        let start = if f.is_multiple_of(2) { self.starts[3] } else { self.starts[2] };
        (f > 0).then(|| start + (f - 1) / 2)
    }

    /// The rows of frequency `f` in −highest..=highest, and the sine's sign.
    pub(super) fn rows(&self, f: isize) -> (usize, Option<usize>, f32) {
        let size = f.unsigned_abs();
        (self.cosine(size), self.sine(size), f.signum() as f32)
    }

    /// Frequencies from −highest to highest.
    pub(super) fn frequencies(&self) -> impl Iterator<Item = isize> + use<> {
        -(self.highest as isize)..=self.highest as isize
    }

    fn all(&self) -> MatRef<'_, f32> {
        MatRef::from_row_major_slice(&self.values, self.count(), self.n)
    }

    /// A class's waves at the first quarter of the places.
    fn class(&self, class: usize) -> MatRef<'_, f32> {
        let rows = self.starts[class + 1] - self.starts[class];
        self.all().submatrix(self.starts[class], 0, rows, self.n / 4)
    }

    /// Sums over each row's places: `[rows, n]` to `[rows, count]`.
    pub(super) fn along_rows(&self, image: &[f32], sums: &mut [f32]) {
        let rows = image.len() / self.n;
        let image = MatRef::from_row_major_slice(image, rows, self.n);
        let sums = MatMut::from_row_major_slice_mut(sums, rows, self.count());
        matmul(sums, Accum::Replace, image, self.all().transpose(), 1.0, Par::rayon(0));
    }

    /// Rows of waves: `[rows, count]` to `[rows, n]`.
    pub(super) fn rows_of_waves(&self, heights: &[f32], image: &mut [f32]) {
        let rows = heights.len() / self.count();
        let heights = MatRef::from_row_major_slice(heights, rows, self.count());
        let image = MatMut::from_row_major_slice_mut(image, rows, self.n);
        matmul(image, Accum::Replace, heights, self.all(), 1.0, Par::rayon(0));
    }

    /// Sums over each column's places, of an image that is [`folded`]: `[n / 4, 4, width]` to `[count, width]`.
    pub(super) fn along_columns(&self, folded: &[f32], sums: &mut [f32]) {
        let width = folded.len() / self.n;
        let folded = MatRef::from_row_major_slice(folded, self.n / 4, CLASSES * width);
        let mut rest = sums;
        for class in 0..CLASSES {
            let waves = self.class(class);
            let (own, others) = rest.split_at_mut(waves.nrows() * width);
            rest = others;
            let own = MatMut::from_row_major_slice_mut(own, waves.nrows(), width);
            let of_class = folded.subcols(class * width, width);
            matmul(own, Accum::Replace, waves, of_class, 1.0, Par::rayon(0));
        }
    }

    /// Columns of waves, still to be [`unfold`]ed: `[count, width]` to `[n / 4, 4, width]`.
    pub(super) fn columns_of_waves(&self, heights: &[f32], folded: &mut [f32]) {
        let width = heights.len() / self.count();
        let heights = MatRef::from_row_major_slice(heights, self.count(), width);
        let mut folded = MatMut::from_row_major_slice_mut(folded, self.n / 4, CLASSES * width);
        for class in 0..CLASSES {
            let waves = self.class(class);
            let own = heights.subrows(self.starts[class], waves.nrows());
            let of_class = folded.as_mut().subcols_mut(class * width, width);
            matmul(of_class, Accum::Replace, waves.transpose(), own, 1.0, Par::rayon(0));
        }
    }
}

/// Rows q, n/2 − 1 − q, n/2 + q and n − 1 − q of an image, for each q in its first quarter.
pub(super) fn quarters(
    image: &[f32],
    width: usize,
) -> impl IndexedParallelIterator<Item = [&[f32]; 4]> {
    let (top, bottom) = image.split_at(image.len() / 2);
    let (a, b) = top.split_at(top.len() / 2);
    let (c, d) = bottom.split_at(bottom.len() / 2);
    let first = a.par_chunks(width).zip(b.par_chunks(width).rev());
    let second = c.par_chunks(width).zip(d.par_chunks(width).rev());
    first.zip(second).map(|((a, b), (c, d))| [a, b, c, d])
}

/// As [`quarters`], to write to.
pub(super) fn quarters_mut(
    image: &mut [f32],
    width: usize,
) -> impl IndexedParallelIterator<Item = [&mut [f32]; 4]> {
    let (top, bottom) = image.split_at_mut(image.len() / 2);
    let (a, b) = top.split_at_mut(top.len() / 2);
    let (c, d) = bottom.split_at_mut(bottom.len() / 2);
    let first = a.par_chunks_mut(width).zip(b.par_chunks_mut(width).rev());
    let second = c.par_chunks_mut(width).zip(d.par_chunks_mut(width).rev());
    first.zip(second).map(|((a, b), (c, d))| [a, b, c, d])
}

/// The classes' sums of four rows, one after the other, from rows in the order of [`quarters`].
pub(super) fn fold(rows: [&[f32]; 4], folded: &mut [f32]) {
    Processor::here().compute(Fold { rows, folded });
}

struct Fold<'a> {
    rows: [&'a [f32]; 4],
    folded: &'a mut [f32],
}

impl Work for Fold<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const WIDE: bool>(self, _: impl Vectors) {
        let width = self.folded.len() / CLASSES;
        // All of one length, so that nothing is checked inside.
        let [a, b, c, d] = self.rows.map(|row| &row[..width]);
        let (even, odd) = self.folded.split_at_mut(2 * width);
        let (even_cosines, odd_cosines) = even.split_at_mut(width);
        let (odd_sines, even_sines) = odd.split_at_mut(width);
        let even_sines = &mut even_sines[..width];
        for x in 0..width {
            let ([outer, inner], [outer_odd, inner_odd]) =
                ([a[x] + d[x], b[x] + c[x]], [a[x] - d[x], b[x] - c[x]]);
            even_cosines[x] = outer + inner;
            odd_cosines[x] = outer - inner;
            odd_sines[x] = outer_odd + inner_odd;
            even_sines[x] = outer_odd - inner_odd;
        }
    }
}

/// Four rows in the order of [`quarters`] from the classes' parts.
pub(super) fn unfold(folded: &[f32], rows: [&mut [f32]; 4]) {
    Processor::here().compute(Unfold { folded, rows });
}

struct Unfold<'a> {
    folded: &'a [f32],
    rows: [&'a mut [f32]; 4],
}

impl Work for Unfold<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const WIDE: bool>(self, _: impl Vectors) {
        let width = self.folded.len() / CLASSES;
        let [a, b, c, d] = self.rows.map(|row| &mut row[..width]);
        let (even, odd) = self.folded.split_at(2 * width);
        let (even_cosines, odd_cosines) = even.split_at(width);
        let (odd_sines, even_sines) = odd.split_at(width);
        let even_sines = &even_sines[..width];
        for x in 0..width {
            let (outer, inner) =
                (even_cosines[x] + odd_cosines[x], even_cosines[x] - odd_cosines[x]);
            let (outer_odd, inner_odd) =
                (odd_sines[x] + even_sines[x], odd_sines[x] - even_sines[x]);
            a[x] = outer + outer_odd;
            b[x] = inner + inner_odd;
            c[x] = inner - inner_odd;
            d[x] = outer - outer_odd;
        }
    }
}

/// An image's [`fold`]: `[n, width]` to `[n / 4, 4, width]`.
pub(super) fn folded(image: &[f32], width: usize, folded: &mut [f32]) {
    let rows = quarters(image, width).zip(folded.par_chunks_mut(CLASSES * width));
    rows.with_min_len(8).for_each(|(rows, folded)| fold(rows, folded));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums over all places are the second implementation.
    #[test]
    fn a_quarter_of_the_places_is_enough() {
        let (n, width, highest) = (24, 5, 7);
        let waves = Waves::new(n, highest, |f| 1.0 / (1.0 + f as f64));
        let image: Vec<f32> = (0..n * width).map(|i| ((i * 7) % 13) as f32).collect();
        let (mut parts, mut sums) = (vec![0.0; n * width], vec![0.0; waves.count() * width]);
        folded(&image, width, &mut parts);
        waves.along_columns(&parts, &mut sums);
        for f in 0..=highest {
            for x in 0..width {
                let sum = |wave: &dyn Fn(f64) -> f64| -> f64 {
                    let phase = |y: usize| 2.0 * PI * f as f64 * (y as f64 + 0.5) / n as f64;
                    let values = (0..n).map(|y| f64::from(image[y * width + x]) * wave(phase(y)));
                    values.sum::<f64>() / (1.0 + f as f64)
                };
                let near = |row: usize, expected: f64| {
                    let found = f64::from(sums[row * width + x]);
                    assert!((found - expected).abs() < 1e-4, "{found} vs {expected} at {f}");
                };
                near(waves.cosine(f), sum(&f64::cos));
                if let Some(row) = waves.sine(f) {
                    near(row, sum(&f64::sin));
                }
            }
        }
        // The way back is the adjoint: <A x, y> = <x, Aᵀ y>.
        let heights: Vec<f32> = (0..sums.len()).map(|i| ((i * 5) % 11) as f32).collect();
        waves.columns_of_waves(&heights, &mut parts);
        let mut back = vec![0.0; n * width];
        let rows = quarters_mut(&mut back, width).zip(parts.par_chunks(4 * width));
        rows.for_each(|(rows, parts)| unfold(parts, rows));
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let (one, other) = (dot(&sums, &heights), dot(&image, &back));
        assert!((one - other).abs() < 1e-5 * one.abs(), "{one} vs {other}");
    }
}
