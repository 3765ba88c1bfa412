//! The formulas of cut cells: open lengths, distances, volumes and walls from a few signed distances.
//!
//! Walls are exact for shear: where the velocity is proportional to the distance from a plane wall at any angle to
//! the grid, the equations of its control volumes hold to round-off. That takes two things beside open lengths and
//! wetted areas. Two faces whose open middles lie at different heights do not differ along their direction alone
//! ([`Rule::Lean`]); and a side that leads to a closed face feels the wall at the distance along that side's
//! direction, d / |∂φ|. Without them a wall at an angle is of first order only.
//!
//! Each stands once, over [`Real`] numbers: plain numbers give the value, dual numbers its slopes.

use crate::dual::{Dual, Real};

/// Samples that a formula depends on, at most.
const REACH: usize = 6;

/// Which number of the metric.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Open(usize),
    Wall(usize),
    Slide(usize),
    Volume(usize),
    Conductance(usize),
    Lean(usize),
    Drift(usize),
    CellVolume(usize),
    CellWall(usize),
    Chord(usize),
}

/// A formula with its lengths.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// Open length between two samples, over a distance.
    Open { length: f64, distance: f64 },
    /// Open length between two samples, over the distance of the middles of two open faces that meet there.
    Across { length: f64, border: f64, below: Option<[f64; 2]>, above: Option<[f64; 2]> },
    /// What the velocity before (or behind) adds to the flux between two velocities whose open middles lie at
    /// different heights.
    Lean { size: [f64; 2], behind: bool },
    /// The same of walls that turn at `rate`; `start` is measured from the centre.
    Drift { size: [f64; 2], rate: f64, start: f64 },
    /// Wetted area of a velocity's control volume over the distance to the wall, with the sides that lead to closed
    /// faces.
    Wall { size: [f64; 2], blocked: [bool; 4] },
    /// The same of a wall that turns at `rate`, times its velocity; `start` is measured from the centre.
    Slide { size: [f64; 2], blocked: [bool; 4], rate: f64, start: f64 },
    /// Fluid part of a box.
    Volume { size: [f64; 2] },
    /// Wetted area of a cell over the distance of its fluid's middle to the wall.
    CellWall { size: [f64; 2] },
    /// What a solid that turns at `rate` pushes out of a cell by its chord; `corner` is measured from the centre.
    Chord { size: [f64; 2], rate: f64, corner: [f64; 2] },
}

/// One number of the metric: where it goes, which samples it depends on, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) target: Target,
    pub(crate) stencil: [usize; REACH],
    pub(crate) rule: Rule,
}

impl Entry {
    /// An entry that depends on the samples of `stencil`, at most six.
    pub(crate) fn new(target: Target, stencil: &[usize], rule: Rule) -> Self {
        let stencil = std::array::from_fn(|i| stencil[i.min(stencil.len() - 1)]);
        Self { target, stencil, rule }
    }

    /// Its value, given all samples.
    pub(crate) fn value(&self, phi: &[f64]) -> f64 {
        self.rule.of(self.stencil.map(|i| phi[i]))
    }

    /// Its derivatives by the samples that it depends on; none where fluid or solid is all that they show.
    pub(crate) fn slopes(&self, phi: &[f64]) -> impl Iterator<Item = (usize, f64)> {
        let samples = self.stencil.map(|i| phi[i]);
        let slope = if self.rule.is_flat(&samples) {
            [0.0; REACH]
        } else {
            self.rule.of(Dual::<REACH>::inputs(samples)).slope
        };
        (0..REACH).map(move |i| (self.stencil[i], slope[i])).filter(|&(_, slope)| slope != 0.0)
    }
}

impl Rule {
    /// Whether no sample matters: fluid is all that they show, and no side leads to a wall.
    fn is_flat(&self, samples: &[f64]) -> bool {
        let blocked = match *self {
            Self::Wall { blocked, .. } | Self::Slide { blocked, .. } => blocked.contains(&true),
            _ => false,
        };
        !blocked && samples.iter().all(|&s| s > 0.0)
    }

