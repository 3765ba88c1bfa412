//! Flow in time, and its discrete adjoint.
//!
//! Second-order backward differences for friction and pressure, convection at the extrapolated velocity:
//!
//! V (3 wⁿ⁺¹ − 4 wⁿ + wⁿ⁻¹)/(2Δt) + N(2 wⁿ − wⁿ⁻¹) + L wⁿ⁺¹ = 0, with continuity as rows of L.
//!
//! L never changes, so one factorisation serves all steps; velocities are divergence-free to round-off, and there is
//! no splitting error. Convection is explicit: steps obey Δt |u|/h ≲ 0.5. The adjoint runs the same steps backwards
//! with the transposed factors; states are kept at few instants and computed again between them (Griewank & Walther
//! 2000).

use crate::{
    Error,
    case::Case,
    checkpoint,
    objective::Objective,
    solve::Factor,
    system::System,
    term::{At, Physics, Sensitivity, Term},
};

/// A flow at two instants, one step apart.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Unknowns now.
    pub(crate) now: Vec<f64>,
    /// Unknowns one step before.
    pub(crate) before: Vec<f64>,
}

/// The equations in time with a fixed step.
#[derive(Debug)]
pub struct March {
    pub(crate) system: System,
    factor: Factor,
    /// Friction, pressure, continuity, resistance and the implicit part of the time derivative.
    implicit: Physics,
    /// Convection alone.
    explicit: Physics,
    /// What the implicit terms are where all unknowns are zero: the part of given velocities.
    constant: Vec<f64>,
    step: f64,
}

/// Derivatives of a sum over time.
#[derive(Clone, Debug)]
pub struct TimeGradient {
    /// The sum itself.
    pub value: f64,
    /// By the signed distance on the half-spaced grid.
    pub distance: Vec<f64>,
    /// By the parameters of each body's shape.
    pub bodies: Vec<Vec<f64>>,
    /// By the viscosity.
    pub viscosity: f64,
    /// By a factor on all given velocities.
    pub speed: f64,
    /// By the unknowns at the start and one step before it.
    pub start: [Vec<f64>; 2],
}

impl March {
    /// Sets up the equations with steps of `step` and factors them.
    ///
    /// # Errors
    ///
    /// As [`Case::solve`]; [`Error::Case`] if the case has heat, for which there is no scheme in time yet.
    pub fn new(case: &Case, step: f64) -> Result<Self, Error> {
        if !(step.is_finite() && step > 0.0) {
            return Err(Error::case(format!(
                "time step: expected a positive, finite number, got {step}"
            )));
        }
        if case.heat.is_some() {
            return Err(Error::case(
                "heat in time is not solved: take the heat out, or solve the steady case",
            ));
        }
        let mut system = System::new(case)?;
        let implicit = Physics { inertia: 0.0, rate: 1.5 / step, ..system.physics.clone() };
        let explicit = Physics { viscosity: 0.0, ..system.physics.clone() };
        let mut factor = Factor::new(system.pattern())?;
        let physics = std::mem::replace(&mut system.physics, implicit.clone());
        factor.refactor(|matrix| system.jacobian(&system.rest(), matrix))?;
        system.physics = physics;
        let nothing = vec![0.0; system.layout.len()];
        let at = At { w: &nothing, metric: &system.cut.metric, physics: &implicit };
        let constant = system.terms_at(at);
        Ok(Self { system, factor, implicit, explicit, constant, step })
    }

    /// Time between two states.
    #[must_use]
    pub fn time_step(&self) -> f64 {
        self.step
    }

    /// Fluid that is at rest but for the given velocities.
    #[must_use]
    pub fn rest(&self) -> State {
        State { now: self.system.rest(), before: self.system.rest() }
    }

    /// A steady flow as the start. Its grid must be that of the case.
    ///
    /// # Errors
    ///
    /// [`Error::Case`] if it has other unknowns.
    pub fn start_from(&self, flow: &crate::Flow) -> Result<State, Error> {
        if flow.w.len() != self.system.layout.len() {
            return Err(Error::case(format!(
                "start: the flow has {} unknowns, the case {}",
                flow.w.len(),
                self.system.layout.len()
            )));
        }
        Ok(State { now: flow.w.clone(), before: flow.w.clone() })
    }

