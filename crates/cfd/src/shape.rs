//! Shapes: signed distances of bodies, and how they change with the shape's parameters.
//!
//! The distance φ is positive in the fluid, negative inside the body and zero on its outline. All that the solver
//! knows of a body is φ at points, so a new shape is one implementation of [`Shape`].
//!
//! The derivative by a parameter θ needs no differentiation of the search for the closest point q: that point is
//! stationary, so ∂φ/∂θ = −n · ∂q/∂θ at fixed position on the outline, where n is the outward normal.

mod compose;
mod curve;
mod naca;
mod polygon;
mod rectangle;
mod round;
mod spline;

pub use compose::{Hollow, Moved, Union};
pub use naca::Naca;
pub use polygon::Polygon;
pub use rectangle::Rectangle;
pub use round::{Circle, Ellipse};
pub use spline::Spline;

/// A place or a direction: x and y.
pub type Point = [f64; 2];

/// A body in the flow.
pub trait Shape: std::fmt::Debug + Send + Sync {
    /// Signed distance of a point from the outline: positive in the fluid.
    fn distance(&self, x: f64, y: f64) -> f64;

    /// What can vary: lengths in the unit of the grid, angles in radians.
    fn parameters(&self) -> Vec<f64>;

    /// A name for each parameter.
    fn names(&self) -> Vec<String>;

    /// Writes the derivative of the distance by each parameter; `out` has one place for each.
    fn sensitivity(&self, x: f64, y: f64, out: &mut [f64]);

    /// The same kind of shape with other parameters.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if their number differs or they describe no body.
    fn with(&self, parameters: &[f64]) -> Result<Box<dyn Shape>, ShapeError>;

    /// Closed lines along the outline, counter-clockwise, of about `points` points each; the first is not repeated.
    fn outline(&self, points: usize) -> Vec<Vec<Point>>;

    /// Least and greatest x and y of the body.
    fn bounds(&self) -> [Point; 2] {
        let all = self.outline(512);
        all.iter().flatten().fold([[f64::INFINITY; 2], [f64::NEG_INFINITY; 2]], |[low, high], p| {
            [[low[0].min(p[0]), low[1].min(p[1])], [high[0].max(p[0]), high[1].max(p[1])]]
        })
    }

    /// Area of the body, from a fine polygon along its outline.
    fn area(&self) -> f64 {
        self.outline(2048).iter().map(|line| enclosed(line)).sum()
    }
}

/// Why numbers describe no body.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ShapeError {
    /// A number is NaN or infinite.
    #[error("{shape}: {name} is {value}; expected a finite number")]
    Finite {
        /// The kind of shape.
        shape: &'static str,
        /// The number's name.
        name: String,
        /// The number.
        value: f64,
    },
    /// A number is outside the range that makes sense.
    #[error("{shape}: {name} is {value}; expected {expected}")]
    Range {
        /// The kind of shape.
        shape: &'static str,
        /// The number's name.
        name: &'static str,
        /// The number.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// The parameters do not belong to the shape.
    #[error("{shape} has {expected} parameters, got {got}")]
    Count {
        /// The kind of shape.
        shape: &'static str,
        /// How many it has.
        expected: usize,
        /// How many were given.
        got: usize,
    },
    /// NACA digits that cannot be read.
    #[error("{0:?} is no NACA 4-digit section; expected four digits, such as 0012 or 2412")]
    Digits(String),
    /// Too few points for an outline.
    #[error("an outline needs at least {least} points that differ, got {got}")]
    Points {
        /// The least number.
        least: usize,
        /// How many differ from their predecessors.
        got: usize,
    },
    /// An outline crosses itself.
    #[error(
        "the outline crosses itself: the edge from point {first} and the edge from point {second} meet; \
         give the outline in order, once around"
    )]
    Crossing {
        /// Index of the point that the first edge starts at.
        first: usize,
        /// Index of the point that the second edge starts at.
        second: usize,
    },
    /// An outline without area.
    #[error("the outline encloses no area")]
    Flat,
}

