//! Polygons and their bounding boxes, in nm.

/// A rectangle with sides along the axes, in nm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Least x and y.
    pub min: [f64; 2],
    /// Greatest x and y.
    pub max: [f64; 2],
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

    /// The polygon moved by a vector.
    #[must_use]
    pub fn shifted(&self, by: [f64; 2]) -> Self {
        Self::new(self.points.iter().map(|p| [p[0] + by[0], p[1] + by[1]]).collect())
    }
}
