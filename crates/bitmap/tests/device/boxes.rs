//! Boxes against plain loops.

use burn::tensor::TensorData;
use lithoburn_bitmap::{MOST_REACH, rounded, shrunk};
use lithoburn_compare::largest_difference;

use super::*;

/// Greys of blocks, by noise: corners everywhere, and shares of pixels.
fn greys(side: usize, block: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let across = side.div_ceil(block);
    let levels = [0.0, 0.0, 0.0, 0.25, 0.5, 1.0, 1.0, 1.0];
    let blocks: Vec<f32> =
        (0..across * across).map(|_| levels[rng.random_range(0..levels.len())]).collect();
    (0..side * side).map(|i| blocks[i / side / block * across + i % side / block]).collect()
}

/// The sum over a box along rows; twice with a transposition between is one along both.
fn along_rows(image: &[f64], n: usize, reach: usize) -> Vec<f64> {
    let sum = |i: usize| {
        let (row, x) = (i / n, i % n);
        let (from, to) = (x.saturating_sub(reach), (x + reach).min(n - 1));
        image[row * n + from..=row * n + to].iter().sum()
    };
    let summed: Vec<f64> = (0..n * n).map(sum).collect();
    (0..n * n).map(|i| summed[i % n * n + i / n]).collect()
}

fn on(images: &[Vec<f32>], side: usize, device: &Device) -> Tensor<3> {
    Tensor::from_data(TensorData::new(images.concat(), [images.len(), side, side]), device)
}

/// Reaches up to the most, sides that are no multiple of what a cube has, shapes across the borders.
#[test]
fn corners_are_rounded_as_three_boxes_round_them() {
    let Some(device) = device() else { return };
    for (side, reach) in [(96, 3), (160, 6), (320, MOST_REACH), (32, 1)] {
        let images = [greys(side, 17, 1), greys(side, 40, 2), vec![0.0; side * side]];
        let found = rounded(on(&images, side, &device), reach).try_into_vec_as::<f32>();
        let found = found.expect("f32");
        for (image, found) in images.iter().zip(found.chunks(side * side)) {
            let exact: Vec<f64> = image.iter().map(|&v| f64::from(v)).collect();
            let boxed = (0..6).fold(exact, |image, _| along_rows(&image, side, reach));
            let half = 0.5 * (2.0 * reach as f64 + 1.0).powi(6);
            for (sum, found) in boxed.iter().zip(found) {
                // Sums in f32 are off by parts of 10⁻⁶; what is as near to a half may be either.
                let either = (sum / half - 1.0).abs() < 1e-5;
                assert!(either || f64::from(*found) == f64::from(u8::from(*sum >= half)), "{side}");
            }
            let lit = found.iter().sum::<f32>();
            assert_eq!(lit > 0.0, image.iter().any(|&v| v > 0.0), "{side} px, reach {reach}");
        }
    }
}

#[test]
fn a_coarser_grid_has_the_means_of_blocks() {
    let Some(device) = device() else { return };
    for (side, factor) in [(96, 2), (96, 3), (256, 8), (32, 32), (64, 1)] {
        let images = [greys(side, 5, 3), greys(side, 1, 4)];
        let found = shrunk(on(&images, side, &device), factor);
        let small = side / factor;
        assert_eq!(found.dims(), [2, small, small]);
        let mean = |image: &[f32], i: usize| {
            let (y, x) = (i / small * factor, i % small * factor);
            let sum = |y: usize| image[y * side + x..][..factor].iter().sum::<f32>();
            (y..y + factor).map(sum).sum::<f32>() / (factor * factor) as f32
        };
        let expected: Vec<f32> = images
            .iter()
            .flat_map(|image| (0..small * small).map(move |i| mean(image, i)))
            .collect();
        let found = found.try_into_vec_as::<f32>().expect("f32");
        assert!(largest_difference(&found, &expected) <= 1e-6, "{side} px by {factor}");
    }
}
