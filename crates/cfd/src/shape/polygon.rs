//! Polygons.

use rayon::prelude::*;

use super::curve::to_segment;
use super::{Point, Shape, ShapeError, cross, dot, enclosed, finite, minus, plus, quarter};

/// A simple polygon; its parameters are the coordinates of its points.
#[derive(Clone, Debug, PartialEq)]
pub struct Polygon {
    points: Vec<Point>,
}

/// The closest point of an outline of edges.
struct Foot {
    /// Index of the point that the closest edge starts at.
    edge: usize,
    /// Place on the edge, from 0 to 1.
    share: f64,
    /// Unit vector from the body into the fluid.
    normal: Point,
    distance: f64,
}

impl Polygon {
    /// A polygon through points in order, in either direction; repeated points count once.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if a coordinate is not finite, fewer than three points differ, edges cross or touch, or
    /// nothing is enclosed.
    pub fn new(points: &[Point]) -> Result<Self, ShapeError> {
        finite("polygon", &names(points.len()), points.as_flattened())?;
        let mut points = points.to_vec();
        points.dedup();
        while points.len() > 1 && points.first() == points.last() {
            points.pop();
        }
        if points.len() < 3 {
            return Err(ShapeError::Points { least: 3, got: points.len() });
        }
        simple(&points)?;
        let area = enclosed(&points);
        if area == 0.0 {
            return Err(ShapeError::Flat);
        }
        if area < 0.0 {
            points.reverse();
        }
        Ok(Self { points })
    }

    /// The points, counter-clockwise.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    fn next(&self, i: usize) -> usize {
        (i + 1) % self.points.len()
    }

    fn foot(&self, p: Point) -> Foot {
        let (mut edge, mut share, mut squared) = (0, 0.0, f64::INFINITY);
        let mut inside = false;
        for i in 0..self.points.len() {
            let (a, b) = (self.points[i], self.points[self.next(i)]);
            let (s, away) = to_segment(p, a, b);
            if away < squared {
                (edge, share, squared) = (i, s, away);
            }
            inside ^= crosses(p, a, b);
        }
        let length = squared.sqrt();
        let distance = if inside { -length } else { length };
        Foot { edge, share, normal: self.normal(p, edge, share, distance), distance }
    }

    /// Across the edge where the point is beside or on it, away from the corner else.
    fn normal(&self, p: Point, edge: usize, share: f64, distance: f64) -> Point {
        let (a, b) = (self.points[edge], self.points[self.next(edge)]);
        let along = minus(b, a);
        if (share == 0.0 || share == 1.0) && distance != 0.0 {
            let corner = if share == 0.0 { a } else { b };
            return minus(p, corner).map(|v| v / distance);
        }
        quarter(along).map(|v| -v / along[0].hypot(along[1]))
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).flat_map(|i| [format!("point {i} x"), format!("point {i} y")]).collect()
}

/// Whether a ray from `p` along +x crosses an edge.
fn crosses(p: Point, a: Point, b: Point) -> bool {
    let above = |q: Point| q[1] > p[1];
    above(a) != above(b) && (cross(minus(b, a), minus(p, a)) > 0.0) == (b[1] > a[1])
}

/// Refuses outlines whose edges meet elsewhere than at their common points.
pub(super) fn simple(points: &[Point]) -> Result<(), ShapeError> {
    let count = points.len();
    let edge = |i: usize| [points[i], points[(i + 1) % count]];
    // Edges from left to right: only those that overlap in x can meet.
    let left = |i: usize| edge(i)[0][0].min(edge(i)[1][0]);
    let right = |i: usize| edge(i)[0][0].max(edge(i)[1][0]);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&i, &j| left(i).total_cmp(&left(j)));
    let meeting = order.par_iter().enumerate().find_map_any(|(at, &i)| {
        let later = order[at + 1..].iter().take_while(|&&j| left(j) <= right(i));
        let mut others = later.filter(|&&j| meet(edge(i), edge(j), neighbours(i, j, count)));
        others.next().map(|&j| [i.min(j), i.max(j)])
    });
    meeting.map_or(Ok(()), |[first, second]| Err(ShapeError::Crossing { first, second }))
}

fn neighbours(i: usize, j: usize, count: usize) -> bool {
    (i + 1) % count == j || (j + 1) % count == i
}

/// Whether two edges meet; neighbours meet if one folds back over the other.
fn meet([a, b]: [Point; 2], [c, d]: [Point; 2], neighbours: bool) -> bool {
    if neighbours {
        let (first, second) = if b == c { ([a, b], d) } else { ([c, d], b) };
        let (back, on) = (minus(first[0], first[1]), minus(second, first[1]));
        return cross(back, on) == 0.0 && dot(back, on) > 0.0;
    }
    let side = |p: Point, q: Point, r: Point| cross(minus(q, p), minus(r, p));
    let (s, t) = ([side(a, b, c), side(a, b, d)], [side(c, d, a), side(c, d, b)]);
    if s == [0.0; 2] {
        let within = |p: Point| dot(minus(p, a), minus(p, b)) <= 0.0;
        return within(c) || within(d) || dot(minus(a, c), minus(a, d)) <= 0.0;
    }
    s[0] * s[1] <= 0.0 && t[0] * t[1] <= 0.0
}