    /// A start of given velocities, `[u, v]` at a point, the same one step before unless `before` says otherwise.
    #[must_use]
    pub fn start(
        &self,
        now: &dyn Fn(f64, f64) -> [f64; 2],
        before: &dyn Fn(f64, f64) -> [f64; 2],
    ) -> State {
        let fill = |velocity: &dyn Fn(f64, f64) -> [f64; 2]| {
            let mut w = self.system.rest();
            for axis in 0..2 {
                let (grid, d) = (self.system.grid(), self.system.grid().direction(axis));
                let (along, across) = (grid.half(axis), grid.half(1 - axis));
                for (m, k) in
                    crate::cut::pairs(d.n + 1, d.t).filter(|&(m, k)| self.system.free[d.face(m, k)])
                {
                    let (s, t) = (along[2 * m], across[2 * k + 1]);
                    let [x, y] = if axis == 0 { [s, t] } else { [t, s] };
                    w[d.face(m, k)] = velocity(x, y)[axis];
                }
            }
            w
        };
        State { now: fill(now), before: fill(before) }
    }

    /// One step further.
    ///
    /// # Errors
    ///
    /// [`Error::Singular`] if the solution is not finite: the step is too long for convection.
    pub fn advance(&self, state: &State) -> Result<State, Error> {
        let system = &self.system;
        let mut right = self.constant.clone();
        let outer = extrapolated(state);
        let convected = self.convection(&outer);
        for (f, r) in right.iter_mut().enumerate() {
            *r = -*r - convected[f];
            if f < system.layout.faces && system.free[f] {
                *r += system.cut.metric.volume[f] * self.history(state, f);
            }
            if !system.free[f] {
                *r = system.fixed[f];
            }
        }
        let now = self.factor.solve(&right)?;
        Ok(State { now, before: state.now.clone() })
    }

    /// (4 wⁿ − wⁿ⁻¹)/(2Δt).
    fn history(&self, state: &State, f: usize) -> f64 {
        (4.0 * state.now[f] - state.before[f]) / (2.0 * self.step)
    }

    fn at<'a>(&'a self, physics: &'a Physics, w: &'a [f64]) -> At<'a> {
        At { w, metric: &self.system.cut.metric, physics }
    }

    /// N(w), zero in rows without an equation.
    fn convection(&self, w: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; w.len()];
        self.system.momentum.residual(self.at(&self.explicit, w), &mut out);
        out.iter_mut()
            .zip(&self.system.free)
            .filter(|(_, free)| !**free)
            .for_each(|(r, _)| *r = 0.0);
        out
    }

    /// Value of an objective for a state. Bodies feel friction, pressure and, where faces are blocked, momentum.
    #[must_use]
    pub fn value(&self, objective: &Objective, state: &State) -> f64 {
        objective.evaluate(&self.system, &state.now).value
    }

    /// Velocities in the middle of cells, row by row.
    #[must_use]
    pub fn velocity(&self, state: &State) -> Vec<[f64; 2]> {
        crate::flow::cell_velocity(self.system.grid(), &state.now)
    }

    /// Pressures in cells, row by row.
    #[must_use]
    pub fn pressure<'a>(&self, state: &'a State) -> &'a [f64] {
        let start = self.system.layout.pressure(0);
        &state.now[start..start + self.system.layout.cells]
    }

    /// Greatest Δt |u| / h of a state.
    #[must_use]
    pub fn courant(&self, state: &State) -> f64 {
        let grid = self.system.grid();
        let mut greatest = 0.0_f64;
        for axis in 0..2 {
            let (d, faces) = (grid.direction(axis), grid.faces(axis));
            for (m, k) in crate::cut::pairs(d.n, d.t) {
                let speed = state.now[d.face(m, k)].abs().max(state.now[d.face(m + 1, k)].abs());
                greatest = greatest.max(speed * self.step / (faces[m + 1] - faces[m]));
            }
        }
        greatest
    }

    /// Value and gradient of Σ Δt `objective` after each of `steps` steps from `start`, with at most `kept` states in
    /// memory.
    ///
    /// # Errors
    ///
    /// As [`March::advance`].
    pub fn gradient(
        &self,
        objective: &Objective,
        start: &State,
        steps: usize,
        kept: usize,
    ) -> Result<TimeGradient, Error> {
        let mut back = Backward {
            march: self,
            objective,
            value: 0.0,
            now: vec![0.0; start.now.len()],
            before: vec![0.0; start.now.len()],
            by: self.system.no_sensitivity(),
            speed: 0.0,
        };
        let mut forward = |state: &State, _| self.advance(state);
        checkpoint::reverse(start, steps, kept.max(1), &mut forward, &mut |state, _| {
            back.step(state)
        })?;
        Ok(back.gradient())
    }
}

