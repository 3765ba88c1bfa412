//! Wires of axis-parallel legs, and how far they are apart.
//!
//! Most attempts to place a wire fail, so each fails as soon as it can: a course that leaves the window becomes no wire, none allocates, and no distance is
//! measured that boxes decide.

use crate::{Bounds, Polygon};

/// Points of the longest centre line: two ends and two bends.
const MOST_POINTS: usize = 4;

/// The centre line of a wire, axis-parallel from point to point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    line: [[f64; 2]; MOST_POINTS],
    points: usize,
    width: f64,
}

impl Course {
    /// One through these points, of a wire so wide.
    pub(super) fn new(points: &[[f64; 2]], width: f64) -> Self {
        let mut line = [[0.0; 2]; MOST_POINTS];
        line[..points.len()].copy_from_slice(points);
        Self { line, points: points.len(), width }
    }

    /// Goes on to a point.
    pub(super) fn go_to(&mut self, point: [f64; 2]) {
        self.line[self.points] = point;
        self.points += 1;
    }

    /// Its last point.
    pub(super) fn end(&self) -> [f64; 2] {
        self.line[self.points - 1]
    }

    /// Whether all its points are within a window from the origin; if not, its wire is not.
    pub(super) fn is_within(&self, window: [f64; 2]) -> bool {
        let inside = |p: &[f64; 2]| (0..2).all(|i| p[i] >= 0.0 && p[i] <= window[i]);
        self.line[..self.points].iter().all(inside)
    }
}

/// A wire along its centre line. Straight ends are flush, corners mitred.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    /// What lies left and right of each point of the centre line.
    sides: [[[f64; 2]; 2]; MOST_POINTS],
    points: usize,
    /// Around all legs.
    bounds: Bounds,
}

impl Wire {
    /// The wire along a course of two points or more.
    pub(super) fn along(course: &Course) -> Self {
        let (points, half) = (&course.line[..course.points], course.width / 2.0);
        // To the left of the leg that begins at a point.
        let normal = |i: usize| {
            let way = [0, 1].map(|axis| match points[i + 1][axis] - points[i][axis] {
                0.0 => 0.0,
                step => step.signum(),
            });
            [-way[1] * half, way[0] * half]
        };
        let last = points.len() - 2;
        let mut sides = [[[0.0; 2]; 2]; MOST_POINTS];
        let mut before = normal(0);
        for (i, (point, sides)) in points.iter().zip(&mut sides).enumerate() {
            let own = normal(i.min(last));
            let ends = i == 0 || i > last;
            let offset = if ends || own == before { own } else { sum(before, own) };
            *sides = [sum(*point, offset), sum(*point, [-offset[0], -offset[1]])];
            before = own;
        }
        let none = Bounds { min: [f64::INFINITY; 2], max: [f64::NEG_INFINITY; 2] };
        let mut wire = Self { sides, points: points.len(), bounds: none };
        wire.bounds = wire.legs().fold(none, Bounds::union);
        wire
    }

    /// The rectangles of its legs.
    fn legs(&self) -> impl Iterator<Item = Bounds> + '_ {
        let around = |p: [f64; 2], q: [f64; 2]| Bounds {
            min: [p[0].min(q[0]), p[1].min(q[1])],
            max: [p[0].max(q[0]), p[1].max(q[1])],
        };
        let leg = move |ends: &[[[f64; 2]; 2]]| {
            around(ends[0][0], ends[0][1]).union(around(ends[1][0], ends[1][1]))
        };
        self.sides[..self.points].windows(2).map(leg)
    }

    /// The polygon that it covers.
    pub(super) fn outline(&self) -> Polygon {
        let sides = &self.sides[..self.points];
        let left = sides.iter().map(|[left, _]| *left);
        Polygon::new(left.chain(sides.iter().rev().map(|[_, right]| *right)).collect())
    }

    /// Whether it lies within a window from the origin.
    pub(super) fn is_within(&self, window: [f64; 2]) -> bool {
        let Bounds { min, max } = self.bounds;
        (0..2).all(|i| min[i] >= 0.0 && max[i] <= window[i])
    }

    /// Whether its own legs keep a space between them: the first and the last of three.
    pub(super) fn keeps(&self, space: f64) -> bool {
        self.points < MOST_POINTS
            || self.legs().next().zip(self.legs().nth(2)).is_none_or(|(a, b)| apart(&a, &b, space))
    }

    /// Whether another wire is at least a space away.
    pub(super) fn is_clear_of(&self, other: &Self, space: f64) -> bool {
        // Legs are as far apart along an axis as what is around them.
        (0..2).any(|axis| gap(&self.bounds, &other.bounds, axis) >= space)
            || self.legs().all(|a| other.legs().all(|b| apart(&a, &b, space)))
    }
}

fn sum(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0] + b[0], a[1] + b[1]]
}

/// How far two rectangles are apart along an axis, 0 if they touch.
fn gap(a: &Bounds, b: &Bounds, axis: usize) -> f64 {
    (b.min[axis] - a.max[axis]).max(a.min[axis] - b.max[axis]).max(0.0)
}

/// Whether two rectangles are at least a space apart.
fn apart(a: &Bounds, b: &Bounds, space: f64) -> bool {
    let [x, y] = [0, 1].map(|axis| gap(a, b, axis));
    x >= space || y >= space || x > 0.0 && y > 0.0 && x.hypot(y) >= space
}
