//! Process corners: the doses and foci that a mask has to survive.

use std::ops::RangeInclusive;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{LithoError, Resist};

/// Which set of kernels an image is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Focus {
    /// In focus.
    Best,
    /// Out of focus.
    Defocus,
}

/// One condition of exposure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corner {
    /// Focus.
    pub focus: Focus,
    /// Factor on the *intensity*; 1 is nominal.
    pub dose: f64,
}

/// The conditions that the PV band spans.
///
/// OpenILT and its relatives scale the mask's amplitude by 1.02 and 0.98, so intensity goes by the
/// squares; that is the default here.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessWindow {
    /// What the mask is meant for.
    pub nominal: Corner,
    /// What prints most.
    pub outer: Corner,
    /// What prints least.
    pub inner: Corner,
}

impl Default for ProcessWindow {
    fn default() -> Self {
        Self {
            nominal: Corner { focus: Focus::Best, dose: 1.0 },
            outer: Corner { focus: Focus::Best, dose: 1.02 * 1.02 },
            inner: Corner { focus: Focus::Defocus, dose: 0.98 * 0.98 },
        }
    }
}

impl ProcessWindow {
    /// The corners with their names: nominal, outer, inner.
    pub fn corners(&self) -> [(&'static str, Corner); 3] {
        [("nominal", self.nominal), ("outer", self.outer), ("inner", self.inner)]
    }
}

/// What happens after the lens, and how much it may vary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// The corners that the PV band spans.
    pub window: ProcessWindow,
    /// Diffusion length of the resist's acid, in nm: the standard deviation of the Gaussian that the image is
    /// blurred with before the threshold. 0 is a resist without diffusion, the contest's.
    #[serde(default)]
    pub diffusion_nm: f64,
    /// What the resist prints.
    #[serde(default)]
    pub resist: Resist,
}

/// Doses that a corner can have: a tenth of the nominal one to ten times as much.
const DOSES: RangeInclusive<f64> = 0.1..=10.0;
/// Diffusion lengths, in nm: a longer one leaves no image.
const DIFFUSIONS_NM: RangeInclusive<f64> = 0.0..=200.0;
/// Thresholds of a resist, relative to the clear field.
const THRESHOLDS: RangeInclusive<f64> = 0.01..=0.99;
/// Slopes of a resist's sigmoid.
const STEEPNESSES: RangeInclusive<f64> = 1.0..=1e4;

impl Process {
    /// Checks that every number is one that a process can have.
    ///
    /// # Errors
    ///
    /// [`LithoError::Process`] that names the number, what it is and what was expected.
    pub fn check(&self) -> Result<(), LithoError> {
        let doses = self.window.corners().map(|(name, corner)| (name, corner.dose));
        let named = doses.map(|(name, dose)| (format!("the {name} dose"), dose, DOSES));
        let others = [
            ("the diffusion length in nm".to_string(), self.diffusion_nm, DIFFUSIONS_NM),
            ("the resist's threshold".to_string(), self.resist.threshold, THRESHOLDS),
            ("the resist's steepness".to_string(), self.resist.steepness, STEEPNESSES),
        ];
        let mut all = named.into_iter().chain(others);
        match all.find(|(_, value, range)| !range.contains(value)) {
            None => Ok(()),
            Some((name, value, range)) => {
                let (least, most) = (*range.start(), *range.end());
                Err(LithoError::Process { name, value, least, most })
            }
        }
    }
}

/// What the resist makes of the light at the three corners, on the scale of the threshold resist: a pattern
/// prints where an image is at least [`crate::Resist::threshold`], dose included. `[batch, n, n]` each.
#[derive(Clone, Debug)]
pub struct CornerImages {
    /// As the mask is meant to print.
    pub nominal: Tensor<3>,
    /// Where most prints.
    pub outer: Tensor<3>,
    /// Where least prints.
    pub inner: Tensor<3>,
}

impl CornerImages {
    /// The same for each image.
    #[must_use]
    pub fn map(self, f: impl Fn(Tensor<3>) -> Tensor<3>) -> Self {
        Self { nominal: f(self.nominal), outer: f(self.outer), inner: f(self.inner) }
    }

    /// Image by image with another set.
    #[must_use]
    pub fn zip(self, other: Self, f: impl Fn(Tensor<3>, Tensor<3>) -> Tensor<3>) -> Self {
        Self {
            nominal: f(self.nominal, other.nominal),
            outer: f(self.outer, other.outer),
            inner: f(self.inner, other.inner),
        }
    }

    /// Nominal, outer, inner.
    pub fn each(&self) -> [&Tensor<3>; 3] {
        [&self.nominal, &self.outer, &self.inner]
    }

    /// Mean square difference of each clip, over the three images: `[batch, 1, 1]`.
    pub fn mean_square_error(&self, other: &Self) -> Tensor<3> {
        let [a, b, c] = [0, 1, 2].map(|i| {
            let off = self.each()[i].clone() - other.each()[i].clone();
            (off.clone() * off).mean_dim(2).mean_dim(1)
        });
        (a + b + c) / 3.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each was accepted.
    #[test]
    fn numbers_that_no_process_has_are_named() {
        assert!(Process::default().check().is_ok());
        let problem = |change: &dyn Fn(&mut Process)| {
            let mut process = Process::default();
            change(&mut process);
            process.check().expect_err("refused").to_string()
        };
        let dose = problem(&|p| p.window.outer.dose = 1e30);
        assert!(dose.contains("outer dose") && dose.contains("0.1 to 10"), "{dose}");
        for diffusion in [1e9, -1.0, f64::NAN] {
            let text = problem(&|p| p.diffusion_nm = diffusion);
            assert!(text.contains("diffusion") && text.contains("0 to 200"), "{text}");
        }
        assert!(problem(&|p| p.resist.threshold = 0.0).contains("threshold"));
    }
}
