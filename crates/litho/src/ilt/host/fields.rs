//! From a mask's waves to intensities at coarse points, and back: the sum over kernels.

use rayon::prelude::*;

use super::waves::{Waves, folded, quarters_mut, unfold};
use crate::Simulator;
use crate::images::values;

/// A complex number.
type Complex = [f32; 2];

/// Kernels of both foci, and the coarse points of a field.
pub(super) struct Fields {
    /// Times the root of their weights, `[2 * count, side, side]`, row frequency first.
    kernels: Vec<Complex>,
    side: usize,
    /// Kernels of one focus.
    count: usize,
    pub(super) points: Waves,
}

/// What an exposure leaves for its way back.
#[derive(Default)]
pub(super) struct Exposed {
    /// `[C, 2 * count, 2, C]`: row, kernel, real and imaginary part, column.
    fields: Vec<f32>,
}

impl Fields {
    pub(super) fn new(simulator: &Simulator) -> Self {
        let [_, kernels, side, _] = simulator.kernels.re.dims();
        let [re, im] = [&simulator.kernels.re, &simulator.kernels.im].map(|k| values(k.clone()));
        // A row has its numbers twice.
        let at = |i: usize| i / side * 2 * side + i % side;
        let kernels_of = |i: usize| [re[at(i)], im[at(i)]];
        let points = Waves::new(simulator.coarse, side / 2, |_| 1.0);
        let all = (0..kernels * side * side).map(kernels_of).collect();
        Self { kernels: all, side, count: kernels / 2, points }
    }

    /// Numbers in a row of all kernels' fields.
    fn row(&self) -> usize {
        4 * self.count * self.points.n
    }

    /// Intensities in focus and out of it, `[2, C, C]`, from the mask's sums with waves, `[side, side]`.
    pub(super) fn intensities(&self, sums: &[f32], exposed: &mut Exposed) -> Vec<f32> {
        let (side, n, row) = (self.side, self.points.n, self.row());
        let spectrum = self.spectrum(&|i, j| [sums[i * side + j], 0.0]);
        // Waves along y, kernel, part, waves along x.
        let mut heights = vec![0.0; side * 4 * self.count * side];
        let passed: Vec<Vec<Complex>> =
            (0..2 * self.count).into_par_iter().map(|k| self.heights(k, &spectrum)).collect();
        for (k, passed) in passed.iter().enumerate() {
            for (at, value) in passed.iter().enumerate() {
                let (i, j) = (at / side, at % side);
                for part in [0, 1] {
                    heights[((i * 2 * self.count + k) * 2 + part) * side + j] = value[part];
                }
            }
        }
        let mut along_x = vec![0.0; side * row];
        self.points.rows_of_waves(&heights, &mut along_x);
        let mut parts = vec![0.0; n * row];
        self.points.columns_of_waves(&along_x, &mut parts);
        exposed.fields.resize(n * row, 0.0);
        quarters_mut(&mut exposed.fields, row)
            .zip(parts.par_chunks(4 * row))
            .for_each(|(rows, parts)| unfold(parts, rows));
        let mut intensities = vec![0.0; 2 * n * n];
        let (best, defocus) = intensities.split_at_mut(n * n);
        exposed
            .fields
            .par_chunks(row)
            .zip(best.par_chunks_mut(n).zip(defocus.par_chunks_mut(n)))
            .for_each(|(fields, (best, defocus))| {
                let (first, second) = fields.split_at(row / 2);
                power(first, best);
                power(second, defocus);
            });
        intensities
    }

    /// The gradient of the mask's heights, `[side, side]`, from that of the intensities, `[2, C, C]`: of waves along y and x
    /// that sum to the mask's gradient.
    pub(super) fn pull_back(&self, gradient: &[f32], exposed: &mut Exposed) -> Vec<f32> {
        let (side, n, row) = (self.side, self.points.n, self.row());
        let (best, defocus) = gradient.split_at(n * n);
        exposed
            .fields
            .par_chunks_mut(row)
            .zip(best.par_chunks(n).zip(defocus.par_chunks(n)))
            .for_each(|(fields, (best, defocus))| {
                let (first, second) = fields.split_at_mut(row / 2);
                weigh(first, best);
                weigh(second, defocus);
            });
        let mut parts = vec![0.0; n * row];
        folded(&exposed.fields, row, &mut parts);
        let mut along_y = vec![0.0; side * row];
        self.points.along_columns(&parts, &mut along_y);
        let mut sums = vec![0.0; side * 4 * self.count * side];
        self.points.along_rows(&along_y, &mut sums);
        let of_kernel = |k: usize| -> Vec<Complex> {
            let at = |i: usize, j: usize, part: usize| {
                sums[((i * 2 * self.count + k) * 2 + part) * side + j]
            };
            let own = self.spectrum(&|i, j| [at(i, j, 0), at(i, j, 1)]);
            let kernel = &self.kernels[k * side * side..][..side * side];
            own.iter().zip(kernel).map(|(&g, &h)| times(g, [h[0], -h[1]])).collect()
        };
        let all: Vec<Vec<Complex>> = (0..2 * self.count).into_par_iter().map(of_kernel).collect();
        let mut total = vec![[0.0; 2]; side * side];
        for own in &all {
            total.iter_mut().zip(own).for_each(|(sum, v)| *sum = [sum[0] + v[0], sum[1] + v[1]]);
        }
        self.in_waves(&total).iter().map(|v| v[0]).collect()
    }

