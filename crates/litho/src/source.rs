//! Illumination: where on the pupil the light comes from, and how it is polarised.

use serde::{Deserialize, Serialize};

/// Shape of the source, in units of the pupil's radius (sigma).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Source {
    /// A disc.
    Conventional {
        /// Its radius.
        sigma: f64,
    },
    /// A ring.
    Annular {
        /// Inner radius.
        inner: f64,
        /// Outer radius.
        outer: f64,
    },
    /// Four poles on the axes: sectors of a ring.
    CrossQuad {
        /// Inner radius.
        inner: f64,
        /// Outer radius.
        outer: f64,
        /// Half the opening angle of a pole, in degrees.
        half_angle_deg: f64,
    },
}

/// How the light is polarised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Polarization {
    /// Half along x, half along y, incoherently.
    Unpolarized,
    /// Poles on the x axis along y, poles on the y axis along x ("XY").
    CrossPoles,
}

/// One point of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SourcePoint {
    /// Position in the pupil, x then y, in units of its radius.
    pub at: [f64; 2],
    /// Share of the light; all points' shares sum to 1.
    pub weight: f64,
}

impl Source {
    /// Largest distance from the axis.
    pub fn outer(&self) -> f64 {
        match *self {
            Self::Conventional { sigma } => sigma,
            Self::Annular { outer, .. } | Self::CrossQuad { outer, .. } => outer,
        }
    }

    /// Whether light comes from a point of the pupil.
    pub fn contains(&self, [x, y]: [f64; 2]) -> bool {
        let radius = x.hypot(y);
        match *self {
            Self::Conventional { sigma } => radius <= sigma,
            Self::Annular { inner, outer } => (inner..=outer).contains(&radius),
            Self::CrossQuad { inner, outer, half_angle_deg } => {
                // Angle to the nearest axis.
                let angle = y.abs().atan2(x.abs()).to_degrees();
                (inner..=outer).contains(&radius) && angle.min(90.0 - angle) <= half_angle_deg
            }
        }
    }

    /// Points on a square grid of the given step, symmetric about both axes.
    pub fn points(&self, step: f64) -> Vec<SourcePoint> {
        let reach = (self.outer() / step).ceil() as i64;
        let at = |i: i64| (i as f64 + 0.5) * step;
        let grid = (-reach..reach).flat_map(|i| (-reach..reach).map(move |j| [at(i), at(j)]));
        let lit: Vec<[f64; 2]> = grid.filter(|&p| self.contains(p)).collect();
        let weight = 1.0 / lit.len() as f64;
        lit.into_iter().map(|at| SourcePoint { at, weight }).collect()
    }
}

impl Polarization {
    /// The directions of the electric field of light from a point, with their shares.
    pub fn fields(&self, [x, y]: [f64; 2]) -> Vec<([f64; 2], f64)> {
        match self {
            Self::Unpolarized => vec![([1.0, 0.0], 0.5), ([0.0, 1.0], 0.5)],
            Self::CrossPoles if x.abs() >= y.abs() => vec![([0.0, 1.0], 1.0)],
            Self::CrossPoles => vec![([1.0, 0.0], 1.0)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    #[test]
    fn a_source_has_its_area() {
        let source = Source::CrossQuad { inner: 0.5, outer: 0.9, half_angle_deg: 20.0 };
        let step = 0.005;
        let area = source.points(step).len() as f64 * step * step;
        let expected = 4.0 * (20.0 / 180.0 * PI) * (0.81 - 0.25);
        assert!((area / expected - 1.0).abs() < 0.01, "{area} vs {expected}"); // grid noise at the rim
    }
}
