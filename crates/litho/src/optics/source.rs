//! Illumination: where on the pupil the light comes from, and how it is polarised.

use serde::{Deserialize, Serialize};

use crate::LithoError;

/// Largest distance from the axis in units of the pupil's radius: from there on light is incoherent.
const MOST_SIGMA: f64 = 2.0;
/// Most cells on a side of a source made from an image; finer images are averaged.
const MOST_CELLS: usize = 100;

/// Shape of the source, in units of the pupil's radius (sigma).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Two poles on an axis: sectors of a ring.
    Dipole {
        /// Inner radius.
        inner: f64,
        /// Outer radius.
        outer: f64,
        /// Half the opening angle of a pole, in degrees.
        half_angle_deg: f64,
        /// Where the poles are.
        axis: Axis,
    },
    /// Four poles on the diagonals ("Quasar"): sectors of a ring.
    Quadrupole {
        /// Inner radius.
        inner: f64,
        /// Outer radius.
        outer: f64,
        /// Half the opening angle of a pole, in degrees.
        half_angle_deg: f64,
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
    /// Any shape, as points: see [`Source::from_image`].
    Points(Vec<SourcePoint>),
}

/// An axis of the pupil.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Axis {
    /// Along a raster's rows.
    X,
    /// Along a raster's columns.
    Y,
}

/// How the light is polarised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Polarization {
    /// Half along x, half along y, incoherently.
    Unpolarized,
    /// Poles on the x axis along y, poles on the y axis along x ("XY").
    CrossPoles,
    /// Along x.
    X,
    /// Along y.
    Y,
    /// Away from the axis ("TM"); unpolarised on it.
    Radial,
    /// Around the axis ("TE"); unpolarised on it.
    Azimuthal,
}

/// One point of a source.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourcePoint {
    /// Position in the pupil, x then y, in units of its radius.
    pub at: [f64; 2],
    /// Share of the light; all points' shares sum to 1.
    pub weight: f64,
}

impl Source {
    /// A source from a square image of `side` rows: it covers −1..1 in both axes, x to the right, y as
    /// the rows, and brightness is weight. Images of more than 100 rows are averaged to 100.
    ///
    /// # Errors
    ///
    /// [`LithoError::Optics`] if the image is not square, dark, or holds a value that is negative or not
    /// finite.
    pub fn from_image(brightness: &[f32], side: usize) -> Result<Self, LithoError> {
        let wrong = |problem: String| Err(LithoError::Optics(format!("source image: {problem}")));
        if side == 0 || brightness.len() != side * side {
            let found = brightness.len();
            return wrong(format!("expected a square of {side} x {side} values, got {found}"));
        }
        if let Some(value) = brightness.iter().find(|v| !(v.is_finite() && **v >= 0.0)) {
            return wrong(format!("expected brightness of 0 or more, got {value}"));
        }
        let sum: f64 = brightness.iter().map(|&v| f64::from(v)).sum();
        if sum <= 0.0 {
            return wrong("expected a bright pixel, but all are black".into());
        }
        let mut points = cells(brightness, side);
        points.iter_mut().for_each(|point| point.weight /= sum);
        Ok(Self::Points(points))
    }

    /// Largest distance from the axis.
    pub fn outer(&self) -> f64 {
        match self {
            Self::Conventional { sigma } => *sigma,
            Self::Annular { outer, .. }
            | Self::Dipole { outer, .. }
            | Self::Quadrupole { outer, .. }
            | Self::CrossQuad { outer, .. } => *outer,
            Self::Points(points) => {
                points.iter().map(|p| p.at[0].hypot(p.at[1])).fold(0.0, f64::max)
            }
        }
    }

    /// Inner radius and half the opening angle of a pole in degrees, of the shapes that have them.
    pub fn ring(&self) -> [Option<f64>; 2] {
        match *self {
            Self::Conventional { .. } | Self::Points(_) => [None, None],
            Self::Annular { inner, .. } => [Some(inner), None],
            Self::Dipole { inner, half_angle_deg, .. }
            | Self::Quadrupole { inner, half_angle_deg, .. }
            | Self::CrossQuad { inner, half_angle_deg, .. } => [Some(inner), Some(half_angle_deg)],
        }
    }

    /// Whether the shape can be.
    ///
    /// # Errors
    ///
    /// [`LithoError::Optics`] that names the number that is wrong.
    pub fn check(&self) -> Result<(), LithoError> {
        let wrong = |problem: String| Err(LithoError::Optics(problem));
        let outer = self.outer();
        if !(outer > 0.0 && outer <= MOST_SIGMA) {
            return wrong(format!("sigma must be above 0 and at most {MOST_SIGMA}, got {outer}"));
        }
        let [inner, half_angle] = self.ring();
        if let Some(inner) = inner.filter(|inner| !(0.0..outer).contains(inner)) {
            return wrong(format!("inner sigma must be 0 or more and below {outer}, got {inner}"));
        }
        let most = if matches!(self, Self::Dipole { .. }) { 90.0 } else { 45.0 };
        if let Some(angle) = half_angle.filter(|&angle| !(angle > 0.0 && angle <= most)) {
            return wrong(format!("half angle must be above 0 and at most {most}°, got {angle}°"));
        }
        match self {
            Self::Points(points) => check_points(points),
            _ => Ok(()),
        }
    }

