//! The discrete equations of a case: unknowns, terms, residual, Jacobian, vector–Jacobian product.
//!
//! R(w) = 0 with w = `[u | v | p | T]`. A row whose unknown is given (a boundary velocity, a closed face, a cell
//! without fluid, one pressure of a closed box) reads w − value = 0.

use rayon::prelude::*;

use crate::{
    Error,
    assemble::Matrix,
    boundary::Side,
    brinkman::Resistance,
    case::Case,
    continuity::Continuity,
    cut::{Cut, Spin, pairs},
    energy::{self, Buoyancy, Storage, WallHeat},
    grid::{Grid, Layout},
    metric::Metric,
    momentum::{self, Friction, Neighbours, Pressure, Tangents},
    term::{At, Physics, Sensitivity, Term},
    transport::Transport,
};

/// The equations of one case on its grid.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) case: Case,
    pub(crate) layout: Layout,
    pub(crate) cut: Cut,
    pub(crate) physics: Physics,
    pub(crate) momentum: Transport,
    pub(crate) heat: Option<(Transport, WallHeat)>,
    pub(crate) neighbours: Neighbours,
    /// Which unknowns have an equation.
    pub(crate) free: Vec<bool>,
    /// Values of the others.
    pub(crate) fixed: Vec<f64>,
    /// Nearest body of each sample of the signed distance.
    pub(crate) owners: Vec<u16>,
    /// Where the tangential velocities of the four sides begin among the given values, and where they end.
    pub(crate) tangents: [u32; 5],
}

impl System {
    /// Cuts the grid and sets up the equations.
    pub(crate) fn new(case: &Case) -> Result<Self, Error> {
        case.check()?;
        let layout = Layout::new(&case.grid, case.heat.is_some());
        let (phi, owners) = sample(case)?;
        let spins = spins(case, &owners);
        let cut = Cut::new(&case.grid, phi, spins.clone());
        let (mut given, tangents) = tangential(case);
        let starts = Tangents([tangents[0], tangents[1], tangents[2], tangents[3]]);
        let momentum = momentum::transport(&case.grid, &case.sides.flow, starts);
        let heat = layout.heat.then(|| heat(case, &owners, &mut given));
        let mut system = Self {
            layout,
            neighbours: Neighbours::new(&case.grid),
            physics: physics(case, given),
            case: case.clone(),
            free: vec![true; layout.len()],
            fixed: vec![0.0; layout.len()],
            cut,
            momentum,
            heat,
            owners,
            tangents,
        };
        system.fix_faces(&spins);
        system.fix_cells()?;
        Ok(system)
    }

    pub(crate) fn grid(&self) -> &Grid {
        &self.case.grid
    }

    /// Unknowns that are zero where nothing is given.
    pub(crate) fn rest(&self) -> Vec<f64> {
        self.fixed.clone()
    }

    pub(crate) fn at<'a>(&'a self, w: &'a [f64]) -> At<'a> {
        At { w, metric: &self.cut.metric, physics: &self.physics }
    }

