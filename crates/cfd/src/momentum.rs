//! Momentum: the links of both velocity components, friction on walls, pressure.
//!
//! ∮ u (u·n) dA = −∮ p n dA + ν ∮ ∂u/∂n dA over the control volume of each velocity (density one).

use crate::{
    boundary::Side,
    cut::pairs,
    grid::{Direction, Grid},
    metric::Slots,
    term::{At, Emit, Sensitivity, Term},
    transport::{Link, Node, Quantity, Transport},
};

/// Where the velocities given along a side, tangential to it, begin among the given values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tangents(pub(crate) [u32; 4]);

/// Convection and diffusion of both components.
pub(crate) fn transport(grid: &Grid, sides: &[Side; 4], tangents: Tangents) -> Transport {
    let mut links = Vec::new();
    for axis in 0..2 {
        let maker =
            Maker { d: grid.direction(axis), axis, slots: Slots::new(grid), sides, tangents };
        maker.along(&mut links);
        maker.across(&mut links);
    }
    Transport { links, quantity: Quantity::Momentum { along: 2 * grid.cells() } }
}

struct Maker<'a> {
    d: Direction,
    axis: usize,
    slots: Slots,
    sides: &'a [Side; 4],
    tangents: Tangents,
}

impl Maker<'_> {
    /// Through the middles of cells, and out of outlets.
    fn along(&self, links: &mut Vec<Link>) {
        let (d, face) = (self.d, |m, k| self.d.face(m, k) as u32);
        for (m, k) in pairs(d.n, d.t) {
            links.push(Link {
                from: Node::Unknown(face(m, k)),
                to: Node::Unknown(face(m + 1, k)),
                carriers: [(face(m, k), 0.5), (face(m + 1, k), 0.5)],
                slot: Some(self.slots.along(self.axis, d.cell(m, k)) as u32),
            });
        }
        for (end, m) in [(0, 0), (1, d.n)] {
            if matches!(self.sides[2 * self.axis + end], Side::Outlet) {
                (0..d.t).for_each(|k| links.push(self.leaving(end, face(m, k))));
            }
        }
    }

    fn leaving(&self, end: usize, face: u32) -> Link {
        let (inside, outside) = (Node::Unknown(face), Node::Outside);
        let (from, to) = if end == 0 { (outside, inside) } else { (inside, outside) };
        Link { from, to, carriers: [(face, 1.0), (face, 0.0)], slot: None }
    }

    /// Through corners of cells, and from the sides.
    fn across(&self, links: &mut Vec<Link>) {
        let d = self.d;
        for (m, k) in pairs(d.n + 1, d.t + 1) {
            let slot = Some(self.slots.across(self.axis, d.corner(m, k)) as u32);
            let side = (k == 0 || k == d.t).then(|| 2 * (1 - self.axis) + usize::from(k == d.t));
            let (beyond, slot) = match side.map(|side| (&self.sides[side], side)) {
                None => (None, slot),
                Some((Side::Slip, _)) => continue,
                Some((Side::Outlet, _)) => (Some(Node::Outside), None),
                Some((Side::Velocity { .. }, side)) => {
                    (Some(Node::Given(self.tangents.0[side] + m as u32)), slot)
                }
            };
            let below = k.checked_sub(1).map(|k| Node::Unknown(d.face(m, k) as u32));
            let above = (k < d.t).then(|| Node::Unknown(d.face(m, k) as u32));
            if let (Some(from), Some(to)) = (below.or(beyond), above.or(beyond)) {
                links.push(Link { from, to, carriers: self.beside(m, k), slot });
            }
        }
    }

    /// The two faces of the other component beside a corner, each of which carries half.
    fn beside(&self, m: usize, k: usize) -> [(u32, f64); 2] {
        let d = self.d;
        let half = |present: bool, m: usize| {
            if present {
                (d.other(m, k) as u32, 0.5)
            } else {
                (d.other(m.min(d.n - 1), k) as u32, 0.0)
            }
        };
        [half(m > 0, m.saturating_sub(1)), half(m < d.n, m)]
    }
}