    /// Whether light comes from a point of the pupil; from an image only its points shine.
    pub fn contains(&self, [x, y]: [f64; 2]) -> bool {
        let radius = x.hypot(y);
        // Angle to the x axis, 0 to 90 degrees.
        let angle = y.abs().atan2(x.abs()).to_degrees();
        match self {
            Self::Conventional { sigma } => radius <= *sigma,
            Self::Annular { inner, outer } => (*inner..=*outer).contains(&radius),
            Self::Dipole { inner, outer, half_angle_deg, axis } => {
                let angle = if *axis == Axis::X { angle } else { 90.0 - angle };
                (*inner..=*outer).contains(&radius) && angle <= *half_angle_deg
            }
            Self::Quadrupole { inner, outer, half_angle_deg } => {
                (*inner..=*outer).contains(&radius) && (angle - 45.0).abs() <= *half_angle_deg
            }
            Self::CrossQuad { inner, outer, half_angle_deg } => {
                (*inner..=*outer).contains(&radius) && angle.min(90.0 - angle) <= *half_angle_deg
            }
            Self::Points(points) => points.iter().any(|p| p.at == [x, y]),
        }
    }

    /// Points on a square grid of the given step, symmetric about both axes; those of an image as they are.
    pub fn points(&self, step: f64) -> Vec<SourcePoint> {
        if let Self::Points(points) = self {
            return points.clone();
        }
        let reach = (self.outer() / step).ceil() as i64;
        let at = |i: i64| (i as f64 + 0.5) * step;
        let grid = (-reach..reach).flat_map(|i| (-reach..reach).map(move |j| [at(i), at(j)]));
        let lit: Vec<[f64; 2]> = grid.filter(|&p| self.contains(p)).collect();
        let weight = 1.0 / lit.len() as f64;
        lit.into_iter().map(|at| SourcePoint { at, weight }).collect()
    }
}

/// The bright cells of an image: the brightness in each, at its centre of brightness.
fn cells(brightness: &[f32], side: usize) -> Vec<SourcePoint> {
    let count = side.min(MOST_CELLS);
    let dark = SourcePoint { at: [0.0; 2], weight: 0.0 };
    let mut cells = vec![dark; count * count];
    let sigma = |i: usize| (2.0 * i as f64 + 1.0) / side as f64 - 1.0;
    for (i, &value) in brightness.iter().enumerate() {
        let (x, y, value) = (i % side, i / side, f64::from(value));
        let cell = &mut cells[y * count / side * count + x * count / side];
        cell.at = [cell.at[0] + value * sigma(x), cell.at[1] + value * sigma(y)];
        cell.weight += value;
    }
    cells.retain(|cell| cell.weight > 0.0);
    cells.iter_mut().for_each(|cell| cell.at = cell.at.map(|sum| sum / cell.weight));
    cells
}

fn check_points(points: &[SourcePoint]) -> Result<(), LithoError> {
    let shines = |p: &SourcePoint| p.weight > 0.0 && p.at.iter().all(|v| v.is_finite());
    let sum: f64 = points.iter().map(|p| p.weight).sum();
    if points.iter().all(shines) && (sum - 1.0).abs() < 1e-6 {
        return Ok(());
    }
    let problem = format!("weights of source points must be positive and sum to 1, got {sum}");
    Err(LithoError::Optics(problem))
}

