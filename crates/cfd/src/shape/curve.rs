//! Distance from a smooth closed curve that is given as a function of its parameter.

use super::{Point, dot, minus, plus};

/// A closed curve q(t), t from 0 to 1, counter-clockwise around the body.
pub(super) trait Curve {
    /// Whether the curve has a corner where it closes, at t = 0; elsewhere its tangent is continuous.
    const CORNER: bool;

    /// The point q(t) and its derivative by t.
    fn at(&self, t: f64) -> [Point; 2];

    /// The derivative of q(t) by each parameter.
    fn motion(&self, t: f64, out: &mut [Point]);
}

/// The point of a curve that is closest to another.
pub(super) struct Foot {
    /// Where on the curve.
    pub(super) t: f64,
    /// Signed distance of the other point.
    pub(super) distance: f64,
    /// Unit vector from the body into the fluid.
    pub(super) normal: Point,
}

/// A polygon along a curve, from which searches for the closest point start.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    points: Vec<Point>,
}

impl Trace {
    /// Follows a curve with `count` points at equal steps of its parameter.
    pub(super) fn of(curve: &impl Curve, count: usize) -> Self {
        Self { points: (0..count).map(|i| curve.at(i as f64 / count as f64)[0]).collect() }
    }

    /// The polygon.
    pub(super) fn points(&self) -> &[Point] {
        &self.points
    }

    /// Finds the point of the curve that is closest to `p`: the closest edge, then the curve beside it.
    pub(super) fn foot<C: Curve>(&self, curve: &C, p: Point) -> Foot {
        let count = self.points.len() as f64;
        let edge = self.closest_edge(p) as f64;
        let (mut low, mut high) = ((edge - 1.0) / count, (edge + 2.0) / count);
        if C::CORNER {
            (low, high) = (low.max(0.0), high.min(1.0));
        }
        let t = stationary(curve, p, low, high);
        Foot::at(curve, p, t, C::CORNER && (t <= 0.0 || t >= 1.0))
    }

    fn closest_edge(&self, p: Point) -> usize {
        let mut best = (0, f64::INFINITY);
        let mut last = self.points.len() - 1;
        for next in 0..self.points.len() {
            let squared = to_segment(p, self.points[last], self.points[next]).1;
            if squared < best.1 {
                best = (last, squared);
            }
            last = next;
        }
        best.0
    }
}

impl Foot {
    fn at(curve: &impl Curve, p: Point, t: f64, corner: bool) -> Self {
        let [q, tangent] = curve.at(t);
        let away = minus(p, q);
        let length = away[0].hypot(away[1]);
        if corner && length > 0.0 {
            // The closest point of a convex corner is that of a point outside.
            return Self { t, distance: length, normal: away.map(|v| v / length) };
        }
        let speed = tangent[0].hypot(tangent[1]);
        let normal = [tangent[1] / speed, -tangent[0] / speed];
        Self { t, distance: length.copysign(dot(away, normal)), normal }
    }

    /// Writes ∂φ/∂θ = −n · ∂q/∂θ for each parameter.
    pub(super) fn sensitivity(&self, curve: &impl Curve, out: &mut [f64]) {
        let mut motion = vec![[0.0; 2]; out.len()];
        curve.motion(self.t, &mut motion);
        for (value, motion) in out.iter_mut().zip(motion) {
            *value = -dot(self.normal, motion);
        }
    }
}

/// Place on a segment from 0 at `a` to 1 at `b` that is closest to `p`, and the squared distance.
pub(super) fn to_segment(p: Point, a: Point, b: Point) -> (f64, f64) {
    let (along, from) = (minus(b, a), minus(p, a));
    let length = dot(along, along);
    let s = if length > 0.0 { (dot(from, along) / length).clamp(0.0, 1.0) } else { 0.0 };
    let away = minus(p, plus(a, along.map(|v| s * v)));
    (s, dot(away, away))
}

/// Parameter in an interval where the distance from `p` is least: the zero of (q − p) · q′ if it has one, by
/// false position with halved ends (Illinois), else the end that is closer.
fn stationary(curve: &impl Curve, p: Point, low: f64, high: f64) -> f64 {
    let slope = |t: f64| {
        let [q, tangent] = curve.at(t);
        dot(minus(q, p), tangent)
    };
    let (mut a, mut b) = ((low, slope(low)), (high, slope(high)));
    if a.1 >= 0.0 || b.1 <= 0.0 {
        return if a.1 >= 0.0 { low } else { high };
    }
    for _ in 0..60 {
        let t = (a.0 * b.1 - b.0 * a.1) / (b.1 - a.1);
        let value = slope(t);
        if value == 0.0 || (t - b.0).abs() < 1e-15 {
            return t;
        }
        if (value > 0.0) == (b.1 > 0.0) {
            a.1 /= 2.0;
        } else {
            a = b;
        }
        b = (t, value);
    }
    b.0
}