    fn of<R: Real>(&self, phi: [R; REACH]) -> R {
        match *self {
            Self::Open { length, distance } => open(phi[0], phi[1], length).times(1.0 / distance),
            Self::Across { length, border, below, above } => {
                let middle = |span: Option<[f64; 2]>, a: R, b: R| {
                    span.map_or(R::of(border), |span| middle_of_open(a, b, span))
                };
                let distance = middle(above, phi[3], phi[4]) - middle(below, phi[2], phi[3]);
                open(phi[0], phi[1], length) / distance
            }
            Self::Lean { size, behind } => lean(phi, size, if behind { 4 } else { 2 }),
            Self::Drift { size, rate, start } => drift(phi, size, start).times(rate),
            Self::Wall { size, blocked } => wall(phi, size, blocked),
            Self::Slide { size, blocked, rate, start } => {
                slide(phi, size, blocked, start).times(rate)
            }
            Self::Volume { size } => fluid([phi[0], phi[1], phi[2], phi[3]], size).0,
            Self::CellWall { size } => cell_wall([phi[0], phi[1], phi[2], phi[3]], size),
            Self::Chord { size, rate, corner } => chord(phi, size, corner).times(rate),
        }
    }
}

/// Open part of an edge of `length` whose ends are at distances `a` and `b`.
fn open<R: Real>(a: R, b: R, length: f64) -> R {
    match (a.value() > 0.0, b.value() > 0.0) {
        (true, true) => R::of(length),
        (true, false) => (a / (a - b)).times(length),
        (false, true) => (b / (b - a)).times(length),
        (false, false) => R::of(0.0),
    }
}

/// Middle of the open part of an edge from `start` to `end`.
fn middle_of_open<R: Real>(a: R, b: R, [start, end]: [f64; 2]) -> R {
    let half = open(a, b, 0.5 * (end - start));
    if a.value() > 0.0 { R::of(start) + half } else { R::of(end) - half }
}

/// Distance to the wall in the middle of an edge's open part.
fn distance<R: Real>(a: R, b: R) -> R {
    let part = |s: R| if s.value() > 0.0 { s.times(0.5) } else { R::of(0.0) };
    part(a) + part(b)
}

/// Change of the distance along an edge from `a` to `b`.
fn slope<R: Real>(a: R, b: R, length: f64) -> R {
    (b - a).times(1.0 / length)
}

/// Between two velocities whose open middles lie `offset` apart across their direction, the difference along it is
/// u₁ − u₀ − offset ∂u/∂t, and near a wall ∂u/∂t is u/d ∂φ/∂t: half from either face. `phi`: the ends of the edge
/// between them, of the face before, of the face behind.
fn lean<R: Real>(phi: [R; REACH], size: [f64; 2], end: usize) -> R {
    let (a, b) = (phi[end], phi[end + 1]);
    offset(phi, size) * slope(a, b, 2.0 * size[1]) / distance(a, b)
}

/// Open length over distance between two velocities, times the difference of heights of their open middles.
fn offset<R: Real>(phi: [R; REACH], [n, t]: [f64; 2]) -> R {
    let middle = |end: usize| middle_of_open(phi[end], phi[end + 1], [0.0, t]);
    open(phi[0], phi[1], t).times(1.0 / n) * (middle(4) - middle(2))
}

/// The leans' share of a solid that turns at unit rate: what leans is the velocity relative to the solid's own
/// motion, whose component grows with the height alone.
fn drift<R: Real>(phi: [R; REACH], size: [f64; 2], start: f64) -> R {
    let part = |end: usize| {
        let height = middle_of_open(phi[end], phi[end + 1], [start, start + size[1]]);
        lean(phi, size, end) * height
    };
    part(2) + part(4) - offset(phi, size)
}

/// Open sides of a velocity's control volume: before, behind, below, above. `phi`: its four corners (before, before
/// and above, behind, behind and above), then the two ends of the face.
fn sides<R: Real>(phi: [R; REACH], [n, t]: [f64; 2]) -> [R; 4] {
    [
        open(phi[0], phi[1], t),
        open(phi[2], phi[3], t),
        open(phi[0], phi[2], n),
        open(phi[1], phi[3], n),
    ]
}