impl Shape for Polygon {
    fn distance(&self, x: f64, y: f64) -> f64 {
        self.foot([x, y]).distance
    }

    fn parameters(&self) -> Vec<f64> {
        self.points.as_flattened().to_vec()
    }

    fn names(&self) -> Vec<String> {
        names(self.points.len())
    }

    fn sensitivity(&self, x: f64, y: f64, out: &mut [f64]) {
        let Foot { edge, share, normal, .. } = self.foot([x, y]);
        out.fill(0.0);
        for (point, weight) in [(edge, 1.0 - share), (self.next(edge), share)] {
            for axis in 0..2 {
                out[2 * point + axis] -= weight * normal[axis];
            }
        }
    }

    fn with(&self, parameters: &[f64]) -> Result<Box<dyn Shape>, ShapeError> {
        finite("polygon", &self.names(), parameters)?;
        let points: Vec<Point> = parameters.chunks_exact(2).map(|p| [p[0], p[1]]).collect();
        Ok(Box::new(Self::new(&points)?))
    }

    fn outline(&self, points: usize) -> Vec<Vec<Point>> {
        let each = points.div_ceil(self.points.len()).max(1);
        let at = |i: usize, k: usize| {
            let (a, b) = (self.points[i], self.points[self.next(i)]);
            plus(a, minus(b, a).map(|v| v * k as f64 / each as f64))
        };
        vec![(0..self.points.len()).flat_map(|i| (0..each).map(move |k| at(i, k))).collect()]
    }

    fn area(&self) -> f64 {
        enclosed(&self.points)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PROBES, agrees_with_differences, has_its_outline, is_a_distance};
    use super::super::{Naca, Rectangle};
    use super::*;

    const NOTCHED: [Point; 6] =
        [[-0.5, -0.4], [0.55, -0.45], [0.6, 0.5], [0.1, 0.05], [-0.2, 0.45], [-0.55, 0.3]];

    #[test]
    fn a_notched_polygon_has_exact_derivatives() {
        let body = Polygon::new(&NOTCHED).expect("a polygon");
        agrees_with_differences(&body, &PROBES);
        is_a_distance(&body, &PROBES);
        has_its_outline(&body);
        assert!(body.distance(0.1, 0.2) > 0.0, "the notch is outside");
    }

    #[test]
    fn four_corners_are_a_rectangle_in_either_direction() {
        let mut corners = vec![[0.0, 0.0], [1.0, 0.0], [1.0, 0.5], [0.0, 0.5], [0.0, 0.0]];
        let rectangle = Rectangle::between([0.0; 2], [1.0, 0.5]).expect("a rectangle");
        for _ in 0..2 {
            let polygon = Polygon::new(&corners).expect("a polygon");
            assert_eq!(polygon.points().len(), 4);
            for [x, y] in PROBES {
                assert!((polygon.distance(x, y) - rectangle.distance(x, y)).abs() < 1e-14);
            }
            corners.reverse();
        }
    }

    /// 400 chords of a curve are within (1/400)²/8 of its curvature of it.
    #[test]
    fn a_fine_polygon_along_a_section_is_the_section() {
        let section = Naca::digits("2412").expect("a section");
        let polygon = Polygon::new(&section.outline(400)[0]).expect("a polygon");
        for [x, y] in PROBES {
            assert!((polygon.distance(x, y) - section.distance(x, y)).abs() < 2e-5);
        }
    }

    #[test]
    fn outlines_that_cross_touch_or_fold_are_refused() {
        let bow = Polygon::new(&[[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]);
        assert_eq!(bow, Err(ShapeError::Crossing { first: 0, second: 2 }));
        let spike = Polygon::new(&[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [1.0, 0.0], [1.0, 1.0]]);
        assert!(matches!(spike, Err(ShapeError::Crossing { .. })), "{spike:?}");
        let touch = Polygon::new(&[[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [1.0, 0.0], [0.0, 1.0]]);
        assert!(matches!(touch, Err(ShapeError::Crossing { .. })), "{touch:?}");
        let line = Polygon::new(&[[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]);
        assert_eq!(line, Err(ShapeError::Points { least: 3, got: 2 }));
        let nan = Polygon::new(&[[0.0, 0.0], [1.0, f64::NAN], [1.0, 1.0]]);
        assert!(matches!(nan, Err(ShapeError::Finite { .. })));
    }
}
