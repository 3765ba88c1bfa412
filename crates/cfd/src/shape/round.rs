//! Circles and ellipses.

use std::f64::consts::TAU;

use super::curve::{Curve, Trace};
use super::{Point, Shape, ShapeError, finite, named, plus, positive, quarter, turned};

/// A circle.
#[derive(Clone, Debug, PartialEq)]
pub struct Circle {
    /// Its centre.
    pub centre: Point,
    /// Its radius.
    pub radius: f64,
}

impl Circle {
    /// A circle about a centre.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if the radius is not positive or a number is not finite.
    pub fn new(centre: Point, radius: f64) -> Result<Self, ShapeError> {
        let values = [centre[0], centre[1], radius];
        finite("circle", &Self::parameter_names(), &values)?;
        positive("circle", "radius", radius)?;
        Ok(Self { centre, radius })
    }

    fn parameter_names() -> Vec<String> {
        named(&["centre x", "centre y", "radius"])
    }
}

impl Shape for Circle {
    fn distance(&self, x: f64, y: f64) -> f64 {
        (x - self.centre[0]).hypot(y - self.centre[1]) - self.radius
    }

    fn parameters(&self) -> Vec<f64> {
        vec![self.centre[0], self.centre[1], self.radius]
    }

    fn names(&self) -> Vec<String> {
        Self::parameter_names()
    }

    fn sensitivity(&self, x: f64, y: f64, out: &mut [f64]) {
        let away = [x - self.centre[0], y - self.centre[1]];
        // At the centre every direction is as close; none counts.
        let length = away[0].hypot(away[1]).max(f64::MIN_POSITIVE);
        out.copy_from_slice(&[-away[0] / length, -away[1] / length, -1.0]);
    }

    fn with(&self, parameters: &[f64]) -> Result<Box<dyn Shape>, ShapeError> {
        finite("circle", &self.names(), parameters)?;
        Ok(Box::new(Self::new([parameters[0], parameters[1]], parameters[2])?))
    }

    fn outline(&self, points: usize) -> Vec<Vec<Point>> {
        let at = |i| {
            let (sin, cos) = (TAU * f64::from(i) / points as f64).sin_cos();
            [self.centre[0] + self.radius * cos, self.centre[1] + self.radius * sin]
        };
        vec![(0..points as u32).map(at).collect()]
    }

    fn area(&self) -> f64 {
        TAU / 2.0 * self.radius * self.radius
    }
}

/// An ellipse.
#[derive(Clone, Debug)]
pub struct Ellipse {
    oval: Oval,
    trace: Trace,
}

/// An ellipse's numbers.
#[derive(Clone, Debug)]
struct Oval {
    centre: Point,
    /// Half axes, along x and y before the turn.
    half: Point,
    /// Counter-clockwise turn, in radians.
    angle: f64,
}

impl Ellipse {
    /// An ellipse about a centre with half axes along x and y, turned counter-clockwise by `angle` radians.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if a half axis is not positive or a number is not finite.
    pub fn new(centre: Point, half: Point, angle: f64) -> Result<Self, ShapeError> {
        let values = [centre[0], centre[1], half[0], half[1], angle];
        finite("ellipse", &Self::parameter_names(), &values)?;
        positive("ellipse", "half axis x", half[0])?;
        positive("ellipse", "half axis y", half[1])?;
        let oval = Oval { centre, half, angle };
        let trace = Trace::of(&oval, 192);
        Ok(Self { oval, trace })
    }

    fn parameter_names() -> Vec<String> {
        named(&["centre x", "centre y", "half axis x", "half axis y", "angle"])
    }
}

impl Curve for Oval {
    const CORNER: bool = false;

    fn at(&self, t: f64) -> [Point; 2] {
        let (sin, cos) = (TAU * t).sin_cos();
        let [a, b] = self.half;
        let point = plus(self.centre, turned([a * cos, b * sin], self.angle));
        [point, turned([-TAU * a * sin, TAU * b * cos], self.angle)]
    }

