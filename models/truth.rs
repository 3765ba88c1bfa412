//! Which true model a surrogate was learned from.

use lithoburn_litho::bake::BakeConfig;
use lithoburn_litho::{Corner, KernelSet, Kernels, ProcessWindow};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A true forward model, by what distinguishes it from another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// SHA-256 of the optical kernels' numbers ([`kernels_sha256`]).
    pub kernels_sha256: String,
    /// Gaussian blur of the image, in nm.
    pub diffusion_nm: f64,
    /// The resist through its depth; none is the threshold resist, in which dose is a factor.
    pub bake: Option<BakeConfig>,
    /// The corners. They matter with a bake alone.
    pub window: ProcessWindow,
}

impl Truth {
    /// Whether a surrogate of this model is one of another.
    ///
    /// # Errors
    ///
    /// What differs, in words.
    pub fn is(&self, other: &Self) -> Result<(), String> {
        let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_string();
        if self.kernels_sha256 != other.kernels_sha256 {
            let (a, b) = (short(&self.kernels_sha256), short(&other.kernels_sha256));
            return Err(format!("it was trained for optical kernels {a}…, and these are {b}…"));
        }
        if (self.diffusion_nm - other.diffusion_nm).abs() > 1e-9 {
            let (a, b) = (self.diffusion_nm, other.diffusion_nm);
            return Err(format!("it was trained for a diffusion of {a} nm, not {b} nm"));
        }
        match (&self.bake, &other.bake) {
            (None, None) => Ok(()),
            (Some(a), Some(b)) => match a.difference(b) {
                None if same_corners(&self.window, &other.window) => Ok(()),
                None => Err("it was trained for other corners".into()),
                Some(name) => Err(format!("it was trained for a bake with another {name}")),
            },
            (Some(_), None) => Err("it was trained for a resist with a bake".into()),
            (None, Some(_)) => Err("it was trained for the threshold resist".into()),
        }
    }
}

/// Whether two sets of corners are the same, but for what a file rounds.
fn same_corners(a: &ProcessWindow, b: &ProcessWindow) -> bool {
    let same = |a: Corner, b: Corner| a.focus == b.focus && (a.dose - b.dose).abs() < 1e-9;
    same(a.nominal, b.nominal) && same(a.outer, b.outer) && same(a.inner, b.inner)
}

/// SHA-256 of a set's numbers: of its period and all kernels, whatever file they came in.
pub fn kernels_sha256(set: &KernelSet) -> String {
    let mut hash = Sha256::new();
    hash.update(set.period_nm.to_le_bytes());
    let mut add = |values: &[f32]| values.iter().for_each(|v| hash.update(v.to_le_bytes()));
    let each = |k: &Kernels| [k.scales.clone(), k.re.clone(), k.im.clone()];
    for values in each(&set.focus).iter().chain(&each(&set.defocus)) {
        add(values);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
