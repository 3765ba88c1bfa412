//! Sets of SOCS kernels: what the optics do to each frequency of the mask.
//!
//! File format: safetensors with `focus.re`, `focus.im` (`[count, side, side]`, f32, DC in the middle,
//! row frequency then column frequency), `focus.scales` (`[count]`), the same for `defocus`, and in the
//! metadata `period_nm` (2048 if absent), `recipe` (JSON of [`Optics`], if the set was made from one) and `ambit_nm` (if
//! the kernels were cut off).

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

    /// The highest frequency of which more than a thousandth passes, over the one that passes best; in bins.
    fn passed_bins(&self) -> f64 {
        let (half, area) = ((self.side / 2) as f64, self.side * self.side);
        let mut passed = vec![0.0; area];
        for (k, &scale) in self.scales.iter().enumerate() {
            let shares = self.values(k).map(|v| f64::from(scale) * v.norm_sqr());
            passed.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
        }
        let most = passed.iter().copied().fold(0.0, f64::max);
        let radius =
            |i: usize| ((i % self.side) as f64 - half).hypot((i / self.side) as f64 - half);
        let seen = (0..area).filter(|&i| passed[i] > 1e-3 * most).map(radius);
        seen.fold(0.0, f64::max)
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
    /// How far the kernels reach, if they were cut off there ([`KernelSet::within_ambit`]).
    pub ambit_nm: Option<f64>,
}

/// Clear fields that intensities can be relative to: those of the contest's kernels are about 0.95.
const CLEAR_FIELD: std::ops::RangeInclusive<f64> = 0.1..=10.0;

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
        let length = |name: &str| -> Result<Option<f64>, String> {
            let Some(text) = metadata.get(name) else { return Ok(None) };
            let length = text.parse().ok().filter(|nm: &f64| nm.is_finite() && *nm > 0.0);
            length
                .map(Some)
                .ok_or_else(|| format!("{name} is {text:?}, expected a positive length"))
        };
        let recipe = metadata.get("recipe").map(|json| serde_json::from_str(json)).transpose();
        let recipe = recipe.map_err(|e| format!("its recipe is not one of optics: {e}"))?;
        all_finite(&tensors)?;
        let set = Self {
            period_nm: length("period_nm")?.unwrap_or(CONTEST_PERIOD_NM),
            focus: decode(&tensors, "focus")?,
            defocus: decode(&tensors, "defocus")?,
            recipe,
            ambit_nm: length("ambit_nm")?,
        };
        set.check()?;
        Ok(set)
    }

    /// What is wrong with the numbers, if something is.
    ///
    /// # Errors
    ///
    /// In words, with the tensor and the value.
    pub(super) fn check(&self) -> Result<(), String> {
        let (focus, defocus) = (&self.focus, &self.defocus);
        if focus.side != defocus.side {
            return Err(format!("focus has side {}, defocus {}", focus.side, defocus.side));
        }
        for (name, kernels) in [("focus", focus), ("defocus", defocus)] {
            if let Some(scale) = kernels.scales.iter().find(|s| !(s.is_finite() && **s >= 0.0)) {
                return Err(format!("{name}.scales holds {scale}, expected weights of 0 or more"));
            }
            let clear = kernels.clear_field();
            if !CLEAR_FIELD.contains(&clear) {
                return Err(format!(
                    "the clear field of {name} has an intensity of {clear:.3e}, expected about 1 (at least {} and at \
                     most {}), since all intensities are relative to it: multiply {name}.scales",
                    CLEAR_FIELD.start(),
                    CLEAR_FIELD.end()
                ));
            }
        }
        Ok(())
    }

    /// What a report calls these kernels, if their file is called `name`: cut off, they are no longer those of the file.
    pub fn described(&self, name: &str) -> String {
        match self.ambit_nm {
            Some(ambit_nm) => format!("{name}, cut to an ambit of {ambit_nm} nm"),
            None => name.to_string(),
        }
    }

    /// Half of the shortest period that these optics can print at all, in nm: `k1 λ / NA` with `k1 = 1 / (2 (1 + σ))`, the
    /// limit of two beams. Without a recipe, from the frequencies that the kernels pass.
    pub fn half_pitch_nm(&self) -> f64 {
        match &self.recipe {
            Some(Recipe { optics }) => {
                let rim = optics.pupil.na / optics.pupil.wavelength_nm;
                0.5 / (rim * (1.0 + optics.source.outer()))
            }
            None => 0.5 * self.period_nm / self.focus.passed_bins().max(1.0),
        }
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
        if let Some(ambit_nm) = self.ambit_nm {
            metadata.insert("ambit_nm".into(), ambit_nm.to_string());
        }
        let bytes = safetensors::serialize(views, Some(metadata));
        bytes.unwrap_or_else(|e| unreachable!("six tensors with distinct names: {e}"))
    }
}

fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// That no tensor of a file holds what is no number, not even one that is not read: such a file is damaged.
fn all_finite(tensors: &SafeTensors) -> Result<(), String> {
    for (name, view) in tensors.tensors() {
        let value = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let mut values = view.data().chunks_exact(4).map(value);
        if view.dtype() == Dtype::F32 && !values.all(f32::is_finite) {
            return Err(format!("tensor {name:?} holds a value that is not finite"));
        }
    }
    Ok(())
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
        Ok((view.shape().to_vec(), values))
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
            re: (0..18).map(|i| i as f32 * f * 0.125).collect(),
            im: (0..18).map(|i| i as f32 * -0.125).collect(),
            scales: vec![2.0, 1.0],
            kept: None,
        };
        let recipe = Some(Recipe { optics: Optics::default() });
        let (focus, defocus) = (kernels(1.0), kernels(0.5));
        KernelSet { period_nm: 1024.0, focus, defocus, recipe, ambit_nm: Some(512.0) }
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

    /// Each was taken for kernels, and printed nothing or everything.
    #[test]
    fn weights_that_make_no_clear_field_are_refused() {
        let read = |change: &dyn Fn(&mut KernelSet)| {
            let mut set = set();
            change(&mut set);
            KernelSet::from_bytes(&set.to_bytes()).expect_err("refused")
        };
        let zero = read(&|set| set.focus.scales = vec![0.0; 2]);
        assert!(zero.contains("clear field of focus") && zero.contains("about 1"), "{zero}");
        let huge = read(&|set| set.defocus.scales[0] = 3e38);
        assert!(huge.contains("clear field of defocus"), "{huge}");
        let negative = read(&|set| set.defocus.scales[1] = -0.5);
        assert!(negative.contains("defocus.scales") && negative.contains("-0.5"), "{negative}");
        let period = read(&|set| set.period_nm = -2048.0);
        assert!(period.contains("period_nm") && period.contains("-2048"), "{period}");
    }

    #[test]
    fn a_tensor_that_is_not_read_counts_as_damage_too() {
        let bytes = f32::NAN.to_le_bytes();
        let view = TensorView::new(Dtype::F32, vec![1], &bytes).expect("a number");
        let own = set().to_bytes();
        let own = SafeTensors::deserialize(&own).expect("a file");
        let all = own.tensors().into_iter().chain([("focus.combo".to_string(), view)]);
        let bytes = safetensors::serialize(all, None).expect("a file");
        let problem = KernelSet::from_bytes(&bytes).expect_err("refused");
        assert!(problem.contains("focus.combo"), "{problem}");
    }

    /// It was dropped in silence, and a bake then asked for kernels that hold one.
    #[test]
    fn a_recipe_that_cannot_be_read_is_an_error() {
        let written = set().to_bytes();
        let own = SafeTensors::deserialize(&written).expect("a file");
        let metadata = HashMap::from([("recipe".to_string(), r#"{"optics": 7}"#.to_string())]);
        let bytes = safetensors::serialize(own.tensors(), Some(metadata)).expect("a file");
        let problem = KernelSet::from_bytes(&bytes).expect_err("refused");
        assert!(problem.contains("recipe"), "{problem}");
    }

    /// 193 nm, NA 0.80 and σ 0.84: 65 nm; and the kernels themselves know it.
    #[test]
    fn the_half_pitch_is_that_of_the_lens_and_the_source() {
        let optics = Optics { count: 24, source_step: 0.05, ..Optics::default() };
        let set = optics.kernels().expect("optics");
        let expected = 193.0 / optics.pupil.na / 2.0 / (1.0 + 0.8414);
        assert!((set.half_pitch_nm() - expected).abs() < 1e-9);
        let bare = KernelSet { recipe: None, ..set };
        assert!((bare.half_pitch_nm() / expected - 1.0).abs() < 0.1, "{}", bare.half_pitch_nm());
    }

    #[test]
    fn a_set_has_no_distance_to_itself() {
        assert!(set().focus.tcc_distance(&set().focus) < 1e-6);
        assert!(set().focus.tcc_distance(&set().defocus) > 0.1);
    }
}
