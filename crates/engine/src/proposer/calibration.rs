//! Targets that a network's numbers in eight bits are calibrated by.

use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_layout::generate::ClipRules;
use lithoburn_layout::{Coverage, Frame, LayoutError};
use lithoburn_models::Program;

/// Generated clips: those of the first seeds.
const CLIPS: u64 = 8;
/// Side of their fields, in nm.
const FIELD_NM: f64 = 2048.0;

/// Generated clips on a network's pixels, `[8, 1, side, side]` on the CPU, the same in every process: fields of 2048 nm, or a little more where the
/// network's stride wants that.
///
/// # Errors
///
/// [`LayoutError::Grid`] if a field is no whole number of the network's pixels.
pub fn calibration_targets(program: &Program) -> Result<Tensor<4>, LayoutError> {
    let pixel_nm = program.head.pixel_nm;
    let side = ((FIELD_NM / pixel_nm).round() as usize).next_multiple_of(program.stride);
    let mut values = Vec::new();
    for seed in 0..CLIPS {
        let clip = ClipRules::default().clip(seed);
        let frame = Frame::centred(&clip, side as f64 * pixel_nm, pixel_nm)?;
        values.extend(clip.rasterize(&frame, Coverage::Exact).data);
    }
    let data = TensorData::new(values, [CLIPS as usize, 1, side, side]);
    Ok(Tensor::from_data(data, &Device::flex()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lithoburn_models::NeuralIltConfig;

    #[test]
    fn calibration_targets_are_patterns_and_the_same_each_time() {
        let program = NeuralIltConfig { width: 2, ..Default::default() }.random_program(1);
        let targets = || {
            let targets = calibration_targets(&program).expect("whole pixels");
            (targets.dims(), targets.try_into_vec_as::<f32>().expect("on the CPU"))
        };
        let (dims, values) = targets();
        assert_eq!(dims, [8, 1, 256, 256]);
        for target in values.chunks_exact(256 * 256) {
            let covered = target.iter().sum::<f32>() / (256.0 * 256.0);
            assert!((0.005..0.5).contains(&covered), "{covered}");
        }
        assert_eq!(values, targets().1);
    }
}
