//! Optical kernels from first principles: the transmission cross coefficients and their eigenvectors.
//!
//! `T(f1, f2) = sum_s S(s) sum_c P_c(f1 + s) P_c*(f2 + s)` over source points s and the three components c
//! of the field (Hopkins; vector form). T is Hermitian and positive, so its largest eigenvectors are
//! the best sum of coherent systems (Cobb).

use faer::{Mat, Side, c64};
use serde::{Deserialize, Serialize};

use crate::LithoError;
use crate::kernels::{KernelSet, Kernels, Recipe};
use crate::pupil::Pupil;
use crate::source::{Polarization, Source};

/// Everything that determines a set of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optics {
    /// Illumination.
    pub source: Source,
    /// Its polarisation.
    pub polarization: Polarization,
    /// The lens in focus.
    pub pupil: Pupil,
    /// Phase at the rim in the defocus corner, in rad.
    pub defocus_rad: f64,
    /// Factors on the intensity in focus and in defocus.
    pub exposure: [f64; 2],
    /// Field period, in nm: frequencies are multiples of its inverse.
    pub period_nm: f64,
    /// Frequencies kept on each side of zero.
    pub half: usize,
    /// Kernels kept.
    pub count: usize,
    /// Distance of source points, in units of the pupil radius.
    pub source_step: f64,
}

impl Default for Optics {
    /// The ICCAD 2013 contest's system, as fitted to its published kernels: a cross-quad source with
    /// poles polarised across the axes, 193 nm. If the contest's pixel of 1 nm stands for 0.594 nm,
    /// the aperture is 1.35 in water; at its face value it is 0.80.
    fn default() -> Self {
        Self {
            source: Source::CrossQuad { inner: 0.5656, outer: 0.8414, half_angle_deg: 18.98 },
            polarization: Polarization::CrossPoles,
            pupil: Pupil {
                wavelength_nm: 193.0,
                na: 8.501 * 193.0 / 2048.0,
                sine: 0.755,
                defocus_rad: 0.0,
            },
            defocus_rad: -0.583,
            exposure: [0.8036, 0.7881],
            period_nm: 2048.0,
            half: 17,
            count: 24,
            source_step: 0.02,
        }
    }
}

impl Optics {
    /// Makes the kernels in focus and in defocus.
    ///
    /// # Errors
    ///
    /// [`LithoError::Optics`] if a length is not positive, the source is dark, or a frequency that
    /// passes the lens is not among the kept ones.
    pub fn kernels(&self) -> Result<KernelSet, LithoError> {
        self.check()?;
        let defocused = Pupil { defocus_rad: self.defocus_rad, ..self.pupil };
        Ok(KernelSet {
            period_nm: self.period_nm,
            focus: self.decompose(&self.pupil, self.exposure[0])?,
            defocus: self.decompose(&defocused, self.exposure[1])?,
            recipe: Some(Recipe { optics: *self }),
        })
    }

    /// STUB-MERGE
    pub fn at_focus(&self, defocus_nm: f64) -> Result<Kernels, LithoError> {
        self.check()?;
        let rim = (1.0 - self.pupil.sine * self.pupil.sine).sqrt();
        let index = self.pupil.na / self.pupil.sine;
        let phase = 2.0 * std::f64::consts::PI * index / self.pupil.wavelength_nm * (1.0 - rim) * defocus_nm;
        self.decompose(&Pupil { defocus_rad: phase, ..self.pupil }, self.exposure[0])
    }