    fn motion(&self, t: f64, out: &mut [Point]) {
        let (sin, cos) = (TAU * t).sin_cos();
        let arm = turned([self.half[0] * cos, self.half[1] * sin], self.angle);
        let axis = |v| turned(v, self.angle);
        out.copy_from_slice(&[
            [1.0, 0.0],
            [0.0, 1.0],
            axis([cos, 0.0]),
            axis([0.0, sin]),
            quarter(arm),
        ]);
    }
}

impl Shape for Ellipse {
    fn distance(&self, x: f64, y: f64) -> f64 {
        self.trace.foot(&self.oval, [x, y]).distance
    }

    fn parameters(&self) -> Vec<f64> {
        let Oval { centre, half, angle } = self.oval;
        vec![centre[0], centre[1], half[0], half[1], angle]
    }

    fn names(&self) -> Vec<String> {
        Self::parameter_names()
    }

    fn sensitivity(&self, x: f64, y: f64, out: &mut [f64]) {
        self.trace.foot(&self.oval, [x, y]).sensitivity(&self.oval, out);
    }

    fn with(&self, parameters: &[f64]) -> Result<Box<dyn Shape>, ShapeError> {
        finite("ellipse", &self.names(), parameters)?;
        let [x, y, a, b, angle] = [0, 1, 2, 3, 4].map(|i| parameters[i]);
        Ok(Box::new(Self::new([x, y], [a, b], angle)?))
    }

    fn outline(&self, points: usize) -> Vec<Vec<Point>> {
        vec![Trace::of(&self.oval, points).points().to_vec()]
    }

    fn area(&self) -> f64 {
        TAU / 2.0 * self.oval.half[0] * self.oval.half[1]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PROBES, agrees_with_differences, has_its_outline, is_a_distance};
    use super::*;

    #[test]
    fn a_circle_knows_its_distance_and_derivatives() {
        let circle = Circle::new([0.0137, 0.0071], 0.5).expect("a circle");
        assert_eq!(circle.distance(3.0137, 4.0071), 4.5);
        agrees_with_differences(&circle, &PROBES);
        is_a_distance(&circle, &PROBES);
        has_its_outline(&circle);
    }

    #[test]
    fn an_ellipse_knows_its_distance_on_its_axes_and_its_derivatives_anywhere() {
        let upright = Ellipse::new([0.0; 2], [0.8, 0.4], 0.0).expect("an ellipse");
        assert!((upright.distance(2.0, 0.0) - 1.2).abs() < 1e-12);
        assert!((upright.distance(0.0, -1.0) - 0.6).abs() < 1e-12);
        assert!((upright.distance(0.0, 0.1) + 0.3).abs() < 1e-12);
        let turned = Ellipse::new([0.05, -0.02], [0.8, 0.35], 0.3).expect("an ellipse");
        agrees_with_differences(&turned, &PROBES);
        is_a_distance(&turned, &PROBES);
        has_its_outline(&turned);
    }

    /// With equal axes both are the same body.
    #[test]
    fn a_round_ellipse_is_a_circle() {
        let (oval, circle) =
            (Ellipse::new([0.1, 0.2], [0.5; 2], 0.7), Circle::new([0.1, 0.2], 0.5));
        let (oval, circle) = (oval.expect("an ellipse"), circle.expect("a circle"));
        for [x, y] in PROBES {
            assert!((oval.distance(x, y) - circle.distance(x, y)).abs() < 1e-12);
        }
        let polygon = super::super::enclosed(&oval.outline(2048)[0]);
        assert!((polygon / circle.area() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_radius_that_is_no_length_is_refused() {
        assert!(matches!(Circle::new([0.0; 2], -1.0), Err(ShapeError::Range { .. })));
        assert!(matches!(Circle::new([f64::NAN, 0.0], 1.0), Err(ShapeError::Finite { .. })));
        let wrong = Circle::new([0.0; 2], 1.0).expect("a circle").with(&[1.0]);
        assert!(matches!(wrong, Err(ShapeError::Count { expected: 3, got: 1, .. })));
    }
}
