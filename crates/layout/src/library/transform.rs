//! Where an instance lies: reflection, magnification, rotation and a shift.

use std::f64::consts::PI;

use crate::Bounds;

/// x' = a x + b y + c, y' = d x + e y + f.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transform([f64; 6]);

/// The part of a [`Transform`] without its shift: a, b, d, e.
pub(crate) type Turn = [f64; 4];

/// Reflect about x, magnify, rotate: the order of GDSII and OASIS.
pub(crate) fn turn(reflected: bool, magnification: f64, degrees: f64) -> Turn {
    let (sin, cos) = exact_sin_cos(degrees);
    let (mag, flip) = (magnification, if reflected { -1.0 } else { 1.0 });
    [mag * cos, -flip * mag * sin, mag * sin, flip * mag * cos]
}

/// Whether rectangles stay rectangles.
pub(crate) fn is_orthogonal(turn: &Turn) -> bool {
    let [a, b, d, e] = *turn;
    (b == 0.0 && d == 0.0) || (a == 0.0 && e == 0.0)
}

/// Sine and cosine of an angle in degrees, exact for quarter turns.
fn exact_sin_cos(degrees: f64) -> (f64, f64) {
    match degrees.rem_euclid(360.0) {
        0.0 => (0.0, 1.0),
        90.0 => (1.0, 0.0),
        180.0 => (0.0, -1.0),
        270.0 => (-1.0, 0.0),
        other => (other * PI / 180.0).sin_cos(),
    }
}

impl Transform {
    pub(crate) fn scale(by: f64) -> Self {
        Self([by, 0.0, 0.0, 0.0, by, 0.0])
    }

    pub(crate) fn new([a, b, d, e]: Turn, at: [f64; 2]) -> Self {
        Self([a, b, at[0], d, e, at[1]])
    }

    pub(crate) fn apply(&self, p: [f64; 2]) -> [f64; 2] {
        let [a, b, c, d, e, f] = self.0;
        [a * p[0] + b * p[1] + c, d * p[0] + e * p[1] + f]
    }

    /// First `inner`, then this.
    pub(crate) fn after(&self, inner: &Self) -> Self {
        let [c, f] = self.apply([inner.0[2], inner.0[5]]);
        let linear =
            |x: f64, y: f64| [self.0[0] * x + self.0[1] * y, self.0[3] * x + self.0[4] * y];
        let ([a, d], [b, e]) = (linear(inner.0[0], inner.0[3]), linear(inner.0[1], inner.0[4]));
        Self([a, b, c, d, e, f])
    }

    /// The smallest rectangle around a transformed rectangle.
    pub(crate) fn bounds(&self, of: &Bounds) -> Bounds {
        around(
            [of.min, [of.max[0], of.min[1]], of.max, [of.min[0], of.max[1]]].map(|p| self.apply(p)),
        )
    }

    /// A rectangle that holds everything which this moves into `window`; one unit larger than it must
    /// be, so that rounding leaves nothing out.
    pub(crate) fn before(&self, window: &Bounds) -> Bounds {
        let [a, b, c, d, e, f] = self.0;
        let determinant = a * e - b * d;
        let back = |p: [f64; 2]| {
            let (x, y) = (p[0] - c, p[1] - f);
            [(e * x - b * y) / determinant, (a * y - d * x) / determinant]
        };
        let (min, max) = (window.min, window.max);
        let found = around([min, [max[0], min[1]], max, [min[0], max[1]]].map(back));
        Bounds { min: found.min.map(|v| v - 1.0), max: found.max.map(|v| v + 1.0) }
    }
}

fn around(points: [[f64; 2]; 4]) -> Bounds {
    let none = Bounds { min: [f64::INFINITY; 2], max: [f64::NEG_INFINITY; 2] };
    points.iter().fold(none, |b, &p| b.union(Bounds { min: p, max: p }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_moved_into_a_window_is_found_before_it(
            degrees in 0.0..360.0_f64,
            reflected in any::<bool>(),
            magnification in 0.1..10.0_f64,
            p in proptest::array::uniform2(-1e4..1e4_f64),
        ) {
            let placed = Transform::new(turn(reflected, magnification, degrees), [300.0, -50.0]);
            let to_nm = Transform::scale(0.5).after(&placed);
            let at = to_nm.apply(p);
            let window = Bounds { min: [at[0] - 3.0, at[1] - 1.0], max: [at[0], at[1] + 7.0] };
            let before = to_nm.before(&window);
            let point = Bounds { min: p, max: p };
            prop_assert!(before.touches(&point));
            prop_assert!(to_nm.bounds(&before).touches(&window));
        }
    }
}
