//! Resist: how an aerial image becomes a printed pattern.
//!
//! The resist prints what is bright enough. Where gradients must pass, the step is a sigmoid.
//!
//! Source: ICCAD 2013 contest, problem C; constants as in OpenILT's `lithosimple.txt`.

use burn::tensor::{Tensor, activation::sigmoid};
use serde::{Deserialize, Serialize};

use crate::PackedImages;

/// Threshold resist.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resist {
    /// Intensity at which the pattern prints, relative to the clear field.
    pub threshold: f64,
    /// Slope of the sigmoid; a hard threshold is its limit at infinity.
    pub steepness: f64,
}

impl Default for Resist {
    fn default() -> Self {
        Self { threshold: 0.225, steepness: 50.0 }
    }
}

impl Resist {
    /// Develops softly: near 1 where the pattern prints, near 0 elsewhere.
    ///
    /// `image` is an aerial image times the dose; it and the output are `[batch, height, width]`.
    pub fn develop(&self, image: Tensor<3>) -> Tensor<3> {
        sigmoid((image - self.threshold) * self.steepness)
    }

    /// Which pixels of an aerial image of `side` pixels a row print.
    pub fn print(&self, aerial: &[f32], side: usize, dose: f64) -> PackedImages {
        PackedImages::at_least(aerial, side, (self.threshold / dose) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use std::f64::consts::PI;

    /// Two beams, I = (1 + cos 2πx/p) / 2, exceed t over acos(2t − 1) / π of each period.
    #[test]
    fn a_two_beam_grating_prints_its_closed_form_line_width() {
        const PERIOD: usize = 64; // px
        let phase = |x: usize| 2.0 * PI * (x as f64 + 0.5) / PERIOD as f64;
        let row: Vec<f32> =
            (0..4 * PERIOD).map(|x| ((1.0 + phase(x).cos()) / 2.0) as f32).collect();
        let aerial = Tensor::<1>::from_floats(row.as_slice(), &Device::flex()).reshape([1, 1, -1]);
        for dose in [0.9, 1.0, 1.1] {
            let printed = Resist::default().develop(aerial.clone() * dose).greater_elem(0.5);
            let soft: f32 = printed.float().mean().into_scalar();
            let hard = Resist::default().print(&row, row.len(), dose).words;
            let hard = hard.iter().map(|word| word.count_ones()).sum::<u32>();
            let hard = f64::from(hard) / row.len() as f64;
            let expected = (2.0 * 0.225 / dose - 1.0).acos() / PI;
            // One pixel of the period.
            assert!(
                (f64::from(soft) - expected).abs() < 1.0 / PERIOD as f64,
                "{soft} vs {expected}"
            );
            assert!((hard - expected).abs() < 1.0 / PERIOD as f64, "{hard} vs {expected}");
        }
    }
}