/// Friction on bodies: ν (wetted area / distance) (u − u_body).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Friction {
    pub(crate) faces: usize,
}

impl Friction {
    /// Force of the velocity of face `f` on the wall.
    pub(crate) fn force(at: At<'_>, f: usize) -> f64 {
        at.physics.viscosity * (at.metric.wall[f] * at.w[f] - at.metric.slide[f])
    }

    /// Adds `by` × the derivative of the force by all that is not an unknown.
    pub(crate) fn pull_force(at: At<'_>, f: usize, by: f64, into: &mut Sensitivity) {
        let metric = at.metric;
        into.metric.wall[f] += by * at.physics.viscosity * at.w[f];
        into.metric.slide[f] -= by * at.physics.viscosity;
        into.viscosity += by * (metric.wall[f] * at.w[f] - metric.slide[f]);
    }
}

impl Term for Friction {
    fn residual(&self, at: At<'_>, out: &mut [f64]) {
        (0..self.faces).for_each(|f| out[f] += Self::force(at, f));
    }

    fn jacobian(&self, at: At<'_>, emit: &mut Emit<'_>) {
        (0..self.faces).for_each(|f| emit(f, f, at.physics.viscosity * at.metric.wall[f]));
    }

    fn pull(&self, at: At<'_>, row: &[f64], into: &mut Sensitivity) {
        (0..self.faces)
            .filter(|&f| row[f] != 0.0)
            .for_each(|f| Self::pull_force(at, f, row[f], into));
    }
}

/// The cells before and behind each face, where the grid goes on.
#[derive(Clone, Debug)]
pub(crate) struct Neighbours(Vec<[Option<u32>; 2]>);

impl Neighbours {
    pub(crate) fn new(grid: &Grid) -> Self {
        let mut cells = vec![[None; 2]; crate::grid::Layout::new(grid, false).faces];
        for axis in 0..2 {
            let d = grid.direction(axis);
            for (m, k) in pairs(d.n + 1, d.t) {
                let before = m.checked_sub(1).map(|m| d.cell(m, k) as u32);
                cells[d.face(m, k)] = [before, (m < d.n).then(|| d.cell(m, k) as u32)];
            }
        }
        Self(cells)
    }

    /// Cells before and behind face `f`.
    pub(crate) fn of(&self, f: usize) -> [Option<usize>; 2] {
        self.0[f].map(|cell| cell.map(|c| c as usize))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Every face with the cells beside it, and the sign with which a flux through the face leaves them.
    pub(crate) fn sides(&self) -> impl Iterator<Item = (usize, usize, f64)> {
        let cells = |f: usize| self.of(f).into_iter().zip([1.0, -1.0]);
        (0..self.len()).flat_map(move |f| cells(f).filter_map(move |(c, sign)| Some((f, c?, sign))))
    }
}

/// Pressure on open faces: α A (p behind − p before); outside an outlet it is zero.
#[derive(Clone, Debug)]
pub(crate) struct Pressure<'a> {
    pub(crate) neighbours: &'a Neighbours,
    /// Where pressures begin among the unknowns.
    pub(crate) start: usize,
}

impl Term for Pressure<'_> {
    fn residual(&self, at: At<'_>, out: &mut [f64]) {
        for (f, c, sign) in self.neighbours.sides() {
            out[f] -= sign * at.metric.open[f] * at.w[self.start + c];
        }
    }

    fn jacobian(&self, at: At<'_>, emit: &mut Emit<'_>) {
        for (f, c, sign) in self.neighbours.sides() {
            emit(f, self.start + c, -sign * at.metric.open[f]);
        }
    }

    fn pull(&self, at: At<'_>, row: &[f64], into: &mut Sensitivity) {
        for (f, c, sign) in self.neighbours.sides() {
            into.metric.open[f] -= sign * row[f] * at.w[self.start + c];
        }
    }
}
