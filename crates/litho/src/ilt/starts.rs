//! Other starts of a descent: where it ends depends on where it begins, and which end is best shows only there.
//!
//! A start is the first one with smooth noise on its parameters: the same noise for every clip, whatever the batch, so that a
//! mask does not depend on its company.

use burn::tensor::{Device, Tensor, TensorData};

/// Standard deviation of the noise, in parameters: the mask's edge is at one half, the dark at none.
const STRENGTH: f32 = 0.2;
/// Side of the boxes that the noise is smoothed by, twice, in nm: features of the coarsest level are as large.
const GRAIN_NM: f64 = 40.0;

/// What another start adds to the parameters of the first, `[1, n, n]`: nothing at number 0.
pub(super) fn noise(number: usize, n: usize, pixel_nm: f64, device: &Device) -> Option<Tensor<3>> {
    (number > 0).then(|| {
        let reach = (GRAIN_NM / pixel_nm / 2.0).floor() as usize;
        Tensor::from_data(TensorData::new(smooth(number, n, reach), [1, n, n]), device)
    })
}

/// Numbers of mean 0 and of the strength, smooth over boxes of `2 reach + 1` pixels.
fn smooth(number: usize, n: usize, reach: usize) -> Vec<f32> {
    let mut state = number as u64;
    let rough: Vec<f32> = (0..n * n).map(|_| random(&mut state)).collect();
    let twice = along_rows(&along_rows(&rough, n, reach), n, reach);
    let both = along_rows(&along_rows(&turned(&twice, n), n, reach), n, reach);
    let square: f64 = both.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    let scale = STRENGTH / (square / both.len().max(1) as f64).sqrt() as f32;
    both.iter().map(|v| v * scale).collect()
}

/// A number from −1/2 to 1/2 (SplitMix64).
fn random(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ mixed >> 31) >> 40) as f32 / (1 << 24) as f32 - 0.5
}

/// Sums over neighbours along rows, round the ends: the field repeats.
fn along_rows(image: &[f32], n: usize, reach: usize) -> Vec<f32> {
    let sum = |row: &[f32], x: usize| -> f32 {
        (0..=2 * reach).map(|i| row[(x + n * (reach / n + 1) + i - reach) % n]).sum()
    };
    image.chunks(n).flat_map(|row| (0..n).map(move |x| sum(row, x))).collect()
}

fn turned(image: &[f32], n: usize) -> Vec<f32> {
    (0..n * n).map(|i| image[i % n * n + i / n]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rough noise has no like neighbours; noise of this strength moves edges and turns nothing over.
    #[test]
    fn noise_is_smooth_of_its_strength_and_another_for_each_start() {
        let (n, reach) = (64, 2);
        let fields: Vec<Vec<f32>> = (1..4).map(|number| smooth(number, n, reach)).collect();
        let product = |a: &[f32], b: &[f32]| -> f32 {
            a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>()
                / (STRENGTH * STRENGTH * (n * n) as f32)
        };
        for (i, field) in fields.iter().enumerate() {
            assert!((product(field, field) - 1.0).abs() < 1e-3);
            let beside = [&field[1..], &field[..1]].concat();
            assert!(product(field, &beside) > 0.7, "{}", product(field, &beside));
            let others = fields[..i].iter();
            assert!(others.clone().all(|other| product(field, other).abs() < 0.2));
            assert_eq!(*field, smooth(i + 1, n, reach));
        }
        assert!(noise(0, n, 8.0, &Device::flex()).is_none());
    }
}