impl Polarization {
    /// The directions of the electric field of light from a point, with their shares.
    pub fn fields(&self, [x, y]: [f64; 2]) -> Vec<([f64; 2], f64)> {
        let (along_x, along_y, radius) = ([1.0, 0.0], [0.0, 1.0], x.hypot(y));
        match self {
            Self::X => vec![(along_x, 1.0)],
            Self::Y => vec![(along_y, 1.0)],
            Self::CrossPoles if x.abs() >= y.abs() => vec![(along_y, 1.0)],
            Self::CrossPoles => vec![(along_x, 1.0)],
            Self::Radial if radius > 0.0 => vec![([x / radius, y / radius], 1.0)],
            Self::Azimuthal if radius > 0.0 => vec![([-y / radius, x / radius], 1.0)],
            Self::Unpolarized | Self::Radial | Self::Azimuthal => {
                vec![(along_x, 0.5), (along_y, 0.5)]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    #[test]
    fn a_source_has_its_area() {
        let (inner, outer, half_angle_deg) = (0.5, 0.9, 20.0);
        let pole = (2.0 * 20.0 / 360.0 * PI) * (0.81 - 0.25);
        let shapes = [
            (Source::CrossQuad { inner, outer, half_angle_deg }, 4.0 * pole),
            (Source::Quadrupole { inner, outer, half_angle_deg }, 4.0 * pole),
            (Source::Dipole { inner, outer, half_angle_deg, axis: Axis::X }, 2.0 * pole),
            (Source::Dipole { inner, outer, half_angle_deg, axis: Axis::Y }, 2.0 * pole),
            (Source::Annular { inner, outer }, PI * (0.81 - 0.25)),
        ];
        let step = 0.005;
        for (source, expected) in shapes {
            let area = source.points(step).len() as f64 * step * step;
            assert!((area / expected - 1.0).abs() < 0.01, "{area} vs {expected}"); // grid noise at the rim
        }
    }

    #[test]
    fn poles_are_where_they_belong() {
        let (inner, outer, half_angle_deg) = (0.5, 0.9, 20.0);
        let dipole = |axis| Source::Dipole { inner, outer, half_angle_deg, axis };
        let quasar = Source::Quadrupole { inner, outer, half_angle_deg };
        let (right, below, diagonal) = ([0.7, 0.0], [0.0, 0.7], [-0.5, 0.5]);
        let lit = |source: &Source| [right, below, diagonal].map(|at| source.contains(at));
        assert_eq!(lit(&dipole(Axis::X)), [true, false, false]);
        assert_eq!(lit(&dipole(Axis::Y)), [false, true, false]);
        assert_eq!(lit(&quasar), [false, false, true]);
    }

    #[test]
    fn an_image_is_its_bright_pixels() -> Result<(), LithoError> {
        let mut image = vec![0.0; 16];
        image[3] = 0.25; // top right
        image[4] = 0.75; // second row, left
        let expected = [([0.75, -0.75], 0.25), ([-0.75, -0.25], 0.75)];
        let expected = expected.map(|(at, weight)| SourcePoint { at, weight });
        assert_eq!(Source::from_image(&image, 4)?, Source::Points(expected.to_vec()));
        Ok(())
    }

    /// Averaging moves no light: the centre of brightness stays, to rounding.
    #[test]
    fn a_fine_image_is_averaged_about_its_centres() -> Result<(), LithoError> {
        let side = 333;
        let image: Vec<f32> = (0..side * side).map(|i| ((i * i) % 7) as f32).collect();
        let points = Source::from_image(&image, side)?.points(0.02);
        assert!(points.len() <= MOST_CELLS * MOST_CELLS);
        let sigma = |i: usize| (2.0 * i as f64 + 1.0) / side as f64 - 1.0;
        let sum: f64 = image.iter().map(|&v| f64::from(v)).sum();
        let pixels = image.iter().enumerate();
        let mean = pixels.map(|(i, &v)| f64::from(v) * sigma(i % side)).sum::<f64>() / sum;
        let kept: f64 = points.iter().map(|p| p.weight * p.at[0]).sum();
        assert!((kept - mean).abs() < 1e-9, "{kept} vs {mean}");
        Ok(())
    }

    #[test]
    fn an_image_that_is_no_source_is_refused() {
        let problem =
            |image: &[f32], side| Source::from_image(image, side).unwrap_err().to_string();
        assert!(problem(&[0.0; 4], 2).contains("black"));
        assert!(problem(&[1.0; 6], 2).contains("square"));
        assert!(problem(&[f32::NAN; 4], 2).contains("brightness"));
    }

    #[test]
    fn a_shape_that_cannot_be_is_refused() {
        let problem = |source: Source| source.check().expect_err("no such source").to_string();
        assert!(problem(Source::Conventional { sigma: 2.5 }).contains("at most 2"));
        assert!(problem(Source::Conventional { sigma: f64::NAN }).contains("NaN"));
        assert!(problem(Source::Annular { inner: 0.9, outer: 0.8 }).contains("inner sigma"));
        let wide = Source::Quadrupole { inner: 0.5, outer: 0.8, half_angle_deg: 60.0 };
        assert!(problem(wide).contains("half angle"));
    }

    #[test]
    fn radial_and_azimuthal_fields_are_unit_and_perpendicular() {
        for at in [[0.6, 0.2], [-0.3, 0.8], [0.0, -0.5]] {
            let field = |polarization: Polarization| polarization.fields(at)[0].0;
            let ([a, b], [c, d]) = (field(Polarization::Radial), field(Polarization::Azimuthal));
            assert!((a * c + b * d).abs() < 1e-15 && (a.hypot(b) - 1.0).abs() < 1e-15);
            assert!((a * at[1] - b * at[0]).abs() < 1e-15, "radial is along the position");
            assert!((c.hypot(d) - 1.0).abs() < 1e-15);
        }
        assert_eq!(
            Polarization::Radial.fields([0.0; 2]),
            Polarization::Unpolarized.fields([0.0; 2])
        );
    }
}