/// 2 wⁿ − wⁿ⁻¹.
fn extrapolated(state: &State) -> Vec<f64> {
    state.now.iter().zip(&state.before).map(|(now, before)| 2.0 * now - before).collect()
}

/// The adjoint on its way back.
struct Backward<'a> {
    march: &'a March,
    objective: &'a Objective,
    value: f64,
    /// Derivative by the unknowns after the step that comes next, and by those before it.
    now: Vec<f64>,
    before: Vec<f64>,
    by: Sensitivity,
    speed: f64,
}

impl Backward<'_> {
    /// Backwards over the step that leaves `state`.
    fn step(&mut self, state: &State) -> Result<(), Error> {
        let (march, system) = (self.march, &self.march.system);
        let after = march.advance(state)?;
        let part = self.objective.evaluate(system, &after.now);
        self.value += march.step * part.value;
        self.by.add(march.step, &part.by);
        let seed = self.now.iter().zip(&part.by_w).map(|(a, b)| a + march.step * b);
        let adjoint = march.factor.solve_transposed(&seed.collect::<Vec<f64>>())?;
        let fixed = (0..system.layout.faces).filter(|&f| !system.free[f]);
        self.speed += fixed.map(|f| adjoint[f] * system.fixed[f]).sum::<f64>();
        let free = adjoint.iter().zip(&system.free);
        let row: Vec<f64> = free.map(|(l, free)| if *free { -l } else { 0.0 }).collect();
        self.pull(state, &after, &row);
        self.carry(state, &row);
        Ok(())
    }

    /// Adds `row` × the derivative of the step's equations by everything but the unknowns.
    fn pull(&mut self, state: &State, after: &State, row: &[f64]) {
        let (march, system) = (self.march, &self.march.system);
        system.pull_terms(march.at(&march.implicit, &after.now), row, &mut self.by);
        let outer = extrapolated(state);
        let mut convective = system.no_sensitivity();
        system.momentum.pull(march.at(&march.explicit, &outer), row, &mut convective);
        convective.viscosity = 0.0;
        self.by.add(1.0, &convective);
        for f in (0..system.layout.faces).filter(|&f| row[f] != 0.0) {
            self.by.metric.volume[f] -= row[f] * march.history(state, f);
        }
    }

    /// Hands `row` × the derivative by the unknowns before the step on to them.
    fn carry(&mut self, state: &State, row: &[f64]) {
        let (march, system) = (self.march, &self.march.system);
        let outer = extrapolated(state);
        let mut convected = vec![0.0; row.len()];
        let at = march.at(&march.explicit, &outer);
        for link in &system.momentum.links {
            let [from, to] = link.rows().map(|end| end.map_or(0.0, |i| row[i]));
            if from != to {
                let add = &mut |column: usize, slope: f64| convected[column] += (from - to) * slope;
                system.momentum.slopes(at, link, add);
            }
        }
        let older = std::mem::replace(&mut self.before, vec![0.0; row.len()]);
        self.now = older;
        for i in 0..row.len() {
            self.now[i] += 2.0 * convected[i];
            self.before[i] -= convected[i];
            if i < system.layout.faces {
                let mass = row[i] * system.cut.metric.volume[i] / (2.0 * march.step);
                self.now[i] -= 4.0 * mass;
                self.before[i] += mass;
            }
        }
    }

    fn gradient(self) -> TimeGradient {
        let system = &self.march.system;
        let distance = system.cut.pull(&self.by.metric);
        TimeGradient {
            value: self.value,
            bodies: crate::adjoint::bodies(system, &distance),
            distance,
            viscosity: self.by.viscosity,
            speed: self.speed + crate::adjoint::by_given_speed(system, &self.by),
            start: [self.now, self.before],
        }
    }
}
