//! The test that a device has to pass: a product and a convolution, compared with the CPU.
//!
//! Drivers can be half installed, and wrong results from fused or tuned kernels have been reported;
//! better to find out in a second than in a mask.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};

/// Longest that a device may take; cold compilation of the test's kernels is a few seconds.
const PATIENCE: Duration = Duration::from_secs(180);
/// Largest difference allowed: TF32 keeps 10 bits, and the values are of order 1.
const TOLERANCE: f32 = 2e-2;
/// Panics are silent while this is set: a device that fails its test is an answer, not a bug.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Installs a panic hook that is silent during smoke tests.
fn install_hook() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.load(Ordering::Relaxed) {
                usual(info);
            }
        }));
    });
}

/// Runs something that may panic or hang in a foreign library; says why it failed.
pub(crate) fn guarded<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    install_hook();
    QUIET.store(true, Ordering::Relaxed);
    let (sender, receiver) = mpsc::channel();
    let run = move || {
        let result = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| reason(panic.as_ref()));
        // Nobody listens any more if this took too long.
        let _ = sender.send(result);
    };
    let spawned = std::thread::Builder::new().name("device-test".into()).spawn(run);
    let result = match spawned {
        Ok(_) => receiver
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs()))),
        Err(error) => Err(format!("no thread could be started: {error}")),
    };
    QUIET.store(false, Ordering::Relaxed);
    result
}

/// The first line of a panic's message.
fn reason(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown reason");
    text.lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or(text)
        .trim()
        .chars()
        .take(160)
        .collect()
}

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

    #[test]
    fn a_panic_becomes_a_reason() {
        let result: Result<(), String> = guarded(|| panic!("no driver\nand more"));
        assert_eq!(result, Err("no driver".to_string()));
    }
}