/// Wetted area of a velocity's control volume: what closes its open sides.
fn embedded<R: Real>(sides: [R; 4]) -> R {
    length(sides[0] - sides[1], sides[2] - sides[3])
}

/// Wetted area over distance of a velocity's control volume, with its blocked sides at their distances along their
/// directions.
fn wall<R: Real>(phi: [R; REACH], size: [f64; 2], blocked: [bool; 4]) -> R {
    let (sides, [n, t]) = (sides(phi, size), size);
    let along = (phi[2] + phi[3] - phi[0] - phi[1]).times(0.5 / n).abs();
    let across = slope(phi[4], phi[5], t).abs();
    let steepness = [along, along, across, across];
    let mut area = embedded(sides);
    for i in (0..4).filter(|&i| blocked[i]) {
        area = area + sides[i] * steepness[i];
    }
    area / distance(phi[4], phi[5])
}

/// The wall's share of a solid that turns at unit rate: friction of the velocity relative to the solid's own motion,
/// and that motion's shear.
fn slide<R: Real>(phi: [R; REACH], size: [f64; 2], blocked: [bool; 4], start: f64) -> R {
    let sides = sides(phi, size);
    let height = middle_of_open(phi[4], phi[5], [start, start + size[1]]);
    // What the open sides below and above lack of balancing; a blocked one has no link that carries its part.
    let part = |i: usize| if blocked[i] { R::of(0.0) } else { sides[i] };
    let shear = part(3) - part(2);
    wall(phi, size, blocked) * height - shear
}

fn length<R: Real>(a: R, b: R) -> R {
    (a * a + b * b).sqrt()
}

/// Fluid part of a box with distances at its corners (counter-clockwise), and the mean distance over it.
fn fluid<R: Real>(phi: [R; 4], [width, height]: [f64; 2]) -> (R, R) {
    let corners = [[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]];
    let mut polygon: Vec<[R; 3]> = Vec::with_capacity(6);
    for i in 0..4 {
        let (a, b) = (phi[i], phi[(i + 1) % 4]);
        let (from, to) = (corners[i], corners[(i + 1) % 4]);
        if a.value() > 0.0 {
            polygon.push([R::of(from[0]), R::of(from[1]), a]);
        }
        if (a.value() > 0.0) != (b.value() > 0.0) {
            let share = a / (a - b);
            let place = |axis: usize| R::of(from[axis]) + share.times(to[axis] - from[axis]);
            polygon.push([place(0), place(1), R::of(0.0)]);
        }
    }
    fan(&polygon)
}

/// Area of a polygon of points `[x, y, φ]`, and the mean of φ over it, by triangles from its first point.
fn fan<R: Real>(polygon: &[[R; 3]]) -> (R, R) {
    let (mut area, mut moment) = (R::of(0.0), R::of(0.0));
    let Some((&o, rest)) = polygon.split_first() else { return (area, moment) };
    for pair in rest.windows(2) {
        let (p, q) = (pair[0], pair[1]);
        let triangle = ((p[0] - o[0]) * (q[1] - o[1]) - (q[0] - o[0]) * (p[1] - o[1])).times(0.5);
        area = area + triangle;
        moment = moment + triangle * (o[2] + p[2] + q[2]).times(1.0 / 3.0);
    }
    if area.value() > 0.0 { (area, moment / area) } else { (area, moment) }
}

fn cell_wall<R: Real>(phi: [R; 4], size: [f64; 2]) -> R {
    let [width, height] = size;
    let across = open(phi[0], phi[3], height) - open(phi[1], phi[2], height);
    let along = open(phi[0], phi[1], width) - open(phi[3], phi[2], width);
    let area = length(across, along);
    let (_, mean) = fluid(phi, size);
    if area.value() > 0.0 && mean.value() > 0.0 { area / mean } else { R::of(0.0) }
}

