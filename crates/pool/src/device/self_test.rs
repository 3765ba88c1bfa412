//! The test that a device has to pass: a product and a convolution, compared with the CPU.
//!
//! Drivers can be half installed, and wrong results from fused or tuned kernels have been reported;
//! better to find out in a second than in a mask.

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};

use super::guard::guarded;

/// Largest difference allowed: TF32 keeps 10 bits, and the values are of order 1.
const TOLERANCE: f32 = 2e-2;
/// Tests a device.
pub(crate) fn test(device: &Device) -> Result<(), String> {
    let device = device.clone();
    let found = guarded(move || compute(&device))??;
    let expected = compute(&Device::flex())?;
    let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    match found.len() == expected.len() && off <= TOLERANCE {
        true => Ok(()),
        false => Err(format!("its results differ from the CPU's by {off:.3}")),
    }
}

/// A product and a convolution of fixed numbers.
fn compute(device: &Device) -> Result<Vec<f32>, String> {
    let wave = |n: usize, shape: &[usize]| {
        let values: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin() * 0.25).collect();
        TensorData::new(values, shape.to_vec())
    };
    let a = Tensor::<2>::from_data(wave(64 * 64, &[64, 64]), device);
    let product = a.clone().matmul(a).reshape([64 * 64]);
    let image = Tensor::<4>::from_data(wave(4 * 16 * 16, &[1, 4, 16, 16]), device);
    let weight = Tensor::<4>::from_data(wave(8 * 4 * 9, &[8, 4, 3, 3]), device);
    let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let convolved = conv2d(image, weight, None, options).reshape([8 * 16 * 16]);
    let both = Tensor::cat(vec![product, convolved], 0);
    both.try_into_vec_as::<f32>().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_passes() {
        assert_eq!(test(&Device::flex()), Ok(()));
    }
}
