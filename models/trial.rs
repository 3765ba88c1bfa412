//! The trial of a device's kernels: two small images, whose logits the CPU has computed layer by layer.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::program::{Program, run};

/// Largest ‖difference‖ / ‖reference‖ of the trial's logits. Each step rounds to 8 bits; a wrong one is off by tens of per cent.
const TOLERANCE: f64 = 3e-2;
/// Characters of a reason that are shown.
const LONGEST_REASON: usize = 200;
/// Least side of the trial's images.
pub(crate) const TRIAL_SIDE: usize = 64;

/// What a device's kernels must find.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    stride: usize,
    expected: Vec<f32>,
}

impl Trial {
    /// Lets the CPU compute a network's logits.
    ///
    /// # Errors
    ///
    /// What the CPU says.
    pub(crate) fn of(program: &Program) -> Result<Self, String> {
        let host = Device::flex();
        let layers = program.placed(0..program.layers.len(), &host, DType::F32);
        let stride = program.stride;
        Ok(Self { stride, expected: read(run(&layers, images(stride, &host)))? })
    }

    /// The images, on a device.
    pub(crate) fn images(&self, device: &Device) -> Tensor<4> {
        images(self.stride, device)
    }

    /// Compares a device's logits with the CPU's. Not a number is a failure.
    pub(crate) fn passed(&self, logits: Tensor<4>) -> Result<(), String> {
        let off = distance(&read(logits)?, &self.expected);
        match off <= TOLERANCE {
            true => Ok(()),
            false => Err(format!("logits are off by {off:.1e} of their size")),
        }
    }
}

/// Small images of noise, two for a network of this stride.
pub(crate) fn images(stride: usize, device: &Device) -> Tensor<4> {
    let side = TRIAL_SIDE.next_multiple_of(stride);
    let values: Vec<f32> = (0..2 * side * side).map(noise).collect();
    Tensor::from_data(TensorData::new(values, [2, 1, side, side]), device)
}

/// Numbers of a device, or what it says.
fn read(logits: Tensor<4>) -> Result<Vec<f32>, String> {
    logits.try_into_vec_as::<f32>().map_err(|e| brief(&e.to_string()))
}

/// What a device's report comes to: the compiler's first error, or the last cause. Reports hold the whole text of a kernel.
pub(crate) fn brief(report: &str) -> String {
    let compiler = report.lines().find(|line| line.contains("error:"));
    let cause = || report.rsplit("Caused by:").next().and_then(|last| last.trim().lines().next());
    let line = compiler.or_else(cause).unwrap_or(report).trim();
    line.chars().take(LONGEST_REASON).collect()
}

/// Noise between 0 and 1, the same everywhere.
pub(crate) fn noise(i: usize) -> f32 {
    let z = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z >> 40) as f32 / (1_u32 << 24) as f32
}

/// ‖found − expected‖ / ‖expected‖.
pub(crate) fn distance(found: &[f32], expected: &[f32]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let square = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|v| f64::from(v).powi(2)).sum()
    };
    let off = square(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    (off / square(&mut expected.iter().copied())).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_however_long_the_devices_report() {
        let report = "An error happened\nCaused by:\n  [Compilation Error]\n    default_program(155): error: no such thing\n      text";
        assert_eq!(brief(report), "default_program(155): error: no such thing");
        let report =
            "An error happened\nCaused by:\n  A launch failed\nCaused by:\n  out of memory\n  more";
        assert_eq!(brief(report), "out of memory");
        assert_eq!(brief(&"x".repeat(900)).len(), LONGEST_REASON);
    }

    /// The CPU itself passes; another network's logits, logits that are no numbers, and too few of them do not.
    #[test]
    fn a_trial_is_passed_by_the_logits_of_the_cpu_alone() {
        let program =
            |seed| crate::NeuralIltConfig { width: 8, ..Default::default() }.random_program(seed);
        let trial = Trial::of(&program(1)).expect("the CPU");
        let host = Device::flex();
        let logits = |seed| {
            let layers = program(seed).placed(0..program(seed).layers.len(), &host, DType::F32);
            run(&layers, trial.images(&host))
        };
        assert_eq!(trial.passed(logits(1)), Ok(()));
        assert!(trial.passed(logits(2)).is_err());
        assert!(trial.passed(logits(1) * f32::NAN).is_err());
        assert!(trial.passed(logits(1).narrow(0, 0, 1)).is_err());
    }
}
