//! Energy: ∮ T (u·n) dA = κ ∮ ∂T/∂n dA over cells, bodies of a temperature, buoyancy.

use crate::{
    boundary::{Sides, Thermal},
    cut::pairs,
    grid::{Grid, Layout},
    metric::Slots,
    momentum::Neighbours,
    term::{At, Emit, Sensitivity, Term},
    transport::{Link, Node, Quantity, Transport},
};

/// Convection and conduction between cells and through the sides, the temperatures of the sides (appended to
/// `given`), and the heat that enters cells through sides with a given flux.
pub(crate) fn transport(grid: &Grid, sides: &Sides, given: &mut Vec<f64>) -> (Transport, Vec<f64>) {
    let layout = Layout::new(grid, true);
    let mut sources = vec![0.0; layout.cells];
    let mut links = Vec::new();
    for axis in 0..2 {
        let d = grid.direction(axis);
        let across = grid.half(1 - axis);
        for (m, k) in pairs(d.n + 1, d.t) {
            let face = d.face(m, k);
            let cell = |m: usize| Node::Unknown(layout.temperature(d.cell(m, k)) as u32);
            let mut slot = Some(Slots::new(grid).through(face) as u32);
            let mut beyond = |side: usize, m: usize| match sides.thermal(side, across[2 * k + 1]) {
                Thermal::Temperature(value) => {
                    given.push(value);
                    Node::Given(given.len() as u32 - 1)
                }
                other => {
                    if let Thermal::Flux(flux) = other {
                        sources[d.cell(m, k)] += flux * (across[2 * k + 2] - across[2 * k]);
                    }
                    slot = None;
                    Node::Outside
                }
            };
            let from = if m == 0 { beyond(2 * axis, 0) } else { cell(m - 1) };
            let to = if m == d.n { beyond(2 * axis + 1, m - 1) } else { cell(m) };
            let carriers = [(face as u32, 1.0), (face as u32, 0.0)];
            links.push(Link { from, to, carriers, slot });
        }
    }
    (Transport { links, quantity: Quantity::Heat { start: layout.temperature(0) } }, sources)
}

/// Heat from bodies that have a temperature, and through sides of a given flux.
#[derive(Clone, Debug)]
pub(crate) struct WallHeat {
    /// Where temperatures begin among the unknowns.
    pub(crate) start: usize,
    /// For each cell, which of the given values is the temperature of the nearest body.
    pub(crate) body: Vec<Option<u32>>,
    /// Heat that enters each cell through sides of a given flux.
    pub(crate) sources: Vec<f64>,
}

impl WallHeat {
    /// Cells that touch a body with a temperature, and which given value that is.
    pub(crate) fn touched(&self, at: At<'_>) -> impl Iterator<Item = (usize, usize)> {
        let bodies = self.body.iter().enumerate();
        bodies.filter_map(move |(c, given)| {
            given.filter(|_| at.metric.cell_wall[c] != 0.0).map(|given| (c, given as usize))
        })
    }

    /// Heat that cell `c` receives from a body with given temperature `body`.
    pub(crate) fn received(&self, at: At<'_>, c: usize, body: usize) -> f64 {
        let difference = at.physics.given[body] - at.w[self.start + c];
        at.physics.diffusivity[c] * at.metric.cell_wall[c] * difference
    }

    /// Adds `by` × the derivative of the heat received by all that is not an unknown.
    pub(crate) fn pull_received(
        &self,
        at: At<'_>,
        (c, body): (usize, usize),
        by: f64,
        into: &mut Sensitivity,
    ) {
        let difference = at.physics.given[body] - at.w[self.start + c];
        let (k, wall) = (at.physics.diffusivity[c], at.metric.cell_wall[c]);
        into.diffusivity[c] += by * wall * difference;
        into.metric.cell_wall[c] += by * k * difference;
        into.given[body] += by * k * wall;
    }
}

