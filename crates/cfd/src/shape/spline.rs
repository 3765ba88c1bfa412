//! Periodic cubic B-splines: outlines without corners from a few control points.

use super::curve::{Curve, Trace};
use super::polygon::simple;
use super::{Point, Shape, ShapeError, enclosed, finite};

/// A closed, uniform, cubic B-spline; its parameters are the coordinates of its control points.
#[derive(Clone, Debug)]
pub struct Spline {
    control: Control,
    trace: Trace,
}

#[derive(Clone, Debug)]
struct Control(Vec<Point>);

/// Points of the polygon from which searches start, for each control point.
const FINENESS: usize = 24;

impl Spline {
    /// A spline of control points, counter-clockwise around the body. It runs inside their polygon.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if a coordinate is not finite, there are fewer than four points, or the outline crosses
    /// itself or runs clockwise.
    pub fn new(control: &[Point]) -> Result<Self, ShapeError> {
        finite("spline", &names(control.len()), control.as_flattened())?;
        if control.len() < 4 {
            return Err(ShapeError::Points { least: 4, got: control.len() });
        }
        let control = Control(control.to_vec());
        let trace = Trace::of(&control, FINENESS * control.0.len());
        simple(trace.points())?;
        if enclosed(trace.points()) <= 0.0 {
            return Err(ShapeError::Flat);
        }
        Ok(Self { control, trace })
    }

    /// A spline near an ellipse, with control points at equal steps of its angle; exact as their number grows.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] as for [`Self::new`].
    pub fn around(centre: Point, half: Point, count: usize) -> Result<Self, ShapeError> {
        let step = std::f64::consts::TAU / count as f64;
        // At its knots the spline is nearer to the centre than its control points by this.
        let shrink = (2.0 + step.cos()) / 3.0;
        let at = |i: usize| {
            let (sin, cos) = (step * (i as f64 + 0.5)).sin_cos();
            [centre[0] + half[0] * cos / shrink, centre[1] + half[1] * sin / shrink]
        };
        Self::new(&(0..count).map(at).collect::<Vec<_>>())
    }

    /// The control points.
    #[must_use]
    pub fn control(&self) -> &[Point] {
        &self.control.0
    }

    /// The area within, exactly: ½ ∮ q × q′ dt by Gauss's rule, since q × q′ is of the fifth degree on each piece.
    #[must_use]
    pub fn enclosed(&self) -> f64 {
        let pieces = self.control.0.len();
        let share = |q: Point, d: Point| super::cross(q, d) / 2.0;
        nodes(pieces)
            .map(|(t, weight)| {
                let [q, derivative] = self.control.at(t);
                weight * share(q, derivative)
            })
            .sum()
    }

    /// The derivative of the area by each parameter: ∮ (∂q/∂θ × q′) dt.
    #[must_use]
    pub fn enclosed_by_parameters(&self) -> Vec<f64> {
        let pieces = self.control.0.len();
        let mut gradient = vec![0.0; 2 * pieces];
        for (t, weight) in nodes(pieces) {
            let derivative = self.control.at(t)[1];
            let (piece, basis, _) = self.control.basis(t);
            for (k, share) in basis.iter().enumerate() {
                let point = (piece + k) % pieces;
                gradient[2 * point] += weight * share * derivative[1];
                gradient[2 * point + 1] -= weight * share * derivative[0];
            }
        }
        gradient
    }
}

/// Gauss's rule of three nodes on each piece: places on the curve and weights.
fn nodes(pieces: usize) -> impl Iterator<Item = (f64, f64)> {
    let reach = 0.6_f64.sqrt();
    let rule = [(-reach, 5.0 / 18.0), (0.0, 8.0 / 18.0), (reach, 5.0 / 18.0)];
    let length = 1.0 / pieces as f64;
    (0..pieces).flat_map(move |piece| {
        rule.map(|(at, weight)| (length * (piece as f64 + 0.5 + at / 2.0), length * weight))
    })
}

fn names(count: usize) -> Vec<String> {
    (0..count).flat_map(|i| [format!("control {i} x"), format!("control {i} y")]).collect()
}

impl Control {
    /// First control point of a piece, the weights of four from it on, and the weights' derivatives by t.
    fn basis(&self, t: f64) -> (usize, [f64; 4], [f64; 4]) {
        let pieces = self.0.len() as f64;
        let at = t.rem_euclid(1.0) * pieces;
        let piece = at.floor().min(pieces - 1.0);
        let (u, v) = (at - piece, 1.0 - (at - piece));
        let weights = [
            v.powi(3) / 6.0,
            (3.0 * u.powi(3) - 6.0 * u * u + 4.0) / 6.0,
            (3.0 * v.powi(3) - 6.0 * v * v + 4.0) / 6.0,
            u.powi(3) / 6.0,
        ];
        let rates = [
            -v * v / 2.0,
            (3.0 * u * u - 4.0 * u) / 2.0,
            (4.0 * v - 3.0 * v * v) / 2.0,
            u * u / 2.0,
        ];
        (piece as usize, weights, rates.map(|r| r * pieces))
    }
}

