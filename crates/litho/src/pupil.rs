//! Projection lens: what it does to a plane wave, polarisation included.
//!
//! Vector imaging after Mansuripur and Flagello: a field along x or y at the mask is bent towards
//! the axis with the ray, which gives it a z component, and gains `1/sqrt(cos)` in amplitude because
//! the beam narrows.

use faer::c64;
use serde::{Deserialize, Serialize};

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
        // (1 − cos) / (1 − cos at the rim), written so that a flat lens is no special case.
        let rim = (1.0 - self.sine * self.sine).sqrt();
        let phase = self.defocus_rad * radius2 * (1.0 + rim) / (1.0 + cos);
        let factor = c64::new(phase.cos(), phase.sin()) / cos.sqrt();
        Some(field.map(|component| factor * component))
    }

    /// Pupil radius in frequency bins of `1 / period_nm`.
    pub fn radius_bins(&self, period_nm: f64) -> f64 {
        self.na / self.wavelength_nm * period_nm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUPIL: Pupil = Pupil { wavelength_nm: 193.0, na: 0.8, sine: 0.74, defocus_rad: 0.3 };

    /// Bending a ray turns its field but does not change its length, apart from 1/sqrt(cos).
    #[test]
    fn the_field_keeps_its_length_and_stays_across_the_ray() {
        for rho in [[0.3, 0.1], [-0.7, 0.6], [0.0, 0.99], [0.0, 0.0]] {
            for polarization in [[1.0, 0.0], [0.0, 1.0]] {
                let field = PUPIL.transmit(rho, polarization).expect("inside the rim");
                let (a, b) = (PUPIL.sine * rho[0], PUPIL.sine * rho[1]);
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
            let field = PUPIL.transmit([radius, 0.0], [0.0, 1.0]).expect("inside the rim");
            let path = |r: f64| 1.0 - (r * PUPIL.sine).asin().cos();
            let expected = PUPIL.defocus_rad * path(radius) / path(1.0);
            assert!((field[1].im.atan2(field[1].re) - expected).abs() < 1e-12, "{radius}");
        }
    }

    #[test]
    fn nothing_passes_outside_the_rim() {
        assert!(PUPIL.transmit([0.8, 0.7], [1.0, 0.0]).is_none());
    }
}