impl Term for WallHeat {
    fn residual(&self, at: At<'_>, out: &mut [f64]) {
        for (c, body) in self.touched(at) {
            out[self.start + c] -= self.received(at, c, body);
        }
        for (c, source) in self.sources.iter().enumerate() {
            out[self.start + c] -= source;
        }
    }

    fn jacobian(&self, at: At<'_>, emit: &mut Emit<'_>) {
        for (c, _) in self.touched(at) {
            let row = self.start + c;
            emit(row, row, at.physics.diffusivity[c] * at.metric.cell_wall[c]);
        }
    }

    fn pull(&self, at: At<'_>, row: &[f64], into: &mut Sensitivity) {
        for pair in self.touched(at) {
            self.pull_received(at, pair, -row[self.start + pair.0], into);
        }
    }
}

/// Heat stored in cells by a scheme in time: rate × volume × temperature. Solid by density stores like fluid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storage {
    /// Where temperatures begin among the unknowns.
    pub(crate) start: usize,
}

impl Term for Storage {
    fn residual(&self, at: At<'_>, out: &mut [f64]) {
        for (c, volume) in at.metric.cell_volume.iter().enumerate() {
            out[self.start + c] += at.physics.storage * volume * at.w[self.start + c];
        }
    }

    fn jacobian(&self, at: At<'_>, emit: &mut Emit<'_>) {
        for (c, volume) in at.metric.cell_volume.iter().enumerate() {
            emit(self.start + c, self.start + c, at.physics.storage * volume);
        }
    }

    fn pull(&self, at: At<'_>, row: &[f64], into: &mut Sensitivity) {
        for (c, volume) in into.metric.cell_volume.iter_mut().enumerate() {
            *volume += row[self.start + c] * at.physics.storage * at.w[self.start + c];
        }
    }
}

/// Buoyancy (Boussinesq): warm fluid is accelerated by `buoyancy` per unit of temperature above the reference.
#[derive(Clone, Debug)]
pub(crate) struct Buoyancy<'a> {
    pub(crate) neighbours: &'a Neighbours,
    /// Where temperatures begin among the unknowns.
    pub(crate) start: usize,
    /// Where the faces of the second component begin.
    pub(crate) second: usize,
}

impl Buoyancy<'_> {
    /// Faces with cells on both sides whose component is accelerated.
    fn faces(&self, at: At<'_>) -> impl Iterator<Item = (usize, usize, [usize; 2])> {
        let axes = [0, 1].into_iter().filter(move |&axis| at.physics.buoyancy[axis] != 0.0);
        axes.flat_map(move |axis| {
            let all = if axis == 0 { 0..self.second } else { self.second..self.neighbours.len() };
            all.filter_map(move |f| match self.neighbours.of(f) {
                [Some(a), Some(b)] => Some((axis, f, [self.start + a, self.start + b])),
                _ => None,
            })
        })
    }
}

impl Term for Buoyancy<'_> {
    fn residual(&self, at: At<'_>, out: &mut [f64]) {
        for (axis, f, [a, b]) in self.faces(at) {
            let warmth = 0.5 * (at.w[a] + at.w[b]) - at.physics.reference;
            out[f] -= at.metric.volume[f] * at.physics.buoyancy[axis] * warmth;
        }
    }

    fn jacobian(&self, at: At<'_>, emit: &mut Emit<'_>) {
        for (axis, f, [a, b]) in self.faces(at) {
            let slope = -0.5 * at.metric.volume[f] * at.physics.buoyancy[axis];
            emit(f, a, slope);
            emit(f, b, slope);
        }
    }

    fn pull(&self, at: At<'_>, row: &[f64], into: &mut Sensitivity) {
        for (axis, f, [a, b]) in self.faces(at) {
            let warmth = 0.5 * (at.w[a] + at.w[b]) - at.physics.reference;
            into.metric.volume[f] -= row[f] * at.physics.buoyancy[axis] * warmth;
            into.buoyancy[axis] -= row[f] * at.metric.volume[f] * warmth;
        }
    }
}
