//! Solving a case, and the flow that comes out.

use crate::{
    Error, Grid,
    case::Case,
    newton::{History, Newton, NewtonStep},
    objective::Objective,
    solve::Factor,
    stages::{Stages, timed},
    system::System,
};

/// Viscosities, relative to the case's, by which a hard problem is approached.
const STAGES: [f64; 8] = [16.0, 8.0, 4.0, 2.5, 1.75, 1.4, 1.15, 1.0];

/// A steady flow.
#[derive(Debug)]
pub struct Flow {
    pub(crate) system: System,
    pub(crate) w: Vec<f64>,
    pub(crate) factor: Factor,
    history: History,
}

impl Case {
    /// The steady flow, by Newton's method on a coarse grid first.
    ///
    /// # Errors
    ///
    /// [`Error::Case`] if the problem makes no sense, [`Error::NotConverged`] with the history, [`Error::Singular`].
    pub fn solve(&self) -> Result<Flow, Error> {
        self.solve_noting(self.options.coarse, &mut self.history())
    }

    /// As [`Case::solve`]; `watch` hears of each step.
    ///
    /// # Errors
    ///
    /// As [`Case::solve`].
    pub fn solve_watched(&self, watch: fn(&NewtonStep)) -> Result<Flow, Error> {
        let mut history = History { watch: Some(watch), ..self.history() };
        self.solve_noting(self.options.coarse, &mut history)
    }

    fn history(&self) -> History {
        History { tolerance: self.options.tolerance, ..History::default() }
    }

    /// The steady flow, from that of a similar case.
    ///
    /// # Errors
    ///
    /// As [`Case::solve`].
    pub fn solve_from(&self, start: &Flow) -> Result<Flow, Error> {
        let mut history = self.history();
        let (system, factor) = set_up(self, &mut history)?;
        let w = start.onto(&system);
        finish(system, factor, Some(w), &mut history)
    }

    /// The steady flow, from that of a case with the same grid and bodies, without a factorisation: the factors of
    /// `near` precondition GMRES. Saves time and memory where Reynolds number, profiles or temperatures change a
    /// little.
    ///
    /// # Errors
    ///
    /// As [`Case::solve`]; [`Error::Case`] if grid or bodies differ.
    pub fn solve_keeping(&self, near: Flow) -> Result<Flow, Error> {
        let mut history = self.history();
        let mut system = System::new(self)?;
        if !near.factor.fits(&system.pattern()) {
            return Err(Error::case(
                "factors of another grid or body cannot be kept: solve the case anew",
            ));
        }
        let mut w = near.onto(&system);
        let mut factor = near.factor;
        // What gradients of the other flow took is not this one's.
        Stages::default().add(0.0, 0.0, factor.watch());
        let (system_now, kept, history_now) = (&mut system, &mut factor, &mut history);
        Newton { system: system_now, factor: kept, history: history_now, keep: true }
            .run(&mut w)?;
        factor.refill(|matrix| system.jacobian(&w, matrix))?;
        history.stages.add(0.0, 0.0, factor.watch());
        Ok(Flow { system, w, factor, history })
    }

    fn solve_noting(&self, coarse: usize, history: &mut History) -> Result<Flow, Error> {
        let coarser = if coarse > 0 { self.coarser() } else { None };
        // A case that makes no sense says so on its own grid, not on a coarser one.
        let start = coarser.and_then(|case| case.solve_noting(coarse - 1, history).ok());
        let (system, factor) = set_up(self, history)?;
        let w = start.map(|flow| flow.onto(&system));
        finish(system, factor, w, history)
    }
}

/// The equations of a case and the symbolic factorisation of their Jacobian.
fn set_up(case: &Case, history: &mut History) -> Result<(System, Factor), Error> {
    let (system, geometry) = timed(|| System::new(case));
    let system = system?;
    let (factor, symbolic) = timed(|| Factor::new(system.pattern()));
    let factor = factor?;
    history.stages.add(geometry, symbolic, factor.watch());
    Ok((system, factor))
}

/// Newton from `start` or from rest; if that fails, by stages of falling viscosity.
fn finish(
    mut system: System,
    mut factor: Factor,
    start: Option<Vec<f64>>,
    history: &mut History,
) -> Result<Flow, Error> {
    let from_rest = |system: &mut System, factor: &mut Factor, history: &mut History| {
        let mut w = system.rest();
        stokes(system, factor, &mut w)?;
        Newton { system, factor, history, keep: false }.run(&mut w).map(|()| w)
    };
    let direct = match start {
        Some(mut w) => {
            let (system, factor) = (&mut system, &mut factor);
            Newton { system, factor, history, keep: false }.run(&mut w).map(|()| w)
        }
        None => from_rest(&mut system, &mut factor, history),
    };
    let w = match direct {
        Err(Error::NotConverged(_) | Error::Singular { .. }) => {
            staged(&mut system, &mut factor, history)?
        }
        other => other?,
    };
    // The last factors belong to the step before; they precondition the Jacobian of the flow itself.
    factor.refill(|matrix| system.jacobian(&w, matrix))?;
    history.stages.add(0.0, 0.0, factor.watch());
    let history = history.clone();
    Ok(Flow { system, w, factor, history })
}

