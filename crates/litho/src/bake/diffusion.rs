//! Diffusion over a step in time: exact on a periodic grid, and in depth between walls.

use std::f64::consts::PI;

use burn::tensor::{Device, Tensor};

use crate::images::matrix;

/// The products that a step of diffusion is.
#[derive(Clone, Debug)]
pub(super) struct Diffusion {
    /// Along a row, and along a column: symmetric. `[n, n]`; none without diffusion.
    across: Option<Tensor<2>>,
    /// Between planes: symmetric. `[planes, planes]`.
    depth: Option<Tensor<2>>,
}

impl Diffusion {
    /// Diffusion by a Gaussian of `sigma_px` on a periodic grid of `n` pixels, and of `sigma_planes` between
    /// `planes` planes.
    pub(super) fn new(
        sigma_px: f64,
        n: usize,
        sigma_planes: f64,
        planes: usize,
        device: &Device,
    ) -> Self {
        if sigma_px == 0.0 {
            return Self { across: None, depth: None };
        }
        let left = |f: usize| (-2.0 * (PI * f as f64 * sigma_px / n as f64).powi(2)).exp();
        let across = |i: usize, j: usize| {
            let phase = 2.0 * PI * (i as f64 - j as f64) / n as f64;
            // The frequency of half the grid stands alone, all others in pairs.
            let pairs: f64 =
                (1..n.div_ceil(2)).map(|f| 2.0 * left(f) * (phase * f as f64).cos()).sum();
            let last = if n.is_multiple_of(2) {
                left(n / 2) * (phase * (n / 2) as f64).cos()
            } else {
                0.0
            };
            (1.0 + pairs + last) / n as f64
        };
        // Eigenvectors of the Laplacian between walls are the cosines of the DCT-II.
        let wave = |k: usize, p: usize| (PI * k as f64 * (p as f64 + 0.5) / planes as f64).cos();
        let left = |k: usize| {
            let eigenvalue = 4.0 * (PI * k as f64 / (2 * planes) as f64).sin().powi(2);
            (-eigenvalue * sigma_planes * sigma_planes / 2.0).exp()
        };
        let depth = |p: usize, q: usize| {
            let waves = (1..planes).map(|k| 2.0 * left(k) * wave(k, p) * wave(k, q));
            (1.0 + waves.sum::<f64>()) / planes as f64
        };
        Self {
            across: Some(matrix(n, n, across, device)),
            depth: (planes > 1).then(|| matrix(planes, planes, depth, device)),
        }
    }

    /// `[planes, images, n, n]` a step later.
    pub(super) fn over_a_step(&self, x: Tensor<4>) -> Tensor<4> {
        let Some(across) = &self.across else { return x };
        let [planes, images, n, _] = x.dims();
        let along = |x: Tensor<2>| {
            let rows = x.matmul(across.clone()).reshape([planes * images, n, n]);
            rows.swap_dims(1, 2).reshape([planes * images * n, n])
        };
        let x = along(along(x.reshape([planes * images * n, n])));
        let x = match &self.depth {
            Some(depth) => depth.clone().matmul(x.reshape([planes, images * n * n])),
            None => x.reshape([planes, images * n * n]),
        };
        x.reshape([planes, images, n, n])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.try_into_vec_as::<f32>().expect("f32")
    }

    /// A Gaussian stays one, and its variances add up.
    #[test]
    fn a_gaussian_spreads_as_its_closed_form_says() {
        let (n, sigma, step) = (32, 2.5_f64, 1.5_f64);
        let gaussian = |i: usize, s: f64| {
            let r2 = [i % n, i / n].map(|v| (v as f64 - 15.0).powi(2)).iter().sum::<f64>();
            (-r2 / (2.0 * s * s)).exp() / (2.0 * PI * s * s)
        };
        let before: Vec<f32> = (0..n * n).map(|i| gaussian(i, sigma) as f32).collect();
        let device = Device::flex();
        let before = Tensor::<4>::from_data(TensorData::new(before, [1, 1, n, n]), &device);
        let after = values(Diffusion::new(step, n, 0.0, 1, &device).over_a_step(before));
        let wide = (sigma * sigma + step * step).sqrt();
        for (i, &a) in after.iter().enumerate() {
            // The Gaussian's tail beyond the period: 4e-8 of a peak of 0.02.
            assert!((f64::from(a) - gaussian(i, wide)).abs() < 1e-6, "{a} at {i}");
        }
    }

    /// Nothing passes the walls, and a wave between them decays as the discrete Laplacian has it.
    #[test]
    fn what_diffuses_is_conserved_and_waves_decay_in_depth() {
        let (n, planes, device) = (8, 5, Device::flex());
        let random: Vec<f32> =
            (0..planes * 2 * n * n).map(|i| ((i * i + 7 * i) % 13) as f32).collect();
        let x = Tensor::<4>::from_data(TensorData::new(random, [planes, 2, n, n]), &device);
        let diffusion = Diffusion::new(1.3, n, 0.8, planes, &device);
        let sum = |x: Tensor<4>| values(x).iter().map(|&v| f64::from(v)).sum::<f64>();
        let (before, after) = (sum(x.clone()), sum(diffusion.over_a_step(x)));
        assert!((before - after).abs() < 1e-5 * before, "{before} vs {after}");

        let wave = |p: usize| (PI * 2.0 * (p as f64 + 0.5) / planes as f64).cos();
        let x: Vec<f32> = (0..planes * n * n).map(|i| wave(i / (n * n)) as f32).collect();
        let x = Tensor::<4>::from_data(TensorData::new(x, [planes, 1, n, n]), &device);
        let after = values(diffusion.over_a_step(x));
        let rate: f64 = 2.0 - 2.0 * (2.0 * PI / planes as f64).cos();
        for p in 0..planes {
            let expected = wave(p) * (-rate * 0.32).exp();
            assert!((f64::from(after[p * n * n + 5]) - expected).abs() < 1e-6);
        }
    }
}
