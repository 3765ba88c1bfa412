//! NACA 4-digit sections.
//!
//! Half thickness y_t = 5 τ (0.2969 √x − 0.1260 x − 0.3516 x² + 0.2843 x³ − 0.1036 x⁴): the last coefficient closes
//! the trailing edge. The camber line has its highest point m at x = p and is made of two parabolas; thickness is laid
//! off at right angles to it. Source: Jacobs, Ward & Pinkerton, NACA report 460, 1933.
//!
//! The outline's parameter is s with x = s², positive above and negative below: the round nose is smooth in it.

use std::f64::consts::PI;

use super::curve::{Curve, Trace};
use super::{Point, Shape, ShapeError, finite, minus, named, plus, positive, quarter, turned};

/// A NACA 4-digit section whose digits vary continuously.
#[derive(Clone, Debug)]
pub struct Naca {
    section: Section,
    trace: Trace,
}

/// A section's numbers.
#[derive(Clone, Debug, PartialEq)]
struct Section {
    /// Highest camber, as a share of the chord.
    camber: f64,
    /// Where it is, as a share of the chord.
    place: f64,
    /// Thickness, as a share of the chord.
    thickness: f64,
    /// Angle of attack in radians: nose up, about the quarter chord.
    angle: f64,
    /// The leading edge at no angle of attack.
    nose: Point,
    /// Chord.
    chord: f64,
}

/// Place of the highest camber where the digits leave it open, as in 0012.
const PLACE: f64 = 0.4;
/// The point about which the section turns, as a share of the chord.
const PIVOT: Point = [0.25, 0.0];

/// Camber line at a place of the chord, per unit of camber: height, slope and curvature, then height's and slope's
/// derivatives by the place of the highest camber.
struct Camber {
    height: f64,
    slope: f64,
    bend: f64,
    height_by_place: f64,
    slope_by_place: f64,
}

impl Camber {
    fn at(x: f64, p: f64) -> Self {
        if x < p {
            return Self {
                height: (2.0 * p * x - x * x) / (p * p),
                slope: 2.0 * (p - x) / (p * p),
                bend: -2.0 / (p * p),
                height_by_place: 2.0 * x * (x - p) / p.powi(3),
                slope_by_place: 2.0 * (2.0 * x - p) / p.powi(3),
            };
        }
        let q = 1.0 - p;
        let height = (1.0 - 2.0 * p + 2.0 * p * x - x * x) / (q * q);
        Self {
            height,
            slope: 2.0 * (p - x) / (q * q),
            bend: -2.0 / (q * q),
            height_by_place: 2.0 * height / q - 2.0 * (1.0 - x) / (q * q),
            slope_by_place: 2.0 / (q * q) + 4.0 * (p - x) / q.powi(3),
        }
    }
}

/// Half thickness per unit of thickness at x = s², with the sign of s, and its derivative by s.
fn half_thickness(s: f64) -> [f64; 2] {
    let x = s * s;
    let tail = x * (-0.1260 + x * (-0.3516 + x * (0.2843 - 0.1036 * x)));
    let tail_by_x = -0.1260 + x * (2.0 * -0.3516 + x * (3.0 * 0.2843 - 4.0 * 0.1036 * x));
    [5.0 * (0.2969 * s + tail.copysign(s * tail)), 5.0 * (0.2969 + 2.0 * s.abs() * tail_by_x)]
}

impl Naca {
    /// A section of unit chord from its digits, such as 2412, with its nose at the origin.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Digits`] if these are no four digits, [`ShapeError::Range`] if the thickness is 00.
    pub fn digits(digits: &str) -> Result<Self, ShapeError> {
        let wrong = || ShapeError::Digits(digits.to_string());
        let values: Option<Vec<u32>> = digits.chars().map(|c| c.to_digit(10)).collect();
        let [m, p, t, u] = values.ok_or_else(wrong)?[..] else { return Err(wrong()) };
        let place = if p == 0 || m == 0 { PLACE } else { f64::from(p) / 10.0 };
        Self::new(f64::from(m) / 100.0, place, f64::from(10 * t + u) / 100.0)
    }

    /// A section of unit chord with its nose at the origin, from camber, place of the highest camber and thickness,
    /// all as shares of the chord.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if a number is not finite, or out of the range of sections.
    pub fn new(camber: f64, place: f64, thickness: f64) -> Result<Self, ShapeError> {
        Self::of(Section { camber, place, thickness, angle: 0.0, nose: [0.0; 2], chord: 1.0 })
    }

