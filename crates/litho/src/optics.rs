//! Optics: from a source and a lens to a set of kernels, or to one from a file.
//!
//! | file | what |
//! |---|---|
//! | [`source`], [`pupil`], [`zernike`] | where light comes from, and what the lens does to it |
//! | [`tcc`] | the transmission cross coefficients, and their eigenvectors: the kernels |
//! | [`kernels`] | a set of kernels: load, save, compare |
//! | [`ambit`] | kernels of a finite reach, for fields of any period |
//! | [`contest`] | kernels as the ICCAD 2013 contest published them |

pub mod ambit;
pub mod contest;
pub mod kernels;
pub mod pupil;
pub mod source;
pub mod tcc;
pub mod zernike;

use serde::{Deserialize, Serialize};

use pupil::Pupil;
use source::{Polarization, Source};
use zernike::Aberrations;

/// Everything that determines a set of kernels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
                aberrations: Aberrations::default(),
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