    fn check(&self) -> Result<(), LithoError> {
        let positive = [
            ("wavelength", self.pupil.wavelength_nm),
            ("NA", self.pupil.na),
            ("period", self.period_nm),
            ("source step", self.source_step),
            ("number of kernels", self.count as f64),
        ];
        for (name, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(LithoError::Optics(format!("{name} must be positive, got {value}")));
            }
        }
        if !(0.0..1.0).contains(&self.pupil.sine) {
            let sine = self.pupil.sine;
            return Err(LithoError::Optics(format!("NA / index must be in 0..1, got {sine}")));
        }
        let needed = self.pupil.radius_bins(self.period_nm) * (1.0 + self.source.outer());
        if needed > (self.half + 1) as f64 {
            return Err(LithoError::Optics(format!(
                "frequencies up to {needed:.1} bins pass the lens, but only {} are kept",
                self.half
            )));
        }
        Ok(())
    }

    /// The frequencies kept, row (y) then column (x).
    fn frequencies(&self) -> impl Iterator<Item = [f64; 2]> {
        let half = self.half as i64;
        (-half..=half).flat_map(move |u| (-half..=half).map(move |v| [u as f64, v as f64]))
    }

    /// Columns of amplitudes, one per source point and field component: `T = A Aᴴ`.
    fn amplitudes(&self, pupil: &Pupil) -> Result<Mat<c64>, LithoError> {
        let radius = pupil.radius_bins(self.period_nm);
        let frequencies: Vec<[f64; 2]> = self.frequencies().collect();
        let mut columns: Vec<Vec<c64>> = Vec::new();
        for point in self.source.points(self.source_step) {
            for (field, share) in self.polarization.fields(point.at) {
                let amplitude = (point.weight * share).sqrt();
                let passed: Vec<Option<[c64; 3]>> = frequencies
                    .iter()
                    .map(|&[u, v]| {
                        pupil.transmit([v / radius + point.at[0], u / radius + point.at[1]], field)
                    })
                    .collect();
                for component in 0..3 {
                    let value = |p: &Option<[c64; 3]>| {
                        p.map_or(c64::new(0.0, 0.0), |p| p[component] * amplitude)
                    };
                    columns.push(passed.iter().map(value).collect());
                }
            }
        }
        if columns.is_empty() {
            return Err(LithoError::Optics("the source has no point: it is dark".into()));
        }
        Ok(Mat::from_fn(frequencies.len(), columns.len(), |i, j| columns[j][i]))
    }

    /// The largest eigenvectors of the TCC, with `exposure` in their weights.
    fn decompose(&self, pupil: &Pupil, exposure: f64) -> Result<Kernels, LithoError> {
        let amplitudes = self.amplitudes(pupil)?;
        let tcc = &amplitudes * amplitudes.adjoint();
        let trace: f64 = (0..tcc.nrows()).map(|i| tcc[(i, i)].re).sum();
        let eigen = tcc.self_adjoint_eigen(Side::Lower).map_err(|error| {
            LithoError::Optics(format!("the eigenvectors of the TCC were not found: {error:?}"))
        })?;
        let (values, vectors) = (eigen.S().column_vector(), eigen.U());
        let (total, side) = (tcc.nrows(), 2 * self.half + 1);
        let mut kernels =
            Kernels { side, re: Vec::new(), im: Vec::new(), scales: Vec::new(), kept: None };
        for k in (total - self.count.min(total)..total).rev() {
            let column: Vec<c64> = (0..total).map(|i| vectors[(i, k)]).collect();
            let phase = unit_phase(&column);
            kernels.re.extend(column.iter().map(|&v| (v * phase).re as f32));
            kernels.im.extend(column.iter().map(|&v| (v * phase).im as f32));
            kernels.scales.push((values[k].re * exposure) as f32);
        }
        let sum: f64 = kernels.scales.iter().map(|&s| f64::from(s)).sum();
        kernels.kept = Some(sum / (trace * exposure));
        Ok(kernels)
    }
}

/// The factor that makes a vector's largest entry real and positive: eigenvectors have no phase of their own.
fn unit_phase(column: &[c64]) -> c64 {
    let largest = column.iter().copied().max_by(|a, b| a.norm().total_cmp(&b.norm()));
    largest.filter(|v| v.norm() > 0.0).map_or(c64::new(1.0, 0.0), |v| v.conj() / v.norm())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Optics {
        Optics { count: 8, source_step: 0.06, ..Optics::default() }
    }

    #[test]
    fn kernels_are_orthonormal_and_weights_descend() -> Result<(), LithoError> {
        let set = small().kernels()?;
        for kernels in [&set.focus, &set.defocus] {
            for i in 0..8 {
                for j in 0..8 {
                    let expected = f64::from(u8::from(i == j));
                    // f32 storage of unit vectors of 1225 entries.
                    assert!((kernels.overlap(i, kernels, j).norm() - expected).abs() < 1e-5);
                }
            }
            assert!(kernels.scales.windows(2).all(|w| w[0] >= w[1]));
        }
        Ok(())
    }

    /// One point on the axis is coherent light: one kernel, and it is the pupil.
    #[test]
    fn coherent_light_has_one_kernel() -> Result<(), LithoError> {
        let source = Source::Conventional { sigma: 0.0015 };
        let optics = Optics { source, source_step: 0.002, count: 3, ..Optics::default() };
        let kernels = Optics { polarization: Polarization::CrossPoles, ..optics }.kernels()?;
        // A field along y alone has three components behind a steep lens, so look at a flat one.
        let flat = Optics { pupil: Pupil { sine: 1e-6, ..optics.pupil }, ..optics }.kernels()?;
        assert!(flat.focus.scales[1] / flat.focus.scales[0] < 1e-6);
        assert!(kernels.focus.scales[1] / kernels.focus.scales[0] > 1e-3);
        Ok(())
    }

    #[test]
    fn a_lens_that_passes_more_than_is_kept_is_refused() {
        let optics = Optics { half: 8, ..small() };
        assert!(optics.kernels().unwrap_err().to_string().contains("only 8 are kept"));
    }
}