    /// The same section at an angle of attack in radians, turned nose up about its quarter chord.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Finite`] if the angle is not finite.
    pub fn at_angle(&self, angle: f64) -> Result<Self, ShapeError> {
        Self::of(Section { angle, ..self.section.clone() })
    }

    /// The same section with another nose (at no angle of attack) and chord.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if a number is not finite or the chord is not positive.
    pub fn placed(&self, nose: Point, chord: f64) -> Result<Self, ShapeError> {
        positive("NACA section", "chord", chord)?;
        Self::of(Section { nose, chord, ..self.section.clone() })
    }

    /// Chord.
    #[must_use]
    pub fn chord(&self) -> f64 {
        self.section.chord
    }

    fn of(section: Section) -> Result<Self, ShapeError> {
        finite("NACA section", &Section::names(), &section.values())?;
        let Section { camber, place, thickness, chord, .. } = section;
        let range = |name, value, expected| {
            Err(ShapeError::Range { shape: "NACA section", name, value, expected })
        };
        if !(0.005..=0.6).contains(&thickness) {
            return range("thickness", thickness, "0.005 to 0.6 of the chord");
        }
        if camber.abs() > 0.2 {
            return range("camber", camber, "at most 0.2 of the chord");
        }
        if !(0.1..=0.9).contains(&place) {
            return range("place of the highest camber", place, "0.1 to 0.9 of the chord");
        }
        positive("NACA section", "chord", chord)?;
        let trace = Trace::of(&section, 256);
        Ok(Self { section, trace })
    }
}

impl Section {
    fn names() -> Vec<String> {
        named(&["camber", "camber place", "thickness", "angle of attack", "nose x", "nose y"])
    }

    fn values(&self) -> Vec<f64> {
        vec![self.camber, self.place, self.thickness, self.angle, self.nose[0], self.nose[1]]
    }

    /// From the chord's axes to the flow's.
    fn placed(&self, p: Point) -> Point {
        let arm = self.direction(minus(p, PIVOT));
        plus(self.nose, plus(PIVOT.map(|v| v * self.chord), arm))
    }

    fn direction(&self, v: Point) -> Point {
        turned(v, -self.angle).map(|v| v * self.chord)
    }

    /// A point of the outline at s, in the chord's axes, and its derivative by s.
    fn local(&self, s: f64) -> [Point; 2] {
        let x = s * s;
        let camber = Camber::at(x, self.place);
        let (slope, bend) = (self.camber * camber.slope, self.camber * camber.bend);
        let root = slope.hypot(1.0);
        let (normal, turn) = ([-slope / root, 1.0 / root], bend * 2.0 * s / (root * root));
        let [half, growth] = half_thickness(s).map(|v| v * self.thickness);
        let tangent = [1.0 / root, slope / root];
        let on_line = [x, self.camber * camber.height];
        let point = plus(on_line, normal.map(|v| v * half));
        let moved = [2.0 * s, 2.0 * s * slope];
        let derivative = [0, 1].map(|i| moved[i] + growth * normal[i] - half * turn * tangent[i]);
        [point, derivative]
    }

    /// How the local point at s moves per unit of camber, of its place, and of thickness.
    fn local_motion(&self, s: f64) -> [Point; 3] {
        let camber = Camber::at(s * s, self.place);
        let slope = self.camber * camber.slope;
        let root = slope.hypot(1.0);
        let (normal, tangent) = ([-slope / root, 1.0 / root], [1.0 / root, slope / root]);
        let [unit, _] = half_thickness(s);
        let half = unit * self.thickness;
        let by = |height: f64, slope: f64| {
            let turn = half * slope / (root * root);
            [-turn * tangent[0], height - turn * tangent[1]]
        };
        [
            by(camber.height, camber.slope),
            by(self.camber * camber.height_by_place, self.camber * camber.slope_by_place),
            normal.map(|v| v * unit),
        ]
    }
}

/// From 1 at the trailing edge above, through 0 at the nose, to −1 at the trailing edge below; steps shrink towards
/// the trailing edge, whose corner is thin.
fn signed_root(t: f64) -> [f64; 2] {
    [(PI * t).cos(), -PI * (PI * t).sin()]
}

impl Curve for Section {
    const CORNER: bool = true;

    fn at(&self, t: f64) -> [Point; 2] {
        let [s, rate] = signed_root(t);
        let [point, derivative] = self.local(s);
        // The corner's tangents are those of its two sides, though the parameter stands still there.
        let rate = rate.min(-1e-9);
        [self.placed(point), self.direction(derivative.map(|v| v * rate))]
    }

