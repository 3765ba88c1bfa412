//! Optical kernels from first principles: the transmission cross coefficients and their eigenvectors.
//!
//! `T(f1, f2) = sum_s S(s) sum_c P_c(f1 + s) P_c*(f2 + s)` over source points s and the three components c
//! of the field (Hopkins; vector form). T is Hermitian and positive, so its largest eigenvectors are
//! the best sum of coherent systems (Cobb).

use faer::{Mat, Side, c64};

use super::Optics;
use super::kernels::{KernelSet, Kernels, Recipe};
use super::pupil::Pupil;
use super::source::SourcePoint;
use crate::LithoError;

/// Most frequencies kept on each side of zero: the TCC then has 16641² entries, 4 GB.
const MOST_HALF: usize = 64;
/// Most steps of the source grid from the axis to the rim.
const MOST_STEPS: f64 = 500.0;
/// Columns of amplitudes in memory at a time.
const COLUMNS: usize = 1536;

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
            recipe: Some(Recipe { optics: self.clone() }),
            ambit_nm: None,
        })
    }

    /// The kernels `defocus_nm` out of the focus of [`Optics::pupil`], with the exposure in focus.
    ///
    /// # Errors
    ///
    /// As [`Optics::kernels`], and if the defocus is not finite.
    pub fn at_focus(&self, defocus_nm: f64) -> Result<Kernels, LithoError> {
        self.check()?;
        if !defocus_nm.is_finite() {
            return Err(LithoError::Optics(format!("defocus must be finite, got {defocus_nm} nm")));
        }
        let defocus_rad = self.pupil.defocus_rad + self.pupil.rim_phase(defocus_nm);
        self.decompose(&Pupil { defocus_rad, ..self.pupil }, self.exposure[0])
    }

    /// The same optics, exposed so that the clear field of the kept kernels in focus is 1. Defocus keeps
    /// the dose.
    ///
    /// # Errors
    ///
    /// As [`Optics::kernels`], and if no light of the source passes the lens.
    pub fn exposed_to_clear_field(&self) -> Result<Self, LithoError> {
        let bare = Self { exposure: [1.0; 2], ..self.clone() };
        let clear = bare.at_focus(0.0)?.clear_field();
        match clear > 0.0 {
            true => Ok(Self { exposure: [1.0 / clear; 2], ..bare }),
            false => Err(LithoError::Optics("no light of the source passes the lens".into())),
        }
    }

    /// The same optics with the frequencies that pass the lens, and no more.
    ///
    /// # Errors
    ///
    /// [`LithoError::Optics`] if there are too many to compute with.
    pub fn with_passed_frequencies(self) -> Result<Self, LithoError> {
        let passed = self.passed_bins().ceil();
        if passed <= MOST_HALF as f64 {
            return Ok(Self { half: passed as usize, ..self });
        }
        Err(LithoError::Optics(format!(
            "frequencies up to {passed} bins pass the lens, expected at most {MOST_HALF}: choose a \
             shorter period than {} nm",
            self.period_nm
        )))
    }

    /// The highest frequency of the mask that reaches the image, in bins.
    fn passed_bins(&self) -> f64 {
        self.pupil.radius_bins(self.period_nm) * (1.0 + self.source.outer())
    }

    fn check(&self) -> Result<(), LithoError> {
        self.check_numbers()?;
        self.source.check()?;
        let steps = self.source.outer() / self.source_step;
        if steps > MOST_STEPS {
            return Err(LithoError::Optics(format!(
                "source step {} is too fine: expected at most {MOST_STEPS} steps in sigma {}",
                self.source_step,
                self.source.outer()
            )));
        }
        let needed = self.passed_bins();
        if needed > (self.half + 1) as f64 {
            return Err(LithoError::Optics(format!(
                "frequencies up to {needed:.1} bins pass the lens, but only {} are kept",
                self.half
            )));
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), LithoError> {
        let positive = [
            ("wavelength", self.pupil.wavelength_nm),
            ("NA", self.pupil.na),
            ("period", self.period_nm),
            ("source step", self.source_step),
            ("number of kernels", self.count as f64),
            ("exposure", self.exposure[0]),
            ("exposure", self.exposure[1]),
        ];
        if let Some((name, value)) = positive.iter().find(|(_, v)| !(v.is_finite() && *v > 0.0)) {
            return Err(LithoError::Optics(format!("{name} must be positive, got {value}")));
        }
        for defocus in [self.defocus_rad, self.pupil.defocus_rad] {
            if !defocus.is_finite() {
                let problem = format!("defocus must be finite, got {defocus} rad");
                return Err(LithoError::Optics(problem));
            }
        }
        if !(0.0..1.0).contains(&self.pupil.sine) {
            let sine = self.pupil.sine;
            return Err(LithoError::Optics(format!("NA / index must be in 0..1, got {sine}")));
        }
        Ok(())
    }

    /// The frequencies kept, row (y) then column (x).
    fn frequencies(&self) -> impl Iterator<Item = [f64; 2]> {
        let half = self.half as i64;
        (-half..=half).flat_map(move |u| (-half..=half).map(move |v| [u as f64, v as f64]))
    }

    /// The amplitudes of light from one point, a column for each field and component: `T = Σ a aᴴ`.
    fn amplitudes(&self, pupil: &Pupil, point: &SourcePoint) -> Vec<Vec<c64>> {
        let radius = pupil.radius_bins(self.period_nm);
        let [x, y] = point.at;
        let mut columns = Vec::new();
        for (field, share) in self.polarization.fields(point.at) {
            let amplitude = (point.weight * share).sqrt();
            let passed: Vec<Option<[c64; 3]>> = self
                .frequencies()
                .map(|[u, v]| pupil.transmit([v / radius + x, u / radius + y], field))
                .collect();
            for component in 0..3 {
                let value = |p: &Option<[c64; 3]>| {
                    p.map_or(c64::new(0.0, 0.0), |p| p[component] * amplitude)
                };
                columns.push(passed.iter().map(value).collect());
            }
        }
        columns
    }

    /// The transmission cross coefficients, summed over the source a part at a time.
    fn tcc(&self, pupil: &Pupil) -> Result<Mat<c64>, LithoError> {
        let points = self.source.points(self.source_step);
        if points.is_empty() {
            return Err(LithoError::Optics("the source has no point: it is dark".into()));
        }
        let size = (2 * self.half + 1).pow(2);
        let mut tcc = Mat::<c64>::zeros(size, size);
        // Two fields of three components at most.
        for part in points.chunks(COLUMNS / 6) {
            let columns: Vec<Vec<c64>> =
                part.iter().flat_map(|point| self.amplitudes(pupil, point)).collect();
            let amplitudes = Mat::from_fn(size, columns.len(), |i, j| columns[j][i]);
            tcc += &amplitudes * amplitudes.adjoint();
        }
        Ok(tcc)
    }

    /// The largest eigenvectors of the TCC, with `exposure` in their weights.
    fn decompose(&self, pupil: &Pupil, exposure: f64) -> Result<Kernels, LithoError> {
        let tcc = self.tcc(pupil)?;
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
            // T is positive: what is below 0 is rounding.
            kernels.scales.push((values[k].re.max(0.0) * exposure) as f32);
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
mod tests;