/// What a solid rotation at unit rate carries out of a cell through its open sides, and therefore into it by its
/// chord. `phi`: the corners, counter-clockwise.
fn chord<R: Real>(phi: [R; REACH], [width, height]: [f64; 2], corner: [f64; 2]) -> R {
    let moment = |a: usize, b: usize, start: f64, length: f64| {
        let (a, b) = (phi[a], phi[b]);
        open(a, b, length) * middle_of_open(a, b, [start, start + length])
    };
    let up = |a, b| moment(a, b, corner[1], height);
    let right = |a, b| moment(a, b, corner[0], width);
    up(0, 3) - up(1, 2) + right(3, 2) - right(0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: [Rule; 10] = [
        Rule::Open { length: 0.3, distance: 0.2 },
        Rule::Across {
            length: 0.3,
            border: 0.0,
            below: Some([-0.2, 0.1]),
            above: Some([0.1, 0.35]),
        },
        Rule::Wall { size: [0.3, 0.2], blocked: [false, true, false, true] },
        Rule::Slide { size: [0.3, 0.2], blocked: [false; 4], rate: -1.3, start: 0.4 },
        Rule::Lean { size: [0.3, 0.2], behind: false },
        Rule::Lean { size: [0.3, 0.2], behind: true },
        Rule::Drift { size: [0.3, 0.2], rate: 0.7, start: -0.3 },
        Rule::Volume { size: [0.3, 0.2] },
        Rule::CellWall { size: [0.3, 0.2] },
        Rule::Chord { size: [0.3, 0.2], rate: 0.7, corner: [-0.5, 0.4] },
    ];

    /// Every pattern of signs with an open last pair, so that the faces which formulas presuppose are open.
    fn samples() -> impl Iterator<Item = [f64; REACH]> {
        (0..32).map(|signs: u32| {
            std::array::from_fn(|i| {
                let size =
                    0.05 + 0.013 * ((7 * i + signs as usize) % 11) as f64 + 0.0017 * (i * i) as f64;
                if i < 4 && signs >> i & 1 == 1 || i == 4 && signs >> 4 == 1 { -size } else { size }
            })
        })
    }

    #[test]
    fn each_formula_has_the_slopes_of_its_central_differences() {
        for (rule, phi) in RULES.iter().flat_map(|rule| samples().map(move |phi| (rule, phi))) {
            let pair = matches!(rule, Rule::Across { .. } | Rule::Lean { .. } | Rule::Drift { .. });
            if pair && phi[2] <= 0.0 && phi[3] <= 0.0 {
                continue; // the face below would be closed
            }
            let exact = rule.of(Dual::inputs(phi)).slope;
            for i in 0..REACH {
                let at = |step: f64| {
                    let mut moved = phi;
                    moved[i] += step;
                    rule.of(moved)
                };
                let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
                let scale = 1.0 + exact[i].abs();
                assert!((difference - exact[i]).abs() < 1e-6 * scale, "{rule:?} {phi:?} {i}");
            }
        }
    }

    /// A half plane at distance c − x·n from the box's corner: area and wall are known.
    #[test]
    fn a_plane_wall_has_its_area_its_length_and_its_distance() {
        let size = [0.4, 0.3];
        let phi = [-0.1, 0.3, 0.3, -0.1]; // φ = x − 0.1
        let (area, mean) = fluid(phi, size);
        assert!((area - 0.3 * 0.3).abs() < 1e-15 && (mean - 0.15).abs() < 1e-15);
        assert!((cell_wall(phi, size) - 0.3 / 0.15).abs() < 1e-14);
    }

    #[test]
    fn an_edge_is_open_from_its_cut_to_its_fluid_end() {
        assert_eq!(open(0.375, -0.125, 2.0), 1.5);
        assert_eq!(middle_of_open(0.375, -0.125, [1.0, 3.0]), 1.75);
        assert_eq!(middle_of_open(-0.125, 0.375, [1.0, 3.0]), 2.25);
        assert_eq!(distance(-0.125, 0.375), 0.1875);
        assert_eq!(open(0.0, 0.2, 1.0), 1.0);
        assert_eq!(open(0.0, 0.0, 1.0), 0.0);
    }
}