    /// All terms of the equations.
    fn terms(&self) -> Vec<Box<dyn Term + '_>> {
        let (neighbours, start) = (&self.neighbours, self.layout.pressure(0));
        let mut terms: Vec<Box<dyn Term + '_>> = vec![
            Box::new(&self.momentum),
            Box::new(Friction { faces: self.layout.faces }),
            Box::new(Resistance { neighbours }),
            Box::new(Pressure { neighbours, start }),
            Box::new(Continuity { neighbours, start }),
        ];
        if let Some((transport, walls)) = &self.heat {
            let second = self.grid().direction(1).face(0, 0);
            terms.push(Box::new(transport));
            terms.push(Box::new(walls));
            terms.push(Box::new(Storage { start: self.layout.temperature(0) }));
            terms.push(Box::new(Buoyancy {
                neighbours,
                start: self.layout.temperature(0),
                second,
            }));
        }
        terms
    }

    /// Transport of momentum, and of heat if there is any.
    pub(crate) fn transports(&self) -> impl Iterator<Item = &Transport> {
        std::iter::once(&self.momentum).chain(self.heat.as_ref().map(|(transport, _)| transport))
    }

    /// R(w).
    pub(crate) fn residual(&self, w: &[f64]) -> Vec<f64> {
        let mut out = self.terms_at(self.at(w));
        for i in (0..out.len()).filter(|&i| !self.free[i]) {
            out[i] = w[i] - self.fixed[i];
        }
        out
    }

    /// The sum of the terms anywhere, zero in rows without an equation.
    pub(crate) fn terms_at(&self, at: At<'_>) -> Vec<f64> {
        let mut out = vec![0.0; self.layout.len()];
        self.terms().iter().for_each(|term| term.residual(at, &mut out));
        out.iter_mut().zip(&self.free).filter(|(_, free)| !**free).for_each(|(r, _)| *r = 0.0);
        out
    }

    /// Every entry of ∂R/∂w, in a fixed order.
    fn entries(&self, w: &[f64], emit: &mut dyn FnMut(usize, usize, f64)) {
        let mut only_free = |row: usize, column: usize, value: f64| {
            if self.free[row] {
                emit(row, column, value);
            }
        };
        self.terms().iter().for_each(|term| term.jacobian(self.at(w), &mut only_free));
        // A zero on every diagonal: the pattern of the pressures, and the ones of rows without an equation.
        (0..self.layout.len()).for_each(|i| emit(i, i, f64::from(u8::from(!self.free[i]))));
    }

    /// The pattern of the Jacobian.
    pub(crate) fn pattern(&self) -> Matrix {
        let mut entries = Vec::with_capacity(20 * self.layout.len());
        self.entries(&self.rest(), &mut |row, column, _| entries.push((row as u32, column as u32)));
        Matrix::new(self.layout.len(), &entries)
    }

    /// Sets `matrix` to ∂R/∂w.
    pub(crate) fn jacobian(&self, w: &[f64], matrix: &mut Matrix) {
        matrix.fill(|put| self.entries(w, &mut |_, _, value| put(value)));
    }

    /// `-λᵀ ∂R/∂θ` for every θ, beside what `into` holds already.
    pub(crate) fn pull(&self, w: &[f64], adjoint: &[f64], into: &mut Sensitivity) {
        let free = adjoint.iter().zip(&self.free);
        let row: Vec<f64> = free.map(|(l, free)| if *free { -l } else { 0.0 }).collect();
        self.pull_terms(self.at(w), &row, into);
    }

    /// `row`ᵀ ∂R/∂θ anywhere; `row` is zero where there is no equation.
    pub(crate) fn pull_terms(&self, at: At<'_>, row: &[f64], into: &mut Sensitivity) {
        self.terms().iter().for_each(|term| term.pull(at, row, into));
    }

    /// No dependence on anything.
    pub(crate) fn no_sensitivity(&self) -> Sensitivity {
        Sensitivity {
            metric: Metric::zero(self.grid()),
            viscosity: 0.0,
            diffusivity: vec![0.0; self.layout.cells],
            resistance: vec![0.0; self.layout.cells],
            buoyancy: [0.0; 2],
            given: vec![0.0; self.physics.given.len()],
        }
    }

    /// Faces on side `side`, in order along it.
    pub(crate) fn side_faces(&self, side: usize) -> Vec<usize> {
        let d = self.grid().direction(side / 2);
        let m = if side.is_multiple_of(2) { 0 } else { d.n };
        (0..d.t).map(|k| d.face(m, k)).collect()
    }

    fn fix_faces(&mut self, spins: &[Spin]) {
        for side in 0..4 {
            let places = self.grid().faces(1 - side / 2).to_vec();
            let faces = self.side_faces(side);
            let normal = match &self.case.sides.flow[side] {
                Side::Outlet => continue,
                Side::Slip => vec![0.0; faces.len()],
                Side::Velocity { u, v } => {
                    let profile = if side < 2 { u } else { v };
                    places.windows(2).map(|pair| profile.mean(pair[0], pair[1])).collect()
                }
            };
            for (&face, value) in faces.iter().zip(normal) {
                self.free[face] = false;
                self.fixed[face] = value;
            }
        }
        for axis in 0..2 {
            let d = self.grid().direction(axis);
            let (along, across) = (self.grid().half(axis), self.grid().half(1 - axis));
            for (m, k) in pairs(d.n + 1, d.t).filter(|&(m, k)| !self.cut.live_faces[d.face(m, k)]) {
                let (face, place) = (d.face(m, k), [along[2 * m], across[2 * k + 1]]);
                self.free[face] = false;
                self.fixed[face] =
                    spins.get(face).map_or(0.0, |spin| spin_velocity(spin, axis, place));
            }
        }
    }

    /// Gives every cell with fluid an equation for its temperature: in time, what a cell stores determines it, even
    /// where nothing else sets a temperature.
    pub(crate) fn store_heat(&mut self) {
        for c in (0..self.layout.cells).filter(|&c| self.cut.live_cells[c]) {
            if self.layout.heat {
                self.free[self.layout.temperature(c)] = true;
            }
        }
    }

    /// Cells without fluid have no equations; fluid without an outlet has one pressure too few.
    fn fix_cells(&mut self) -> Result<(), Error> {
        for c in (0..self.layout.cells).filter(|&c| !self.cut.live_cells[c]) {
            self.free[self.layout.pressure(c)] = false;
            if self.layout.heat {
                self.free[self.layout.temperature(c)] = false;
            }
        }
        let rooms = self.rooms();
        if rooms.is_empty() {
            return Err(Error::case("no fluid: the bodies cover the whole grid"));
        }
        for room in rooms {
            self.check_balance(&room)?;
            if !room.outlet {
                self.free[self.layout.pressure(room.cells[0])] = false;
            }
            if self.layout.heat && !room.warmed {
                self.free[self.layout.temperature(room.cells[0])] = false;
            }
        }
        Ok(())
    }
}

