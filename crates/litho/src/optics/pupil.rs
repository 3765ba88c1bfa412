//! Projection lens: what it does to a plane wave, polarisation included.
//!
//! Vector imaging after Mansuripur and Flagello: a field along x or y at the mask is bent towards
//! the axis with the ray, which gives it a z component, and gains `1/sqrt(cos)` in amplitude because
//! the beam narrows.

use std::f64::consts::PI;

use faer::c64;
use serde::{Deserialize, Serialize};

use super::zernike::Aberrations;

/// A projection lens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pupil {
    /// Vacuum wavelength, in nm.
    pub wavelength_nm: f64,
    /// Numerical aperture at the wafer.
    pub na: f64,
    /// NA over the refractive index of the resist: the sine of the steepest ray in it.
    pub sine: f64,
    /// Phase at the pupil's rim from defocus, in rad. It is the path along the axis, so it grows with
    /// 1 − cos of the ray's angle: with the radius squared near the axis, and faster towards the rim.
    pub defocus_rad: f64,
    /// Wavefront error of the lens.
    #[serde(default, skip_serializing_if = "Aberrations::is_none")]
    pub aberrations: Aberrations,
}

impl Pupil {
    /// The field (x, y, z) behind the lens for a unit field along `polarization` at pupil position
    /// `rho` (units of the rim); none outside the rim.
    pub fn transmit(&self, rho: [f64; 2], polarization: [f64; 2]) -> Option<[c64; 3]> {
        let radius2 = rho[0] * rho[0] + rho[1] * rho[1];
        if radius2 > 1.0 {
            return None;
        }
        let (a, b) = (self.sine * rho[0], self.sine * rho[1]);
        let cos = (1.0 - a * a - b * b).sqrt();
        let [px, py] = polarization;
        let along = a * px + b * py;
        let field = [px - a * along / (1.0 + cos), py - b * along / (1.0 + cos), -along];
        let phase = self.phase(rho);
        let factor = c64::new(phase.cos(), phase.sin()) / cos.sqrt();
        Some(field.map(|component| factor * component))
    }

    /// Phase of the wavefront at pupil position `rho` (units of the rim), in rad: defocus and aberrations.
    pub fn phase(&self, rho: [f64; 2]) -> f64 {
        let radius2 = rho[0] * rho[0] + rho[1] * rho[1];
        let sine2 = self.sine * self.sine;
        let (cos, rim) = ((1.0 - sine2 * radius2).sqrt(), (1.0 - sine2).sqrt());
        // (1 − cos) / (1 − cos at the rim), written so that a flat lens is no special case.
        let share = radius2 * (1.0 + rim) / (1.0 + cos);
        self.defocus_rad * share + 2.0 * PI * self.aberrations.waves(rho)
    }

    /// Phase at the rim when the wafer is `defocus_nm` out of focus, in rad: the path along the axis in the
    /// resist, `index (1 − cos) defocus`, with `index = na / sine`.
    pub fn rim_phase(&self, defocus_nm: f64) -> f64 {
        // index (1 − cos), written so that a flat lens is no special case.
        let rim = (1.0 - self.sine * self.sine).sqrt();
        2.0 * PI / self.wavelength_nm * self.na * self.sine / (1.0 + rim) * defocus_nm
    }

    /// Pupil radius in frequency bins of `1 / period_nm`.
    pub fn radius_bins(&self, period_nm: f64) -> f64 {
        self.na / self.wavelength_nm * period_nm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pupil() -> Pupil {
        let aberrations = Aberrations::default();
        Pupil { wavelength_nm: 193.0, na: 0.8, sine: 0.74, defocus_rad: 0.3, aberrations }
    }

    /// Bending a ray turns its field but does not change its length, apart from 1/sqrt(cos).
    #[test]
    fn the_field_keeps_its_length_and_stays_across_the_ray() {
        for rho in [[0.3, 0.1], [-0.7, 0.6], [0.0, 0.99], [0.0, 0.0]] {
            for polarization in [[1.0, 0.0], [0.0, 1.0]] {
                let field = pupil().transmit(rho, polarization).expect("inside the rim");
                let (a, b) = (pupil().sine * rho[0], pupil().sine * rho[1]);
                let cos = (1.0 - a * a - b * b).sqrt();
                let energy: f64 = field.iter().map(|c| c.norm_sqr()).sum();
                assert!((energy * cos - 1.0).abs() < 1e-12);
                let across = field[0] * a + field[1] * b + field[2] * cos;
                assert!(across.norm() < 1e-12);
            }
        }
    }

    /// The phase is the path along the axis: none in the middle, all of it at the rim.
    #[test]
    fn defocus_is_the_path_along_the_axis() {
        for radius in [0.0, 0.3, 0.8, 1.0_f64] {
            // A field across the plane of incidence keeps its direction, so only the phase turns it.
            let field = pupil().transmit([radius, 0.0], [0.0, 1.0]).expect("inside the rim");
            let path = |r: f64| 1.0 - (r * pupil().sine).asin().cos();
            let expected = pupil().defocus_rad * path(radius) / path(1.0);
            assert!((field[1].im.atan2(field[1].re) - expected).abs() < 1e-12, "{radius}");
        }
    }

    #[test]
    fn rim_phase_is_the_path_in_the_resist() {
        let lens = pupil();
        let path = lens.na / lens.sine * (1.0 - lens.sine.asin().cos()) * 40.0;
        assert!((lens.rim_phase(40.0) - 2.0 * PI * path / 193.0).abs() < 1e-12);
        // Without a steep ray there is no focus to lose.
        assert_eq!(Pupil { sine: 0.0, ..lens }.rim_phase(40.0), 0.0);
    }

    #[test]
    fn aberrations_add_their_waves_to_the_phase() -> Result<(), crate::LithoError> {
        let flat = Pupil { defocus_rad: 0.0, ..pupil() };
        let lens = Pupil { aberrations: Aberrations::default().with(4, 0.01)?, ..flat };
        // Z4 is 1 at the rim and −1 in the middle.
        assert!((lens.phase([0.0, 1.0]) - 0.02 * PI).abs() < 1e-12);
        assert!((lens.phase([0.0, 0.0]) + 0.02 * PI).abs() < 1e-12);
        Ok(())
    }

    #[test]
    fn nothing_passes_outside_the_rim() {
        assert!(pupil().transmit([0.8, 0.7], [1.0, 0.0]).is_none());
    }
}
