//! Process corners: the doses and foci that a mask has to survive.

use serde::{Deserialize, Serialize};

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
}
