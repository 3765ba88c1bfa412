//! Zernike polynomials in the fringe order (University of Arizona): the wavefront's aberrations.
//!
//! `Z_j = R_n^m(rho) cos(m theta)` or `sin(m theta)`, not normalised: each is 1 at the rim along its own
//! axis. Z1 is piston and does nothing; Z37 is the spherical term of 12th order, as usual for the set of 37.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::LithoError;

/// First index that changes an image.
const FIRST: usize = 2;
/// Last index of the set.
const LAST: usize = 37;

/// Which way a term turns around the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Cos,
    Sin,
}

/// Wavefront error as coefficients of Z2 to Z37, in waves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, f64>", into = "BTreeMap<String, f64>")]
pub struct Aberrations([f64; LAST - FIRST + 1]);

impl Default for Aberrations {
    /// A perfect wavefront.
    fn default() -> Self {
        Self([0.0; LAST - FIRST + 1])
    }
}

impl Aberrations {
    /// With the coefficient of Z`index` set, in waves.
    ///
    /// # Errors
    ///
    /// [`LithoError::Optics`] if the index is not in 2..=37 or the value is not finite.
    pub fn with(mut self, index: usize, waves: f64) -> Result<Self, LithoError> {
        if !(FIRST..=LAST).contains(&index) {
            return Err(LithoError::Optics(format!("expected Z{FIRST} to Z{LAST}, got Z{index}")));
        }
        if !waves.is_finite() {
            return Err(LithoError::Optics(format!("Z{index} must be finite, got {waves} waves")));
        }
        self.0[index - FIRST] = waves;
        Ok(self)
    }

    /// Whether the wavefront is perfect.
    pub fn is_none(&self) -> bool {
        self.0.iter().all(|&waves| waves == 0.0)
    }

    /// The coefficients that are not 0: index and waves.
    pub fn terms(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let indexed = self.0.iter().enumerate().map(|(i, &waves)| (i + FIRST, waves));
        indexed.filter(|&(_, waves)| waves != 0.0)
    }

    /// Wavefront error at pupil position `rho` (units of the rim), in waves.
    pub fn waves(&self, rho: [f64; 2]) -> f64 {
        self.terms().map(|(index, waves)| waves * zernike(index, rho)).sum()
    }
}

impl TryFrom<BTreeMap<String, f64>> for Aberrations {
    type Error = LithoError;

    fn try_from(terms: BTreeMap<String, f64>) -> Result<Self, LithoError> {
        terms.iter().try_fold(Self::default(), |sum, (name, &waves)| {
            let index = name.strip_prefix(['Z', 'z']).and_then(|digits| digits.parse().ok());
            let unknown = || LithoError::Optics(format!("expected Z2 to Z37, got {name:?}"));
            sum.with(index.ok_or_else(unknown)?, waves)
        })
    }
}

impl From<Aberrations> for BTreeMap<String, f64> {
    fn from(aberrations: Aberrations) -> Self {
        aberrations.terms().map(|(index, waves)| (format!("Z{index}"), waves)).collect()
    }
}

/// The polynomial Z`index` (fringe order, from 1) at a position in units of the rim.
pub fn zernike(index: usize, [x, y]: [f64; 2]) -> f64 {
    let (n, m, turn) = orders(index);
    let angle = m as f64 * y.atan2(x);
    let around = if turn == Turn::Cos { angle.cos() } else { angle.sin() };
    radial(n, m, x.hypot(y)) * around
}

/// Radial order, azimuthal order and turn of a fringe index.
fn orders(index: usize) -> (usize, usize, Turn) {
    if index == LAST {
        return (12, 0, Turn::Cos);
    }
    // Index (half + 1)² is the spherical term of order 2 · half; those before it turn m = 1, 2, … times.
    let half = (1..).find(|&h| h * h >= index).unwrap_or(1) - 1;
    let before = (half + 1) * (half + 1) - index;
    let m = before.div_ceil(2);
    (2 * half - m, m, if before.is_multiple_of(2) { Turn::Cos } else { Turn::Sin })
}

