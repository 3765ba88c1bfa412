//! Sets of SOCS kernels: what the optics do to each frequency of the mask.
//!
//! File format: safetensors with `focus.re`, `focus.im` (`[count, side, side]`, f32, DC in the middle,
//! row frequency then column frequency), `focus.scales` (`[count]`), the same for `defocus`, and in the
//! metadata `period_nm` (2048 if absent) and `recipe` (JSON of [`Optics`], if the set
//! was made from one).

use std::collections::HashMap;
use std::path::Path;

use faer::c64;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::Optics;
use crate::{Focus, LithoError};

/// Period of sets that do not state one: the ICCAD 2013 contest's tile.
const CONTEST_PERIOD_NM: f64 = 2048.0;

/// How a set was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The optics.
    pub optics: Optics,
}

/// Kernels for one focus.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernels {
    /// Frequencies on a side; odd, zero in the middle.
    pub side: usize,
    /// Real parts, `[count, side, side]`.
    pub re: Vec<f32>,
    /// Imaginary parts, `[count, side, side]`.
    pub im: Vec<f32>,
    /// Weight of each kernel, descending.
    pub scales: Vec<f32>,
    /// Share of the TCC's trace that the kernels hold, if they were made here.
    pub kept: Option<f64>,
}

impl Kernels {
    /// Number of kernels.
    pub fn count(&self) -> usize {
        self.scales.len()
    }

    fn values(&self, k: usize) -> impl Iterator<Item = c64> + '_ {
        let range = k * self.side * self.side..(k + 1) * self.side * self.side;
        let pairs = self.re[range.clone()].iter().zip(&self.im[range]);
        pairs.map(|(&re, &im)| c64::new(f64::from(re), f64::from(im)))
    }

    /// Inner product of kernel `i` with kernel `j` of another set.
    pub fn overlap(&self, i: usize, other: &Self, j: usize) -> c64 {
        self.values(i).zip(other.values(j)).map(|(a, b)| a.conj() * b).sum()
    }

    /// Intensity of an open mask: what every other intensity is relative to, about 1.
    pub fn clear_field(&self) -> f64 {
        let middle = self.side * self.side / 2;
        let at_zero = |k: usize| self.values(k).nth(middle).map_or(0.0, |v| v.norm_sqr());
        (0..self.count()).map(|k| f64::from(self.scales[k]) * at_zero(k)).sum()
    }

    /// Relative distance of two TCCs, ‖T − T'‖ / ‖T'‖ in the Frobenius norm, with `other` as T'.
    ///
    /// Independent of phases and of rotations among equal weights.
    pub fn tcc_distance(&self, other: &Self) -> f64 {
        let inner = |a: &Self, b: &Self| -> f64 {
            let pairs = (0..a.count()).flat_map(|i| (0..b.count()).map(move |j| (i, j)));
            let term = |(i, j): (usize, usize)| {
                f64::from(a.scales[i]) * f64::from(b.scales[j]) * a.overlap(i, b, j).norm_sqr()
            };
            pairs.map(term).sum()
        };
        let (same, cross, norm) = (inner(self, self), inner(self, other), inner(other, other));
        ((same - 2.0 * cross + norm).max(0.0) / norm).sqrt()
    }
}

/// Kernels in focus and in defocus, for one field period.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelSet {
    /// Field period, in nm.
    pub period_nm: f64,
    /// Kernels at best focus.
    pub focus: Kernels,
    /// Kernels out of focus.
    pub defocus: Kernels,
    /// How they were made, if known.
    pub recipe: Option<Recipe>,
}

impl KernelSet {
    /// The kernels of a focus.
    pub fn at(&self, focus: Focus) -> &Kernels {
        match focus {
            Focus::Best => &self.focus,
            Focus::Defocus => &self.defocus,
        }
    }

    /// Loads a set.
    ///
    /// # Errors
    ///
    /// [`LithoError`] that says which tensor is missing, mis-shaped or not finite.
    pub fn load(path: &Path) -> Result<Self, LithoError> {
        let bytes = std::fs::read(path).map_err(|e| LithoError::Read(path.to_path_buf(), e))?;
        let wrong = |problem| LithoError::Kernels { path: path.to_path_buf(), problem };
        Self::from_bytes(&bytes).map_err(wrong)
    }