/// Signed distances on the half-spaced grid, and the body that each belongs to.
fn sample(case: &Case) -> Result<(Vec<f64>, Vec<u16>), Error> {
    let (x, y) = (case.grid.half(0), case.grid.half(1));
    let nearest = |x: f64, y: f64| {
        let distances = case.bodies.iter().map(|body| body.shape.distance(x, y));
        let first = (f64::INFINITY, 0);
        distances
            .enumerate()
            .fold(first, |best, (k, d)| if d < best.0 || d.is_nan() { (d, k as u16) } else { best })
    };
    let rows = y.par_iter().flat_map_iter(|&y| x.iter().map(move |&x| nearest(x, y)));
    let (phi, owners): (Vec<f64>, Vec<u16>) = rows.unzip();
    if let Some(bad) = phi.iter().position(|d| d.is_nan()) {
        let place = (x[bad % x.len()], y[bad / x.len()]);
        let k = owners[bad];
        return Err(Error::case(format!("body {k}: its distance is not a number at {place:?}")));
    }
    for k in 0..case.bodies.len() {
        let inside = |(&d, &owner): (&f64, &u16)| usize::from(owner) == k && d <= 0.0;
        if !phi.iter().zip(&owners).any(inside) {
            return Err(Error::case(format!(
                "body {k} holds no point of the grid: it lies outside, within another body, or is smaller than a cell; \
                 move it or refine the grid around it"
            )));
        }
    }
    Ok((phi, owners))
}

/// Motion of the wall nearest to each face; empty if no body turns.
fn spins(case: &Case, owners: &[u16]) -> Vec<Spin> {
    if case.bodies.iter().all(|body| body.spin.rate == 0.0) {
        return Vec::new();
    }
    let mut spins = vec![Spin::default(); Layout::new(&case.grid, false).faces];
    for axis in 0..2 {
        let d = case.grid.direction(axis);
        for (m, k) in pairs(d.n + 1, d.t) {
            let owner = owners[d.half(2 * m, 2 * k + 1)];
            spins[d.face(m, k)] = case.bodies[usize::from(owner)].spin;
        }
    }
    spins
}

/// Component `axis` of a rotation at a place counted along and across that component.
fn spin_velocity(spin: &Spin, axis: usize, [_, across]: [f64; 2]) -> f64 {
    let rate = if axis == 0 { -spin.rate } else { spin.rate };
    rate * (across - spin.centre[1 - axis])
}

/// Tangential velocities at the corners along the four sides, and where those of each side begin.
fn tangential(case: &Case) -> (Vec<f64>, [u32; 5]) {
    let mut given = Vec::new();
    let mut starts = [0; 5];
    for side in 0..4 {
        let places = case.grid.faces(1 - side / 2);
        match &case.sides.flow[side] {
            Side::Velocity { u, v } => {
                let profile = if side < 2 { v } else { u };
                given.extend(places.iter().map(|&s| profile.at(s)));
            }
            _ => given.extend(places.iter().map(|_| 0.0)),
        }
        starts[side + 1] = given.len() as u32;
    }
    (given, starts)
}

fn heat(case: &Case, owners: &[u16], given: &mut Vec<f64>) -> (Transport, WallHeat) {
    let (transport, sources) = energy::transport(&case.grid, &case.sides, given);
    let first = given.len() as u32;
    given.extend(case.bodies.iter().map(|body| body.temperature.unwrap_or(0.0)));
    let d = case.grid.direction(0);
    let body = pairs(d.n, d.t).map(|(i, j)| {
        let owner = owners[d.half(2 * i + 1, 2 * j + 1)];
        let body = case.bodies.get(usize::from(owner))?;
        body.temperature.map(|_| first + u32::from(owner))
    });
    let start = Layout::new(&case.grid, true).temperature(0);
    (transport, WallHeat { start, body: body.collect(), sources })
}

fn physics(case: &Case, given: Vec<f64>) -> Physics {
    let cells = case.grid.cells();
    let gamma = |c: usize| case.density.as_ref().map_or(1.0, |density| density.design[c]);
    let resistance = |c: usize| case.density.as_ref().map_or(0.0, |d| d.resistance(gamma(c)));
    let diffusivity = |c: usize| case.heat.as_ref().map_or(1.0, |heat| heat.mixed(gamma(c)).0);
    Physics {
        inertia: f64::from(u8::from(case.inertia)),
        carriage: 1.0,
        viscosity: case.viscosity,
        diffusivity: (0..cells).map(diffusivity).collect(),
        resistance: (0..cells).map(resistance).collect(),
        buoyancy: case.heat.as_ref().map_or([0.0; 2], |heat| heat.buoyancy),
        reference: case.heat.as_ref().map_or(0.0, |heat| heat.reference),
        given,
        rate: 0.0,
        storage: 0.0,
    }
}