/// `R_n^m(rho) = sum_k (-1)^k (n - k)! / (k! ((n + m)/2 - k)! ((n - m)/2 - k)!) rho^(n - 2k)`.
fn radial(n: usize, m: usize, rho: f64) -> f64 {
    let factorial = |n: usize| (1..=n).map(|i| i as f64).product::<f64>();
    let (plus, minus) = (n.midpoint(m), (n - m) / 2);
    let term = |k: usize| {
        let sign = if k.is_multiple_of(2) { 1.0 } else { -1.0 };
        let below = factorial(k) * factorial(plus - k) * factorial(minus - k);
        sign * factorial(n - k) / below * rho.powi((n - 2 * k) as i32)
    };
    (0..=minus).map(term).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    #[test]
    fn the_first_terms_are_the_known_ones() {
        for (rho, theta) in [(0.0, 0.0), (0.4, 0.7), (0.8, 2.9), (1.0, -1.3_f64)] {
            let at = [rho * theta.cos(), rho * theta.sin()];
            let known = [
                (2, rho * theta.cos()),
                (3, rho * theta.sin()),
                (4, 2.0 * rho.powi(2) - 1.0),
                (5, rho.powi(2) * (2.0 * theta).cos()),
                (8, (3.0 * rho.powi(3) - 2.0 * rho) * theta.sin()),
                (9, 6.0 * rho.powi(4) - 6.0 * rho.powi(2) + 1.0),
                (10, rho.powi(3) * (3.0 * theta).cos()),
            ];
            for (index, expected) in known {
                assert!((zernike(index, at) - expected).abs() < 1e-12, "Z{index} at {at:?}");
            }
        }
    }

    /// Norms over the disc: π / (n + 1) without a turn, half of it with one.
    #[test]
    fn terms_are_orthogonal_over_the_disc() {
        // Gauss-Legendre would do with fewer points; midpoints in rho² and theta are exact enough:
        // theta exactly (trigonometric), rho² to 12 · 12 / 24 / RINGS².
        const RINGS: usize = 1500;
        const SPOKES: usize = 32;
        let mut products = vec![[0.0; LAST]; LAST];
        for i in 0..RINGS {
            let rho = ((i as f64 + 0.5) / RINGS as f64).sqrt();
            for j in 0..SPOKES {
                let theta = 2.0 * PI * (j as f64 + 0.25) / SPOKES as f64;
                let at = [rho * theta.cos(), rho * theta.sin()];
                let values: Vec<f64> = (1..=LAST).map(|index| zernike(index, at)).collect();
                for (row, a) in products.iter_mut().zip(&values) {
                    row.iter_mut().zip(&values).for_each(|(sum, b)| *sum += a * b);
                }
            }
        }
        let area = PI / (RINGS * SPOKES) as f64;
        for (a, row) in products.iter().enumerate() {
            for (b, sum) in row.iter().enumerate() {
                let (n, m, _) = orders(a + 1);
                let norm = PI / (n + 1) as f64 * if m == 0 { 1.0 } else { 0.5 };
                let expected = if a == b { norm } else { 0.0 };
                assert!((sum * area - expected).abs() < 1e-4, "Z{} Z{}", a + 1, b + 1);
            }
        }
    }

    #[test]
    fn unknown_terms_are_refused() {
        assert!(Aberrations::default().with(1, 0.1).is_err());
        assert!(Aberrations::default().with(38, 0.1).is_err());
        assert!(Aberrations::default().with(4, f64::NAN).is_err());
        assert!(serde_json::from_str::<Aberrations>(r#"{"Q4": 0.1}"#).is_err());
    }

    #[test]
    fn coefficients_are_written_by_name() -> Result<(), Box<dyn std::error::Error>> {
        let aberrations = Aberrations::default().with(4, 0.01)?.with(7, -0.02)?;
        let json = serde_json::to_string(&aberrations)?;
        assert_eq!(json, r#"{"Z4":0.01,"Z7":-0.02}"#);
        assert_eq!(serde_json::from_str::<Aberrations>(&json)?, aberrations);
        Ok(())
    }
}
