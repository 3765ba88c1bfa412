//! The test that a device has to pass: a product and a convolution, compared with the CPU.
//!
//! Drivers can be half installed, and wrong results from fused or tuned kernels have been reported;
//! better to find out in a second than in a mask.

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_compare::largest_difference;

use super::guard::guarded;

/// Largest difference allowed: TF32 keeps 10 bits, and the values are of order 1.
const TOLERANCE: f64 = 2e-2;

/// Tests a device.
pub(super) fn test(device: &Device) -> Result<(), String> {
    let device = device.clone();
    // A driver mostly reads and loads kernels meanwhile.
    let (found, expected) = std::thread::scope(|scope| {
        let expected = scope.spawn(|| compute(&Device::flex()));
        (guarded(move || compute(&device)), expected.join())
    });
    let expected = expected.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    agree(&found??, &expected?)
}

/// Whether results are the CPU's.
fn agree(found: &[f32], expected: &[f32]) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!("it gave {} results instead of {}", found.len(), expected.len()));
    }
    let off = largest_difference(found, expected);
    match off <= TOLERANCE {
        true => Ok(()),
        false if off.is_nan() => Err("its results are not numbers".into()),
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

    #[test]
    fn a_device_that_returns_nothing_but_nan_fails() {
        let expected = compute(&Device::flex()).expect("the CPU computes");
        let nans = vec![f32::NAN; expected.len()];
        assert_eq!(agree(&nans, &expected), Err("its results are not numbers".into()));
        let mut one = expected.clone();
        one[5] = f32::NAN;
        assert!(agree(&one, &expected).is_err());
        one[5] = expected[5] + 0.5;
        assert!(agree(&one, &expected).is_err_and(|reason| reason.contains("by 0.5")));
        assert!(agree(&expected[1..], &expected).is_err());
    }
}