    /// A kernel's field as waves: what it lets pass of the mask's spectrum.
    fn heights(&self, k: usize, spectrum: &[Complex]) -> Vec<Complex> {
        let kernel = &self.kernels[k * self.side * self.side..][..self.side * self.side];
        let passed: Vec<Complex> =
            spectrum.iter().zip(kernel).map(|(&s, &h)| times(s, h)).collect();
        self.in_waves(&passed)
    }

    /// Amplitudes of exp(−i(uy + vx)), `[side, side]`, from sums with cosines and sines.
    fn spectrum(&self, sums: &dyn Fn(usize, usize) -> Complex) -> Vec<Complex> {
        let waves = &self.points;
        let mut spectrum = Vec::with_capacity(self.side * self.side);
        for u in waves.frequencies() {
            let (cy, sy, up) = waves.rows(u);
            for v in waves.frequencies() {
                let (cx, sx, right) = waves.rows(v);
                let sum = |i: Option<usize>, j: Option<usize>, sign: f32| match (i, j) {
                    (Some(i), Some(j)) => sums(i, j).map(|v| v * sign),
                    _ => [0.0; 2],
                };
                let even = [sum(Some(cy), Some(cx), 1.0), sum(sy, sx, -up * right)];
                let odd = [sum(sy, Some(cx), up), sum(Some(cy), sx, right)];
                let [re, im] = [0, 1].map(|part| even[0][part] + even[1][part]);
                let [odd_re, odd_im] = [0, 1].map(|part| odd[0][part] + odd[1][part]);
                // Less i times the odd part.
                spectrum.push([re + odd_im, im - odd_re]);
            }
        }
        spectrum
    }

    /// Heights of cosines and sines, `[side, side]`, whose sum is that of exp(i(uy + vx)) with these amplitudes.
    fn in_waves(&self, amplitudes: &[Complex]) -> Vec<Complex> {
        let (waves, side) = (&self.points, self.side);
        let mut heights = vec![[0.0; 2]; side * side];
        let mut add = |i: Option<usize>, j: Option<usize>, sign: f32, value: Complex| {
            if let (Some(i), Some(j)) = (i, j) {
                let height = &mut heights[i * side + j];
                *height = [height[0] + sign * value[0], height[1] + sign * value[1]];
            }
        };
        let mut amplitudes = amplitudes.iter();
        for u in waves.frequencies() {
            let (cy, sy, up) = waves.rows(u);
            for (v, &amplitude) in waves.frequencies().zip(amplitudes.by_ref().take(side)) {
                let (cx, sx, right) = waves.rows(v);
                let turned = [-amplitude[1], amplitude[0]];
                add(Some(cy), Some(cx), 1.0, amplitude);
                add(sy, sx, -up * right, amplitude);
                add(sy, Some(cx), up, turned);
                add(Some(cy), sx, right, turned);
            }
        }
        heights
    }
}

fn times(a: Complex, b: Complex) -> Complex {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

/// Adds the squares of a row's fields.
fn power(fields: &[f32], intensity: &mut [f32]) {
    for field in fields.chunks_exact(intensity.len()) {
        intensity.iter_mut().zip(field).for_each(|(sum, v)| *sum += v * v);
    }
}

/// Makes fields the gradient by them: twice the field times that of its intensity.
fn weigh(fields: &mut [f32], gradient: &[f32]) {
    for field in fields.chunks_exact_mut(gradient.len()) {
        field.iter_mut().zip(gradient).for_each(|(v, g)| *v *= 2.0 * g);
    }
}