/// Approaches the case from one that is more viscous and less buoyant.
fn staged(
    system: &mut System,
    factor: &mut Factor,
    history: &mut History,
) -> Result<Vec<f64>, Error> {
    let (viscosity, buoyancy) = (system.physics.viscosity, system.physics.buoyancy);
    let mut w = system.rest();
    for (k, stage) in STAGES.iter().enumerate() {
        system.physics.viscosity = viscosity * stage;
        system.physics.buoyancy = buoyancy.map(|b| b / stage);
        if k == 0 {
            stokes(system, factor, &mut w)?;
        }
        Newton { system, factor, history, keep: false }.run(&mut w)?;
    }
    Ok(w)
}

/// One Newton step without inertia: Stokes flow, and heat by conduction.
fn stokes(system: &mut System, factor: &mut Factor, w: &mut [f64]) -> Result<(), Error> {
    let inertia = std::mem::replace(&mut system.physics.inertia, 0.0);
    let down: Vec<f64> = system.residual(w).iter().map(|r| -r).collect();
    let filled = factor.refactor(|matrix| system.jacobian(w, matrix));
    system.physics.inertia = inertia;
    filled?;
    w.iter_mut().zip(factor.solve(&down)?).for_each(|(w, d)| *w += d);
    Ok(())
}

impl Flow {
    /// The case that was solved.
    #[must_use]
    pub fn case(&self) -> &Case {
        &self.system.case
    }

    /// How it was solved.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Number of unknowns.
    #[must_use]
    pub fn unknowns(&self) -> usize {
        self.w.len()
    }

    /// Value of an objective.
    #[must_use]
    pub fn value(&self, objective: &Objective) -> f64 {
        objective.evaluate(&self.system, &self.w).value
    }

    /// Velocities in the middle of cells, row by row.
    #[must_use]
    pub fn velocity(&self) -> Vec<[f64; 2]> {
        cell_velocity(self.system.grid(), &self.w)
    }

    /// Pressures in cells, row by row; zero where there is no fluid.
    #[must_use]
    pub fn pressure(&self) -> &[f64] {
        let start = self.system.layout.pressure(0);
        &self.w[start..start + self.system.layout.cells]
    }

    /// Temperatures in cells, row by row, if the case has heat.
    #[must_use]
    pub fn temperature(&self) -> Option<&[f64]> {
        let start = self.system.layout.temperature(0);
        self.system.layout.heat.then(|| &self.w[start..])
    }

    /// Heat that leaves through open and heated-through sides less what enters there: what flows carries, and what is
    /// conducted at inlets.
    #[must_use]
    pub fn enthalpy(&self) -> f64 {
        let Some((transport, _)) = &self.system.heat else { return 0.0 };
        let at = self.system.at(&self.w);
        let leaving = |link: &crate::transport::Link| {
            let sign = match link.rows() {
                [Some(_), None] => 1.0,
                [None, Some(_)] => -1.0,
                _ => return 0.0,
            };
            let face = link.carriers[0].0 as usize;
            let still = !self.system.free[face] && self.system.fixed[face] == 0.0;
            let through = transport.convected(at, link) + transport.diffused(at, link);
            if still { 0.0 } else { sign * through }
        };
        transport.links.iter().map(leaving).sum()
    }

    /// Fluid share of each cell, zero to one.
    #[must_use]
    pub fn fluid(&self) -> Vec<f64> {
        let grid = self.system.grid();
        let share = |(c, volume): (usize, &f64)| volume / grid.size(c).iter().product::<f64>();
        self.system.cut.metric.cell_volume.iter().enumerate().map(share).collect()
    }

    /// Signed distances on the half-spaced grid, (2 nx + 1) × (2 ny + 1), row by row.
    #[must_use]
    pub fn distances(&self) -> &[f64] {
        &self.system.cut.phi
    }

