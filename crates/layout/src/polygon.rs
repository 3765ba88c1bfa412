//! Polygons and their bounding boxes, in nm.

/// A rectangle with sides along the axes, in nm.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Bounds {
    /// Least x and y.
    pub min: [f64; 2],
    /// Greatest x and y.
    pub max: [f64; 2],
}

impl std::fmt::Display for Bounds {
    /// `X0,Y0,X1,Y1`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},{},{},{}", self.min[0], self.min[1], self.max[0], self.max[1])
    }
}

impl std::str::FromStr for Bounds {
    type Err = String;

    /// `X0,Y0,X1,Y1`: two opposite corners.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a window as X0,Y0,X1,Y1 in nm, got {text:?}");
        let numbers =
            text.split(',').map(|v| v.trim().parse::<f64>().ok().filter(|v| v.is_finite()));
        let numbers: Vec<f64> = numbers.collect::<Option<_>>().ok_or_else(wrong)?;
        match numbers[..] {
            [x0, y0, x1, y1] if x0 != x1 && y0 != y1 => {
                Ok(Self { min: [x0.min(x1), y0.min(y1)], max: [x0.max(x1), y0.max(y1)] })
            }
            _ => Err(wrong()),
        }
    }
}

impl Bounds {
    /// The smallest rectangle around both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            min: [self.min[0].min(other.min[0]), self.min[1].min(other.min[1])],
            max: [self.max[0].max(other.max[0]), self.max[1].max(other.max[1])],
        }
    }

    /// Extent in x, in nm.
    pub fn width(&self) -> f64 {
        self.max[0] - self.min[0]
    }

    /// Extent in y, in nm.
    pub fn height(&self) -> f64 {
        self.max[1] - self.min[1]
    }

    /// Whether the two share a point.
    pub fn touches(&self, other: &Self) -> bool {
        (0..2).all(|i| self.min[i] <= other.max[i] && other.min[i] <= self.max[i])
    }
}

/// A closed polygon, in nm: the last point joins the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Polygon {
    /// Corners in order; either sense of rotation.
    pub points: Vec<[f64; 2]>,
}

impl Polygon {
    /// A polygon with these corners.
    pub fn new(points: Vec<[f64; 2]>) -> Self {
        Self { points }
    }

    /// A rectangle between two opposite corners.
    pub fn rectangle(x0: f64, y0: f64, x1: f64, y1: f64) -> Self {
        Self::new(vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    }

    /// The smallest rectangle around the corners.
    pub fn bounds(&self) -> Bounds {
        let none = Bounds { min: [f64::INFINITY; 2], max: [f64::NEG_INFINITY; 2] };
        self.points.iter().fold(none, |b, &p| b.union(Bounds { min: p, max: p }))
    }

    /// Enclosed area in nm², positive if the corners run counter-clockwise with y upwards.
    pub fn signed_area(&self) -> f64 {
        self.edges().map(|([x0, y0], [x1, y1])| x0 * y1 - x1 * y0).sum::<f64>() / 2.0
    }

    /// The edges as pairs of corners, the closing one included.
    pub fn edges(&self) -> impl Iterator<Item = ([f64; 2], [f64; 2])> + '_ {
        let next = self.points.iter().cycle().skip(1);
        self.points.iter().zip(next).map(|(&a, &b)| (a, b))
    }

    /// The part inside a window; none if nothing of its area is.
    ///
    /// Where the polygon leaves the window and returns, the parts stay joined along the window's border by edges that
    /// enclose no area.
    ///
    /// Source: Sutherland and Hodgman, Reentrant polygon clipping (1974).
    #[must_use]
    pub fn within(&self, window: &Bounds) -> Option<Self> {
        let sides = [(0, 1.0, window.min[0]), (0, -1.0, window.max[0])];
        let sides = sides.into_iter().chain([(1, 1.0, window.min[1]), (1, -1.0, window.max[1])]);
        let cut = sides
            .fold(self.clone(), |polygon, (axis, sign, line)| polygon.beyond(axis, sign, line));
        (cut.points.len() > 2 && cut.signed_area() != 0.0).then_some(cut)
    }

    /// The part where `sign * (p[axis] - line)` is not negative.
    fn beyond(&self, axis: usize, sign: f64, line: f64) -> Self {
        let depth = |p: [f64; 2]| sign * (p[axis] - line);
        let crossing = |a: [f64; 2], b: [f64; 2]| {
            let t = depth(a) / (depth(a) - depth(b));
            let mut p = [0, 1].map(|i| a[i] + t * (b[i] - a[i]));
            p[axis] = line;
            p
        };
        let mut points = Vec::with_capacity(self.points.len() + 2);
        for (a, b) in self.edges() {
            if depth(a) >= 0.0 {
                points.push(a);
            }
            if (depth(a) > 0.0 && depth(b) < 0.0) || (depth(a) < 0.0 && depth(b) > 0.0) {
                points.push(crossing(a, b));
            }
        }
        Self::new(points)
    }

    /// The polygon moved by a vector.
    #[must_use]
    pub fn shifted(&self, by: [f64; 2]) -> Self {
        Self::new(self.points.iter().map(|p| [p[0] + by[0], p[1] + by[1]]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring with a slit, cut at its middle: half of the ring is left, whichever way its corners run.
    #[test]
    fn the_part_inside_a_window_has_its_area() {
        let u = [[0.0, 0.0], [60.0, 0.0], [60.0, 50.0], [40.0, 50.0], [40.0, 20.0], [20.0, 20.0]];
        let mut points: Vec<[f64; 2]> = u.into_iter().chain([[20.0, 50.0], [0.0, 50.0]]).collect();
        for _ in 0..2 {
            let window = Bounds { min: [10.0, 30.0], max: [100.0, 45.0] };
            // Two legs of 15 nm height, 10 and 20 nm wide.
            let cut = Polygon::new(points.clone()).within(&window).expect("it reaches in");
            assert!((cut.signed_area().abs() - 450.0).abs() < 1e-9, "{cut:?}");
            let bounds = cut.bounds();
            assert_eq!((bounds.min, bounds.max), ([10.0, 30.0], [60.0, 45.0]));
            points.reverse();
        }
    }

    #[test]
    fn nothing_is_left_of_a_polygon_that_only_touches() {
        let bar = Polygon::rectangle(0.0, 0.0, 10.0, 10.0);
        let beside = Bounds { min: [10.0, 0.0], max: [20.0, 10.0] };
        let far = Bounds { min: [50.0, 0.0], max: [60.0, 10.0] };
        assert_eq!((bar.within(&beside), bar.within(&far)), (None, None));
        let around = Bounds { min: [-1.0; 2], max: [11.0; 2] };
        assert_eq!(bar.within(&around), Some(bar));
    }
}
