//! Shapes made of shapes.

use super::{Point, Shape, ShapeError, dot, finite, minus, named, plus, quarter, turned};

/// Several bodies as one. Exact in the fluid; inside overlapping bodies the distance is that of one of them.
#[derive(Debug)]
pub struct Union(Vec<Box<dyn Shape>>);

impl Union {
    /// All of these.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Points`] if there are none.
    pub fn new(bodies: Vec<Box<dyn Shape>>) -> Result<Self, ShapeError> {
        if bodies.is_empty() {
            return Err(ShapeError::Points { least: 1, got: 0 });
        }
        Ok(Self(bodies))
    }

    /// The closest body and where its parameters start.
    fn closest(&self, x: f64, y: f64) -> (usize, &dyn Shape) {
        let (mut best, mut least, mut offset) = ((0, self.0[0].as_ref()), f64::INFINITY, 0);
        for body in &self.0 {
            let distance = body.distance(x, y);
            if distance < least {
                (best, least) = ((offset, body.as_ref()), distance);
            }
            offset += body.parameters().len();
        }
        best
    }
}

impl Shape for Union {
    fn distance(&self, x: f64, y: f64) -> f64 {
        self.0.iter().map(|body| body.distance(x, y)).fold(f64::INFINITY, f64::min)
    }

    fn parameters(&self) -> Vec<f64> {
        self.0.iter().flat_map(|body| body.parameters()).collect()
    }

    fn names(&self) -> Vec<String> {
        let of = |i: usize| {
            self.0[i].names().into_iter().map(move |name| format!("body {}: {name}", i + 1))
        };
        (0..self.0.len()).flat_map(of).collect()
    }

    fn sensitivity(&self, x: f64, y: f64, out: &mut [f64]) {
        out.fill(0.0);
        let (offset, body) = self.closest(x, y);
        let count = body.parameters().len();
        body.sensitivity(x, y, &mut out[offset..offset + count]);
    }

    fn with(&self, parameters: &[f64]) -> Result<Box<dyn Shape>, ShapeError> {
        finite("union", &self.names(), parameters)?;
        let mut rest = parameters;
        let bodies = self.0.iter().map(|body| {
            let (own, others) = rest.split_at(body.parameters().len());
            rest = others;
            body.with(own)
        });
        Ok(Box::new(Self(bodies.collect::<Result<_, _>>()?)))
    }

    fn outline(&self, points: usize) -> Vec<Vec<Point>> {
        self.0.iter().flat_map(|body| body.outline(points)).collect()
    }
}

/// A body moved and turned. Its parameters are the body's, then x, y and the angle.
#[derive(Debug)]
pub struct Moved {
    body: Box<dyn Shape>,
    /// Where the body's origin goes.
    to: Point,
    /// Counter-clockwise turn about the body's origin, in radians.
    angle: f64,
}

impl Moved {
    /// A body turned counter-clockwise about its origin by `angle` radians, and its origin then moved.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Finite`] if a number is not finite.
    pub fn new(body: Box<dyn Shape>, to: Point, angle: f64) -> Result<Self, ShapeError> {
        finite("moved body", &named(&["x", "y", "angle"]), &[to[0], to[1], angle])?;
        Ok(Self { body, to, angle })
    }

    fn local(&self, x: f64, y: f64) -> Point {
        turned(minus([x, y], self.to), -self.angle)
    }

    /// The distance's gradient in the body's axes. Where two points of the outline are as close, that of the one
    /// that the body's derivative by place would take.
    fn normal(&self, p: Point) -> Point {
        const STEP: f64 = 1e-6;
        let along = |axis: Point| {
            let at = |sign: f64| plus(p, axis.map(|v| sign * STEP * v));
            let [ahead, behind] = [at(1.0), at(-1.0)].map(|q| self.body.distance(q[0], q[1]));
            (ahead - behind) / (2.0 * STEP)
        };
        [along([1.0, 0.0]), along([0.0, 1.0])]
    }
}

impl Shape for Moved {
    fn distance(&self, x: f64, y: f64) -> f64 {
        let [x, y] = self.local(x, y);
        self.body.distance(x, y)
    }

    fn parameters(&self) -> Vec<f64> {
        let mut all = self.body.parameters();
        all.extend([self.to[0], self.to[1], self.angle]);
        all
    }

