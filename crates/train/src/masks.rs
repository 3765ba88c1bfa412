//! Masks as a descent meets them: targets, masks on their way, hard ones, grey ones, and what noise makes of them.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_layout::generate::ClipRules;
use lithoburn_litho::forward::ThinMask;
use lithoburn_litho::ilt::{Ilt, IltConfig, Start};
use lithoburn_litho::{KernelSet, LithoError, ProcessWindow, Simulator};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::field_clip;

/// Pixels of a descended mask on a side.
pub(crate) const FINE: usize = 256;
/// Pixels of a mask that is learned from: its spectrum is all that matters, and this holds it.
pub(crate) const COARSE: usize = FINE / 2;
/// Lengths of the descents that masks are taken from.
const DESCENTS: [usize; 4] = [6, 15, 30, 60];
/// Clips of a batch.
const BATCH: usize = 8;
/// Share of the field that the descent leaves free.
const FREE: f64 = 0.875;

/// Targets and what short descents made of them, pixel by pixel.
#[derive(Clone, Debug)]
pub(crate) struct MaskPool {
    pairs: Arc<Vec<[Vec<f32>; 2]>>,
}

impl MaskPool {
    /// Descends on `count` generated clips, through the thin-mask simulator.
    pub(crate) fn new(
        rules: &ClipRules,
        seed: u64,
        count: usize,
        kernels: &KernelSet,
        device: &Device,
    ) -> Result<Self, LithoError> {
        let simulator = Simulator::new(kernels, device);
        let optics = ThinMask::new(simulator, ProcessWindow::default());
        let pixel_nm = kernels.period_nm / FINE as f64;
        let mut pairs = Vec::new();
        for (number, first) in (0..count).step_by(BATCH).enumerate() {
            let indices: Vec<usize> = (first..count.min(first + BATCH)).collect();
            let field = kernels.period_nm;
            let clip = |&i: &usize| field_clip(rules, seed, i as u64, field, pixel_nm).shares();
            let clips: Vec<Vec<f32>> = indices.par_iter().map(clip).collect();
            let data = TensorData::new(clips.concat(), [clips.len(), FINE, FINE]);
            let mut config = IltConfig::default();
            config.levels.truncate(1);
            config.levels[0].pixel_nm = pixel_nm;
            config.levels[0].iterations = DESCENTS[number % DESCENTS.len()];
            let target = Tensor::from_data(data, device);
            let found = Ilt::new(&config, &optics).run(&target, &Start::Target, &mut |_| true)?;
            let mask = |bits: &[bool]| bits.iter().map(|&b| f32::from(u8::from(b))).collect();
            let pixels = found.masks.into_pixels()?;
            let masks = pixels.chunks_exact(FINE * FINE).map(mask);
            pairs.extend(clips.into_iter().zip(masks).map(|(clip, mask)| [clip, mask]));
        }
        Ok(Self { pairs: Arc::new(pairs) })
    }

    /// Mask number `index` of a seed's stream: `COARSE * COARSE` pixels in 0 to 1.
    pub(crate) fn mask(&self, seed: u64, index: u64) -> Vec<f32> {
        let number = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index);
        let mut rng = ChaCha8Rng::seed_from_u64(number);
        let [target, mask] = &self.pairs[rng.random_range(0..self.pairs.len())];
        // Parameters of a descent, between the target and where it was going …
        let toward = if rng.random_bool(0.4) { 1.0 } else { rng.random_range(0.0..1.0) };
        let scale = rng.random_range(0.5..1.3_f32);
        let mut image: Vec<f32> =
            target.iter().zip(mask).map(|(t, m)| scale * (t + toward * (m - t))).collect();
        // … off by something smooth …
        if rng.random_bool(0.5) {
            let (side, height) = (rng.random_range(1..=6) * 2 + 1, rng.random_range(0.0..0.5_f32));
            let noise = smooth_noise(side, &mut rng);
            image.iter_mut().zip(noise).for_each(|(p, noise)| *p += height * noise);
        }
        // … and the mask of them, grey or hard.
        let image = smoothed(&image, rng.random_range(0..3) * 2 + 1);
        let steepness = 4.0 * 2.0_f32.powf(rng.random_range(0.0..3.0));
        let hard = rng.random_bool(0.3);
        let opened = |p: f32| match hard {
            true => f32::from(u8::from(p >= 0.5)),
            false => 1.0 / (1.0 + (-steepness * (p - 0.5)).exp()),
        };
        let mut image: Vec<f32> = image.into_iter().map(opened).collect();
        if rng.random_bool(0.7) {
            let dark = ((1.0 - FREE) / 2.0 * FINE as f64) as usize;
            let free = |i: usize| (dark..FINE - dark).contains(&i);
            for (i, p) in image.iter_mut().enumerate() {
                *p *= f32::from(u8::from(free(i % FINE) && free(i / FINE)));
            }
        }
        placed(&image, &mut rng)
    }
}

