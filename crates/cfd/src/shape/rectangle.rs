//! Rectangles.

use super::{Point, Shape, ShapeError, dot, finite, minus, named, plus, positive, quarter, turned};

/// A rectangle.
#[derive(Clone, Debug, PartialEq)]
pub struct Rectangle {
    /// Its centre.
    pub centre: Point,
    /// Half of its width and of its height.
    pub half: Point,
    /// Counter-clockwise turn, in radians.
    pub angle: f64,
}

impl Rectangle {
    /// A rectangle about a centre, turned counter-clockwise by `angle` radians.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if a side is not positive or a number is not finite.
    pub fn new(centre: Point, half: Point, angle: f64) -> Result<Self, ShapeError> {
        let values = [centre[0], centre[1], half[0], half[1], angle];
        finite("rectangle", &Self::parameter_names(), &values)?;
        positive("rectangle", "half width", half[0])?;
        positive("rectangle", "half height", half[1])?;
        Ok(Self { centre, half, angle })
    }

    /// An upright rectangle between two corners.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if `high` is not above and to the right of `low`.
    pub fn between(low: Point, high: Point) -> Result<Self, ShapeError> {
        let middle = plus(low, high).map(|v| v / 2.0);
        Self::new(middle, minus(high, low).map(|v| v / 2.0), 0.0)
    }

    fn parameter_names() -> Vec<String> {
        named(&["centre x", "centre y", "half width", "half height", "angle"])
    }

    /// A point relative to the rectangle's centre and axes.
    fn local(&self, x: f64, y: f64) -> Point {
        turned(minus([x, y], self.centre), -self.angle)
    }

    /// Closest point of the outline and the outward normal there, both in the rectangle's axes.
    fn foot(&self, p: Point) -> [Point; 2] {
        let over = [0, 1].map(|i| p[i].abs() - self.half[i]);
        let outside = over.map(|v| v.max(0.0));
        let length = outside[0].hypot(outside[1]);
        let signed = |v: Point| [0, 1].map(|i| v[i].copysign(p[i]));
        if length > 0.0 {
            let q = [0, 1].map(|i| p[i].clamp(-self.half[i], self.half[i]));
            return [q, signed(outside.map(|v| v / length))];
        }
        let (normal, side) = if over[0] > over[1] { ([1.0, 0.0], 0) } else { ([0.0, 1.0], 1) };
        let mut q = p;
        q[side] = self.half[side].copysign(p[side]);
        [q, signed(normal).map(|v| if v.abs() > 0.5 { v } else { 0.0 })]
    }
}

impl Shape for Rectangle {
    fn distance(&self, x: f64, y: f64) -> f64 {
        let p = self.local(x, y);
        let [q, normal] = self.foot(p);
        dot(minus(p, q), normal)
    }

    fn parameters(&self) -> Vec<f64> {
        vec![self.centre[0], self.centre[1], self.half[0], self.half[1], self.angle]
    }

    fn names(&self) -> Vec<String> {
        Self::parameter_names()
    }

    fn sensitivity(&self, x: f64, y: f64, out: &mut [f64]) {
        let [q, normal] = self.foot(self.local(x, y));
        let share = |i: usize| q[i] / self.half[i] * normal[i];
        let world = turned(normal, self.angle);
        let turn = dot(normal, quarter(q));
        out.copy_from_slice(&[-world[0], -world[1], -share(0), -share(1), -turn]);
    }

    fn with(&self, parameters: &[f64]) -> Result<Box<dyn Shape>, ShapeError> {
        finite("rectangle", &self.names(), parameters)?;
        let [x, y, a, b, angle] = [0, 1, 2, 3, 4].map(|i| parameters[i]);
        Ok(Box::new(Self::new([x, y], [a, b], angle)?))
    }

    fn outline(&self, points: usize) -> Vec<Vec<Point>> {
        let corners = [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]];
        let side = points.div_ceil(4).max(1);
        let at = |i: usize| {
            let (from, to) = (corners[i / side], corners[(i / side + 1) % 4]);
            let share = (i % side) as f64 / side as f64;
            let local = [0, 1].map(|k| self.half[k] * (from[k] + share * (to[k] - from[k])));
            plus(self.centre, turned(local, self.angle))
        };
        vec![(0..4 * side).map(at).collect()]
    }

    fn area(&self) -> f64 {
        4.0 * self.half[0] * self.half[1]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PROBES, agrees_with_differences, has_its_outline, is_a_distance};
    use super::*;

    #[test]
    fn a_rectangle_is_as_far_as_its_side_or_its_corner() {
        let fin = Rectangle::between([0.7, 0.0], [0.76, 0.3]).expect("a fin");
        assert!((fin.distance(0.6, 0.1) - 0.1).abs() < 1e-15);
        assert!((fin.distance(0.79, 0.34) - 0.05).abs() < 1e-15);
        assert!((fin.distance(0.73, 0.29) + 0.01).abs() < 1e-15);
    }

    #[test]
    fn a_turned_rectangle_has_exact_derivatives() {
        let plate = Rectangle::new([0.03, -0.04], [0.5, 0.3], 0.4).expect("a plate");
        agrees_with_differences(&plate, &PROBES);
        is_a_distance(&plate, &PROBES);
        has_its_outline(&plate);
    }

    #[test]
    fn a_rectangle_inside_out_is_refused() {
        let wrong = Rectangle::between([1.0, 0.0], [0.0, 1.0]);
        assert!(matches!(wrong, Err(ShapeError::Range { name: "half width", .. })));
    }
}