    fn names(&self) -> Vec<String> {
        let mut all = self.body.names();
        all.extend(named(&["moved x", "moved y", "turned by"]));
        all
    }

    fn sensitivity(&self, x: f64, y: f64, out: &mut [f64]) {
        let own = out.len() - 3;
        let p = self.local(x, y);
        self.body.sensitivity(p[0], p[1], &mut out[..own]);
        let normal = self.normal(p);
        let world = turned(normal, self.angle);
        // A turn of the body turns the point the other way round.
        out[own..].copy_from_slice(&[-world[0], -world[1], -dot(normal, quarter(p))]);
    }

    fn with(&self, parameters: &[f64]) -> Result<Box<dyn Shape>, ShapeError> {
        finite("moved body", &self.names(), parameters)?;
        let (own, place) = parameters.split_at(parameters.len() - 3);
        Ok(Box::new(Self::new(self.body.with(own)?, [place[0], place[1]], place[2])?))
    }

    fn outline(&self, points: usize) -> Vec<Vec<Point>> {
        let place = |p: Point| plus(self.to, turned(p, self.angle));
        let lines = self.body.outline(points).into_iter();
        lines.map(|line| line.into_iter().map(place).collect()).collect()
    }
}

/// A body turned inside out: the fluid is what was inside, as in the outer cylinder of an annulus.
#[derive(Debug)]
pub struct Hollow(pub Box<dyn Shape>);

impl Shape for Hollow {
    fn distance(&self, x: f64, y: f64) -> f64 {
        -self.0.distance(x, y)
    }

    fn parameters(&self) -> Vec<f64> {
        self.0.parameters()
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn sensitivity(&self, x: f64, y: f64, out: &mut [f64]) {
        self.0.sensitivity(x, y, out);
        out.iter_mut().for_each(|value| *value = -*value);
    }

    fn with(&self, parameters: &[f64]) -> Result<Box<dyn Shape>, ShapeError> {
        Ok(Box::new(Self(self.0.with(parameters)?)))
    }

    fn outline(&self, points: usize) -> Vec<Vec<Point>> {
        self.0.outline(points)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PROBES, agrees_with_differences, has_its_outline, is_a_distance};
    use super::super::{Circle, Ellipse, Naca, Rectangle};
    use super::*;

    fn circle(x: f64, y: f64) -> Box<dyn Shape> {
        Box::new(Circle::new([x, y], 0.3).expect("a circle"))
    }

    #[test]
    fn a_union_is_as_far_as_the_closest_body_and_only_that_one_counts() {
        let two = Union::new(vec![circle(-1.0, 0.0), circle(1.0, 0.0)]).expect("two bodies");
        assert!((two.distance(1.5, 0.0) - 0.2).abs() < 1e-15);
        agrees_with_differences(&two, &PROBES);
        has_its_outline(&two);
        let mut derivative = [f64::NAN; 6];
        two.sensitivity(1.5, 0.0, &mut derivative);
        assert_eq!(derivative, [0.0, 0.0, 0.0, -1.0, 0.0, -1.0]);
    }

    #[test]
    fn a_moved_body_has_exact_derivatives() {
        let section = Box::new(Naca::digits("2412").expect("a section"));
        let flap = Moved::new(section, [0.1, 0.05], -0.3).expect("a flap");
        agrees_with_differences(&flap, &PROBES);
        is_a_distance(&flap, &PROBES);
        has_its_outline(&flap);
    }

    /// An ellipse that is turned is a turned ellipse.
    #[test]
    fn turning_a_body_is_turning_its_axes() {
        let plain = Box::new(Ellipse::new([0.0; 2], [0.7, 0.3], 0.0).expect("an ellipse"));
        let moved = Moved::new(plain, [0.2, 0.1], 0.5).expect("a moved ellipse");
        let turned = Ellipse::new([0.2, 0.1], [0.7, 0.3], 0.5).expect("an ellipse");
        for [x, y] in PROBES {
            assert!((moved.distance(x, y) - turned.distance(x, y)).abs() < 1e-12);
        }
    }

    #[test]
    fn a_hollow_body_holds_the_fluid() {
        let pipe = Hollow(Box::new(Rectangle::between([-1.0; 2], [1.0; 2]).expect("a box")));
        assert!((pipe.distance(0.8, 0.0) - 0.2).abs() < 1e-15);
        agrees_with_differences(&pipe, &PROBES);
    }
}