/// A random place and attitude on the periodic field, on coarser pixels.
fn placed(image: &[f32], rng: &mut ChaCha8Rng) -> Vec<f32> {
    let [dx, dy] = [0, 1].map(|_| rng.random_range(0..FINE));
    let [mirror_x, mirror_y, transpose] = [0, 1, 2].map(|_| rng.random_bool(0.5));
    let at = |x: usize, y: usize| {
        let (x, y) = ((x + dx) % FINE, (y + dy) % FINE);
        let x = if mirror_x { FINE - 1 - x } else { x };
        let y = if mirror_y { FINE - 1 - y } else { y };
        if transpose { image[x * FINE + y] } else { image[y * FINE + x] }
    };
    let mean = |i: usize| {
        let (x, y) = (2 * (i % COARSE), 2 * (i / COARSE));
        (at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1)) / 4.0
    };
    (0..COARSE * COARSE).map(mean).collect()
}

/// Noise with features of about `side` pixels and a deviation of 1.
fn smooth_noise(side: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let white: Vec<f32> = (0..FINE * FINE).map(|_| rng.random_range(-1.0..1.0)).collect();
    let noise = smoothed(&smoothed(&white, side), side);
    let square = noise.iter().map(|v| v * v).sum::<f32>() / noise.len() as f32;
    let deviation = square.sqrt().max(1e-6);
    noise.into_iter().map(|v| v / deviation).collect()
}

/// Mean over a box of `side` pixels (odd), on the periodic field.
fn smoothed(image: &[f32], side: usize) -> Vec<f32> {
    let along = |image: &[f32]| -> Vec<f32> {
        // Rows become columns, so that twice is a box.
        let mean = |i: usize| {
            let (x, y) = (i / FINE, i % FINE);
            let row = &image[y * FINE..(y + 1) * FINE];
            let window = (0..side).map(|k| row[(x + FINE + k - side / 2) % FINE]);
            window.sum::<f32>() / side as f32
        };
        (0..FINE * FINE).map(mean).collect()
    };
    if side <= 1 { image.to_vec() } else { along(&along(image)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> MaskPool {
        let target: Vec<f32> = (0..FINE * FINE)
            .map(|i| f32::from(u8::from((100..120).contains(&(i % FINE)))))
            .collect();
        MaskPool { pairs: Arc::new(vec![[target.clone(), target]]) }
    }

    #[test]
    fn masks_are_in_range_repeat_with_their_number_and_differ_without() {
        let pool = pool();
        for index in 0..20 {
            let mask = pool.mask(7, index);
            assert_eq!(mask.len(), COARSE * COARSE);
            assert!(mask.iter().all(|v| (0.0..=1.0).contains(v)));
            assert_eq!(mask, pool.mask(7, index));
            assert_ne!(mask, pool.mask(7, index + 1));
        }
    }

    #[test]
    fn smoothing_is_the_mean_over_a_periodic_box() {
        let mut point = vec![0.0; FINE * FINE];
        point[3] = 9.0; // x = 3, y = 0
        let smooth = smoothed(&point, 3);
        let expected = |i: usize| {
            let (x, y) = (i % FINE, i / FINE);
            f32::from(u8::from((2..5).contains(&x) && (y <= 1 || y == FINE - 1)))
        };
        assert!((0..FINE * FINE).all(|i| (smooth[i] - expected(i)).abs() < 1e-6));
    }
}