    /// Decodes a set from the bytes of a safetensors file; the error says what is wrong.
    ///
    /// # Errors
    ///
    /// As [`KernelSet::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let period_nm = match metadata.get("period_nm") {
            Some(text) => text.parse().map_err(|_| format!("period_nm is {text:?}"))?,
            None => CONTEST_PERIOD_NM,
        };
        let recipe = metadata.get("recipe").and_then(|json| serde_json::from_str(json).ok());
        let (focus, defocus) = (decode(&tensors, "focus")?, decode(&tensors, "defocus")?);
        if focus.side != defocus.side {
            return Err(format!("focus has side {}, defocus {}", focus.side, defocus.side));
        }
        Ok(Self { period_nm, focus, defocus, recipe })
    }

    /// Encodes the set as a safetensors file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut data: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        for (name, kernels) in [("focus", &self.focus), ("defocus", &self.defocus)] {
            let cube = vec![kernels.count(), kernels.side, kernels.side];
            data.push((format!("{name}.re"), cube.clone(), le_bytes(&kernels.re)));
            data.push((format!("{name}.im"), cube, le_bytes(&kernels.im)));
            data.push((format!("{name}.scales"), vec![kernels.count()], le_bytes(&kernels.scales)));
        }
        let views = data.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (name.clone(), view.unwrap_or_else(|e| unreachable!("shape and bytes agree: {e}")))
        });
        let mut metadata = HashMap::from([("period_nm".to_string(), self.period_nm.to_string())]);
        if let Some(json) = self.recipe.as_ref().and_then(|r| serde_json::to_string(r).ok()) {
            metadata.insert("recipe".into(), json);
        }
        let bytes = safetensors::serialize(views, Some(metadata));
        bytes.unwrap_or_else(|e| unreachable!("six tensors with distinct names: {e}"))
    }
}

fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn decode(tensors: &SafeTensors, name: &str) -> Result<Kernels, String> {
    let read = |part: &str| {
        let name = format!("{name}.{part}");
        let view = tensors.tensor(&name).map_err(|_| format!("tensor {name:?} is missing"))?;
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor {name:?} is {:?}, expected F32", view.dtype()));
        }
        let value = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let values: Vec<f32> = view.data().chunks_exact(4).map(value).collect();
        match values.iter().all(|v| v.is_finite()) {
            true => Ok((view.shape().to_vec(), values)),
            false => Err(format!("tensor {name:?} holds a value that is not finite")),
        }
    };
    let ((shape, re), (im_shape, im), (_, scales)) = (read("re")?, read("im")?, read("scales")?);
    let expected = match *shape.as_slice() {
        [count, side, same] if side == same && side % 2 == 1 && count > 0 => [count, side],
        _ => return Err(format!("tensor \"{name}.re\" is {shape:?}, expected [count, odd, odd]")),
    };
    if im_shape != shape || scales.len() != expected[0] {
        let found = scales.len();
        return Err(format!(
            "{name}: re {shape:?}, im {im_shape:?} and {found} scales do not agree"
        ));
    }
    Ok(Kernels { side: expected[1], re, im, scales, kept: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> KernelSet {
        let kernels = |f: f32| Kernels {
            side: 3,
            re: (0..18).map(|i| i as f32 * f).collect(),
            im: (0..18).map(|i| -(i as f32)).collect(),
            scales: vec![2.0, 1.0],
            kept: None,
        };
        let recipe = Some(Recipe { optics: Optics::default() });
        KernelSet { period_nm: 1024.0, focus: kernels(1.0), defocus: kernels(0.5), recipe }
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(KernelSet::from_bytes(&set().to_bytes()), Ok(set()));
    }

    #[test]
    fn a_damaged_tensor_is_named() {
        let mut broken = set();
        broken.defocus.im[3] = f32::NAN;
        let problem = KernelSet::from_bytes(&broken.to_bytes()).unwrap_err();
        assert!(problem.contains("defocus.im"), "{problem}");
        assert!(KernelSet::from_bytes(&set().to_bytes()[..100]).is_err());
    }

    #[test]
    fn a_set_has_no_distance_to_itself() {
        assert!(set().focus.tcc_distance(&set().focus) < 1e-6);
        assert!(set().focus.tcc_distance(&set().defocus) > 0.1);
    }
}
