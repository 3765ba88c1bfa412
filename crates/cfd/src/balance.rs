//! What passes through a box around a body: the other way to its force, equal to round-off.
//!
//! The equations are sums of fluxes, each of which leaves one control volume and enters the next. Over all volumes of a
//! box only the fluxes through its border are left, and with them the forces on walls inside. So the force on a body
//! is what its neighbourhood loses, whichever box is taken.

use crate::{Flow, grid::Direction};

/// Cells of a box: first and last along a component, first and last across it.
struct Span {
    along: [usize; 2],
    across: [usize; 2],
}

impl Span {
    /// Whether the velocity of face `m` in row `k` has its whole control volume in the box.
    fn holds(&self, m: usize, k: usize) -> bool {
        self.along[0] < m && m <= self.along[1] && (self.across[0]..=self.across[1]).contains(&k)
    }
}

impl Flow {
    /// Force of the fluid on what is inside a box, from momentum and pressure through its border. The box is made of
    /// the cells that hold its lower left and upper right corner and all between them; bodies must not cross it.
    ///
    /// None if a corner is off the grid.
    #[must_use]
    pub fn momentum_balance(&self, low: [f64; 2], high: [f64; 2]) -> Option<[f64; 2]> {
        let grid = self.system.grid();
        let (first, last) = (grid.find(low[0], low[1])?, grid.find(high[0], high[1])?);
        let ends = [[first % grid.nx(), last % grid.nx()], [first / grid.nx(), last / grid.nx()]];
        Some([0, 1].map(|axis| {
            let span = Span { along: ends[axis], across: ends[1 - axis] };
            let d = grid.direction(axis);
            -(self.transported(d, &span) + self.pushed(d, &span))
        }))
    }

    /// The largest sum of what flows out of a cell.
    #[must_use]
    pub fn mass_loss(&self) -> f64 {
        let system = &self.system;
        let mut loss = vec![0.0; system.layout.cells];
        for (face, cell, sign) in system.neighbours.sides() {
            loss[cell] += sign * system.cut.metric.open[face] * self.w[face];
        }
        // A NaN is a loss.
        loss.iter().fold(0.0, |most: f64, v| if v.abs() <= most { most } else { v.abs() })
    }

    /// Momentum that leaves the box along links with one end in it.
    fn transported(&self, d: Direction, span: &Span) -> f64 {
        let system = &self.system;
        let mut inside = vec![false; system.layout.faces];
        for (m, k) in crate::cut::pairs(d.n + 1, d.t) {
            inside[d.face(m, k)] = span.holds(m, k);
        }
        let at = system.at(&self.w);
        let leaving = |link: &crate::transport::Link| {
            let [from, to] = link.rows().map(|row| row.is_some_and(|i| inside[i]));
            let sign = f64::from(i8::from(from) - i8::from(to));
            let passes =
                || system.momentum.convected(at, link) + system.momentum.diffused(at, link);
            if sign == 0.0 { 0.0 } else { sign * passes() }
        };
        system.momentum.links.iter().map(leaving).sum()
    }

    /// Pressure on the two ends of the box.
    fn pushed(&self, d: Direction, span: &Span) -> f64 {
        let system = &self.system;
        let open = &system.cut.metric.open;
        let [first, last] = span.along;
        let end = |face: usize, cell: usize| open[face] * self.w[system.layout.pressure(cell)];
        let row = |k: usize| {
            end(d.face(last, k), d.cell(last, k)) - end(d.face(first + 1, k), d.cell(first, k))
        };
        (span.across[0]..=span.across[1]).map(row).sum()
    }
}