/// Refuses numbers that are not finite.
fn finite(shape: &'static str, names: &[String], values: &[f64]) -> Result<(), ShapeError> {
    if names.len() != values.len() {
        return Err(ShapeError::Count { shape, expected: names.len(), got: values.len() });
    }
    match names.iter().zip(values).find(|(_, value)| !value.is_finite()) {
        Some((name, &value)) => Err(ShapeError::Finite { shape, name: name.clone(), value }),
        None => Ok(()),
    }
}

/// Refuses a number that is not positive.
fn positive(shape: &'static str, name: &'static str, value: f64) -> Result<(), ShapeError> {
    if value > 0.0 {
        return Ok(());
    }
    Err(ShapeError::Range { shape, name, value, expected: "more than 0" })
}

/// Owned names.
fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// Area within a closed line: positive if it runs counter-clockwise.
pub(crate) fn enclosed(line: &[Point]) -> f64 {
    let next = line.iter().cycle().skip(1);
    line.iter().zip(next).map(|(a, b)| cross(*a, *b)).sum::<f64>() / 2.0
}

fn cross(a: Point, b: Point) -> f64 {
    a[0] * b[1] - a[1] * b[0]
}

fn dot(a: Point, b: Point) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

fn minus(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1]]
}

fn plus(a: Point, b: Point) -> Point {
    [a[0] + b[0], a[1] + b[1]]
}

/// Turns counter-clockwise by an angle.
fn turned(p: Point, angle: f64) -> Point {
    let (sin, cos) = angle.sin_cos();
    [cos * p[0] - sin * p[1], sin * p[0] + cos * p[1]]
}

/// A quarter turn counter-clockwise.
fn quarter(p: Point) -> Point {
    [-p[1], p[0]]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points around and inside a body of the size of 1 near the origin, on no axis of symmetry.
    pub(super) const PROBES: [Point; 7] = [
        [1.31, 0.42],
        [-0.93, 0.87],
        [0.21, -1.07],
        [0.033, 0.021],
        [0.61, 0.043],
        [-1.4, -0.11],
        [0.37, 0.29],
    ];

    /// The derivative by each parameter is the central difference: the distance is exact to rounding, so a step
    /// of 1e-6 leaves 1e-10 / 1e-6 of rounding and 1e-12 of curvature.
    pub(super) fn agrees_with_differences(shape: &dyn Shape, probes: &[Point]) {
        let parameters = shape.parameters();
        let mut derivative = vec![f64::NAN; parameters.len()];
        for &[x, y] in probes {
            shape.sensitivity(x, y, &mut derivative);
            for (i, name) in shape.names().iter().enumerate() {
                let moved = |step: f64| {
                    let mut changed = parameters.clone();
                    changed[i] += step;
                    shape.with(&changed).expect("a small change").distance(x, y)
                };
                let difference = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                let error = (derivative[i] - difference).abs();
                assert!(error < 1e-6, "{name} at {x}, {y}: {} vs {difference}", derivative[i]);
            }
        }
    }

    /// |∇φ| = 1 wherever the closest point is unique.
    pub(super) fn is_a_distance(shape: &dyn Shape, probes: &[Point]) {
        for &[x, y] in probes {
            let slope = |dx: f64, dy: f64| {
                (shape.distance(x + dx, y + dy) - shape.distance(x - dx, y - dy)) / 2e-5
            };
            let norm = slope(1e-5, 0.0).hypot(slope(0.0, 1e-5));
            assert!((norm - 1.0).abs() < 1e-6, "{norm} at {x}, {y}");
        }
    }

    /// φ vanishes on the outline and is negative inside, and the outline runs counter-clockwise.
    pub(super) fn has_its_outline(shape: &dyn Shape) {
        for line in shape.outline(300) {
            assert!(enclosed(&line) > 0.0);
            for &[x, y] in &line {
                let distance = shape.distance(x, y);
                assert!(distance.abs() < 1e-9, "{distance} at {x}, {y}");
            }
        }
    }
}