impl Curve for Control {
    const CORNER: bool = false;

    fn at(&self, t: f64) -> [Point; 2] {
        let (piece, weights, rates) = self.basis(t);
        let sum = |shares: [f64; 4]| {
            let point = |k: usize| self.0[(piece + k) % self.0.len()];
            [0, 1].map(|axis| (0..4).map(|k| shares[k] * point(k)[axis]).sum::<f64>())
        };
        [sum(weights), sum(rates)]
    }

    fn motion(&self, t: f64, out: &mut [Point]) {
        let (piece, weights, _) = self.basis(t);
        out.fill([0.0; 2]);
        for (k, weight) in weights.into_iter().enumerate() {
            let point = (piece + k) % self.0.len();
            out[2 * point][0] += weight;
            out[2 * point + 1][1] += weight;
        }
    }
}

impl Shape for Spline {
    fn distance(&self, x: f64, y: f64) -> f64 {
        self.trace.foot(&self.control, [x, y]).distance
    }

    fn parameters(&self) -> Vec<f64> {
        self.control.0.as_flattened().to_vec()
    }

    fn names(&self) -> Vec<String> {
        names(self.control.0.len())
    }

    fn sensitivity(&self, x: f64, y: f64, out: &mut [f64]) {
        self.trace.foot(&self.control, [x, y]).sensitivity(&self.control, out);
    }

    fn with(&self, parameters: &[f64]) -> Result<Box<dyn Shape>, ShapeError> {
        finite("spline", &self.names(), parameters)?;
        let control: Vec<Point> = parameters.chunks_exact(2).map(|p| [p[0], p[1]]).collect();
        Ok(Box::new(Self::new(&control)?))
    }

    fn outline(&self, points: usize) -> Vec<Vec<Point>> {
        vec![Trace::of(&self.control, points).points().to_vec()]
    }

    fn area(&self) -> f64 {
        self.enclosed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PROBES, agrees_with_differences, has_its_outline, is_a_distance};
    use super::*;

    fn pebble() -> Spline {
        let control = [
            [0.9, 0.1],
            [0.5, 0.55],
            [-0.3, 0.6],
            [-0.8, 0.2],
            [-0.7, -0.4],
            [0.1, -0.55],
            [0.7, -0.4],
        ];
        Spline::new(&control).expect("a spline")
    }

    #[test]
    fn a_spline_has_exact_derivatives_by_its_control_points() {
        agrees_with_differences(&pebble(), &PROBES);
        is_a_distance(&pebble(), &PROBES);
        has_its_outline(&pebble());
    }

    /// The spline lies between its value at the knots and at the middles of its pieces, 2e-5 apart for 16 points.
    #[test]
    fn sixteen_points_on_a_circle_are_nearly_a_circle() {
        let round = Spline::around([0.1, -0.1], [0.5, 0.5], 16).expect("a spline");
        for [x, y] in PROBES {
            let exact = (x - 0.1).hypot(y + 0.1) - 0.5;
            assert!((round.distance(x, y) - exact).abs() < 1e-4, "{x}, {y}");
        }
    }

    #[test]
    fn area_and_its_derivative_are_exact() {
        let spline = pebble();
        let fine = enclosed(&spline.outline(20_000)[0]);
        assert!((spline.enclosed() / fine - 1.0).abs() < 1e-7, "{} vs {fine}", spline.enclosed());
        let (parameters, gradient) = (spline.parameters(), spline.enclosed_by_parameters());
        for i in 0..parameters.len() {
            let area = |step: f64| {
                let mut moved = parameters.clone();
                moved[i] += step;
                spline.with(&moved).expect("a small change").area()
            };
            // Quadratic in the parameters: a central difference has no error but rounding.
            let difference = (area(1e-3) - area(-1e-3)) / 2e-3;
            assert!((gradient[i] - difference).abs() < 1e-11, "{} vs {difference}", gradient[i]);
        }
    }

    #[test]
    fn a_spline_that_crosses_itself_is_refused() {
        let eight = [[1.0, 1.0], [-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0]];
        assert!(matches!(Spline::new(&eight), Err(ShapeError::Crossing { .. })));
        assert!(matches!(Spline::new(&eight[..3]), Err(ShapeError::Points { least: 4, got: 3 })));
    }
}