    fn motion(&self, t: f64, out: &mut [Point]) {
        let s = signed_root(t)[0];
        let [camber, place, thickness] = self.local_motion(s).map(|v| self.direction(v));
        let arm = self.direction(minus(self.local(s)[0], PIVOT));
        // Nose up is clockwise.
        let turn = quarter(arm).map(|v| -v);
        out.copy_from_slice(&[camber, place, thickness, turn, [1.0, 0.0], [0.0, 1.0]]);
    }
}

impl Shape for Naca {
    fn distance(&self, x: f64, y: f64) -> f64 {
        self.trace.foot(&self.section, [x, y]).distance
    }

    fn parameters(&self) -> Vec<f64> {
        self.section.values()
    }

    fn names(&self) -> Vec<String> {
        Section::names()
    }

    fn sensitivity(&self, x: f64, y: f64, out: &mut [f64]) {
        self.trace.foot(&self.section, [x, y]).sensitivity(&self.section, out);
    }

    fn with(&self, parameters: &[f64]) -> Result<Box<dyn Shape>, ShapeError> {
        finite("NACA section", &Section::names(), parameters)?;
        let [camber, place, thickness, angle, x, y] = [0, 1, 2, 3, 4, 5].map(|i| parameters[i]);
        let chord = self.section.chord;
        let section = Section { camber, place, thickness, angle, nose: [x, y], chord };
        Ok(Box::new(Self::of(section)?))
    }

    fn outline(&self, points: usize) -> Vec<Vec<Point>> {
        vec![Trace::of(&self.section, points).points().to_vec()]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{agrees_with_differences, has_its_outline, is_a_distance};
    use super::*;

    const PROBES: [Point; 8] = [
        [0.31, 0.12],
        [-0.13, 0.087],
        [0.21, -0.17],
        [1.23, 0.021],
        [0.61, 0.243],
        [-0.4, -0.11],
        [0.37, 0.02],
        [0.8, -0.09],
    ];

    /// At 30 % of the chord a 12 % section is 2 · 0.060017 thick, and there the surface is nearly level.
    #[test]
    fn a_symmetric_section_has_its_thickness_and_closes() {
        let section = Naca::digits("0012").expect("a section");
        let [point, _] = section.section.local(0.3_f64.sqrt());
        assert!((point[1] - 0.060_017).abs() < 1e-5, "{point:?}");
        assert!((section.distance(0.3, 0.5) - (0.5 - 0.060_017)).abs() < 1e-4);
        assert!((section.distance(1.5, 0.0) - 0.5).abs() < 1e-12, "the trailing edge is at 1, 0");
        assert!((section.distance(-0.5, 0.0) - 0.5).abs() < 1e-9);
        assert!(section.distance(0.5, 0.0) < -0.05);
        // The closed form of the thickness, integrated: 10 τ (0.2969 · 2/3 − 0.1260/2 − 0.3516/3 + 0.2843/4 − 0.1036/5).
        let area = 1.2 * (0.2969 / 1.5 - 0.063 - 0.1172 + 0.071_075 - 0.020_72);
        assert!((section.area() / area - 1.0).abs() < 1e-4, "{} vs {area}", section.area());
    }

    #[test]
    fn every_digit_the_angle_and_the_place_have_exact_derivatives() {
        let cambered = Naca::digits("4415").and_then(|s| s.at_angle(0.1)).expect("a section");
        agrees_with_differences(&cambered, &PROBES);
        is_a_distance(&cambered, &PROBES);
        has_its_outline(&cambered);
        let plain = Naca::digits("0012").expect("a section");
        agrees_with_differences(&plain, &PROBES);
        has_its_outline(&plain);
    }

    /// Nose up lowers the trailing edge: it goes to (0.25 + 0.75 cos α, −0.75 sin α).
    #[test]
    fn an_angle_of_attack_turns_the_nose_up() {
        let tilted = Naca::digits("0012").and_then(|s| s.at_angle(0.2)).expect("a section");
        let edge = [0.25 + 0.75 * 0.2_f64.cos(), -0.75 * 0.2_f64.sin()];
        assert!(tilted.distance(edge[0], edge[1]).abs() < 1e-12);
    }

    #[test]
    fn digits_that_are_no_section_are_refused() {
        for digits in ["", "001", "00123", "00a2", "−012"] {
            assert!(matches!(Naca::digits(digits), Err(ShapeError::Digits(_))), "{digits}");
        }
        assert!(matches!(Naca::digits("0000"), Err(ShapeError::Range { .. })));
    }
}