    /// Vorticity ∂v/∂x − ∂u/∂y in the middle of cells, from the velocities on the faces around.
    #[must_use]
    pub fn vorticity(&self) -> Vec<f64> {
        let (grid, velocity) = (self.system.grid(), self.velocity());
        let slope = |c: usize, axis: usize| {
            let (n, stride) = if axis == 0 { (grid.nx(), 1) } else { (grid.ny(), grid.nx()) };
            let place = c / stride % n;
            let (low, high) =
                (c - stride.min(place * stride), c + if place + 1 < n { stride } else { 0 });
            let distance = grid.centre(high)[axis] - grid.centre(low)[axis];
            (velocity[high][1 - axis] - velocity[low][1 - axis]) / distance
        };
        (0..grid.cells()).map(|c| slope(c, 0) - slope(c, 1)).collect()
    }

    /// Edges on which the outline is finer than the grid: open at both ends but not in the middle, or the reverse.
    #[must_use]
    pub fn unresolved(&self) -> usize {
        let (grid, phi) = (self.system.grid(), &self.system.cut.phi);
        let hidden = |axis: usize| {
            let d = grid.direction(axis);
            let open = move |a: usize, b: usize| phi[d.half(a, b)] > 0.0;
            let edges = crate::cut::pairs(d.n + 1, d.t);
            edges.filter(move |&(m, k)| {
                let ends = [open(2 * m, 2 * k), open(2 * m, 2 * k + 2)];
                ends[0] == ends[1] && open(2 * m, 2 * k + 1) != ends[0]
            })
        };
        hidden(0).count() + hidden(1).count()
    }

    /// Component `axis` of the velocity at a point, bilinear between faces.
    #[must_use]
    pub fn velocity_at(&self, axis: usize, x: f64, y: f64) -> f64 {
        self.sampler(axis).at(x, y)
    }

    fn sampler(&self, field: usize) -> Sampler<'_> {
        let (grid, layout) = (self.system.grid(), self.system.layout);
        let middles = |axis: usize| grid.half(axis).into_iter().skip(1).step_by(2).collect();
        let second = grid.direction(1).face(0, 0);
        let (x, y, start) = match field {
            0 => (grid.x().to_vec(), middles(1), 0),
            1 => (middles(0), grid.y().to_vec(), second),
            2 => (middles(0), middles(1), layout.pressure(0)),
            _ => (middles(0), middles(1), layout.temperature(0)),
        };
        Sampler { x, y, values: &self.w[start..] }
    }

    /// This flow's fields interpolated to the unknowns of another system.
    fn onto(&self, system: &System) -> Vec<f64> {
        let mut w = system.rest();
        let grid: &Grid = system.grid();
        let fields = 3 + usize::from(system.layout.heat && self.system.layout.heat);
        let mut start = 0;
        for field in 0..fields {
            let places = |axis: usize| -> Vec<f64> {
                let skip = usize::from(field != axis);
                grid.half(axis).into_iter().skip(skip).step_by(2).collect()
            };
            let (x, y, sampler) = (places(0), places(1), self.sampler(field));
            for (k, value) in y.iter().flat_map(|&y| x.iter().map(move |&x| (x, y))).enumerate() {
                if system.free[start + k] {
                    w[start + k] = sampler.at(value.0, value.1);
                }
            }
            start += x.len() * y.len();
        }
        w
    }
}

/// Velocities in the middle of cells: means of the two faces.
pub(crate) fn cell_velocity(grid: &Grid, w: &[f64]) -> Vec<[f64; 2]> {
    let mean = |axis: usize, c: usize| {
        let d = grid.direction(axis);
        let (i, j) = (c % grid.nx(), c / grid.nx());
        let (m, k) = if axis == 0 { (i, j) } else { (j, i) };
        0.5 * (w[d.face(m, k)] + w[d.face(m + 1, k)])
    };
    (0..grid.cells()).map(|c| [mean(0, c), mean(1, c)]).collect()
}

/// A field on a tensor grid of points.
struct Sampler<'a> {
    x: Vec<f64>,
    y: Vec<f64>,
    values: &'a [f64],
}

impl Sampler<'_> {
    /// Bilinear value; constant beyond the outermost points.
    fn at(&self, x: f64, y: f64) -> f64 {
        let ((i, s), (j, t)) = (bracket(&self.x, x), bracket(&self.y, y));
        let row = |j: usize| {
            let start = j * self.x.len() + i;
            (1.0 - s) * self.values[start] + s * self.values[start + 1]
        };
        (1.0 - t) * row(j) + t * row(j + 1)
    }
}

/// The interval of `places` around `s`, and how far along it `s` lies, from zero to one.
fn bracket(places: &[f64], s: f64) -> (usize, f64) {
    let i = places[1..places.len() - 1].partition_point(|&p| p <= s);
    (i, ((s - places[i]) / (places[i + 1] - places[i])).clamp(0.0, 1.0))
}
