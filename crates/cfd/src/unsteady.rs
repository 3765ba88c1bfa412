//! Flow in time, with heat if the case has it.
//!
//! Second-order backward differences for friction, conduction, buoyancy and pressure, convection at the extrapolated
//! flow:
//!
//! V (3 wⁿ⁺¹ − 4 wⁿ + wⁿ⁻¹)/(2Δt) + N(2 wⁿ − wⁿ⁻¹) + L wⁿ⁺¹ = 0, with continuity as rows of L.
//!
//! L never changes, so one factorisation serves all steps; velocities are divergence-free to round-off, and there is
//! no splitting error. What is solved for is the change against the extrapolated flow, so that one pair of triangular
//! solves reaches round-off. Convection is explicit: steps obey Δt |u|/h ≲ 0.5. The adjoint ([`March::gradient`]) runs
//! the same steps backwards with the transposed factors.

use std::sync::Arc;

use crate::{
    Error,
    case::Case,
    cut::pairs,
    objective::Objective,
    solve::Factor,
    system::System,
    term::{At, Physics},
};

mod backward;

pub use backward::TimeGradient;

/// A flow at two instants, one step apart. States that follow each other share an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Unknowns now.
    pub(crate) now: Arc<Vec<f64>>,
    /// Unknowns one step before.
    pub(crate) before: Arc<Vec<f64>>,
}

/// The equations in time with a fixed step.
#[derive(Debug)]
pub struct March {
    pub(crate) system: System,
    factor: Factor,
    /// All but convection, and the implicit part of the time derivative.
    implicit: Physics,
    /// What the implicit terms are where all unknowns are zero: the part of given values.
    constant: Vec<f64>,
    /// Fluid volume of each unknown that is stored; zero for pressures.
    storage: Vec<f64>,
    step: f64,
}

impl March {
    /// Sets up the equations with steps of `step` and factors them.
    ///
    /// # Errors
    ///
    /// As [`Case::solve`].
    pub fn new(case: &Case, step: f64) -> Result<Self, Error> {
        if !(step.is_finite() && step > 0.0) {
            return Err(Error::case(format!(
                "time step: expected a positive, finite number, got {step}"
            )));
        }
        let mut system = System::new(case)?;
        system.store_heat();
        let rate = 1.5 / step;
        let still = Physics { inertia: 0.0, carriage: 0.0, ..system.physics.clone() };
        let implicit = Physics { rate, storage: rate, ..still };
        let mut factor = Factor::new(system.pattern())?;
        let physics = std::mem::replace(&mut system.physics, implicit.clone());
        factor.refactor(|matrix| system.jacobian(&system.rest(), matrix))?;
        system.physics = physics;
        let nothing = vec![0.0; system.layout.len()];
        let at = At { w: &nothing, metric: &system.cut.metric, physics: &implicit };
        let (constant, storage) = (system.terms_at(at), storage(&system));
        Ok(Self { system, factor, implicit, constant, storage, step })
    }

    /// Time between two states.
    #[must_use]
    pub fn time_step(&self) -> f64 {
        self.step
    }

    /// Fluid that is at rest and of temperature zero but for what is given.
    #[must_use]
    pub fn rest(&self) -> State {
        let rest = Arc::new(self.system.rest());
        State { now: rest.clone(), before: rest }
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
        let now = Arc::new(flow.w.clone());
        Ok(State { before: now.clone(), now })
    }

    /// A start of given velocities, `[u, v]` at a point, now and one step before.
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
                for (m, k) in pairs(d.n + 1, d.t).filter(|&(m, k)| self.system.free[d.face(m, k)]) {
                    let (s, t) = (along[2 * m], across[2 * k + 1]);
                    let [x, y] = if axis == 0 { [s, t] } else { [t, s] };
                    w[d.face(m, k)] = velocity(x, y)[axis];
                }
            }
            Arc::new(w)
        };
        State { now: fill(now), before: fill(before) }
    }

    /// The same state with other temperatures, now and one step before; nothing changes in a case without heat.
    #[must_use]
    pub fn warmed(
        &self,
        state: &State,
        now: &dyn Fn(f64, f64) -> f64,
        before: &dyn Fn(f64, f64) -> f64,
    ) -> State {
        let system = &self.system;
        let fill = |w: &[f64], temperature: &dyn Fn(f64, f64) -> f64| {
            let mut w = w.to_vec();
            for c in 0..if system.layout.heat { system.layout.cells } else { 0 } {
                let (i, [x, y]) = (system.layout.temperature(c), system.grid().centre(c));
                if system.free[i] {
                    w[i] = temperature(x, y);
                }
            }
            Arc::new(w)
        };
        State { now: fill(&state.now, now), before: fill(&state.before, before) }
    }

    /// One step further.
    ///
    /// # Errors
    ///
    /// [`Error::Singular`] if the solution is not finite: the step is too long for convection.
    pub fn advance(&self, state: &State) -> Result<State, Error> {
        let system = &self.system;
        let mut right = self.convection(&extrapolated(state));
        for (i, r) in right.iter_mut().enumerate() {
            *r = if system.free[i] {
                self.storage[i] * self.history(state, i) - self.constant[i] - *r
            } else {
                system.fixed[i]
            };
        }
        let now = self.factor.solve_near(&right, &self.guess(state))?;
        Ok(State { now: Arc::new(now), before: state.now.clone() })
    }

    /// (4 wⁿ − wⁿ⁻¹)/(2Δt).
    fn history(&self, state: &State, i: usize) -> f64 {
        (4.0 * state.now[i] - state.before[i]) / (2.0 * self.step)
    }

    /// The next unknowns, nearly: extrapolated, and pressures as they are.
    fn guess(&self, state: &State) -> Vec<f64> {
        let mut guess = extrapolated(state);
        let pressures = self.system.layout.pressures();
        guess[pressures.clone()].copy_from_slice(&state.now[pressures]);
        guess
    }

    fn at<'a>(&'a self, physics: &'a Physics, w: &'a [f64]) -> At<'a> {
        At { w, metric: &self.system.cut.metric, physics }
    }

    /// N(w), zero in rows without an equation.
    fn convection(&self, w: &[f64]) -> Vec<f64> {
        let (system, mut out) = (&self.system, vec![0.0; w.len()]);
        let at = self.at(&system.physics, w);
        system.transports().for_each(|transport| transport.convect(at, &mut out));
        let fixed = out.iter_mut().zip(&system.free).filter(|(_, free)| !**free);
        fixed.for_each(|(r, _)| *r = 0.0);
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
        &state.now[self.system.layout.pressures()]
    }

    /// Temperatures in cells, row by row, if the case has heat.
    #[must_use]
    pub fn temperature<'a>(&self, state: &'a State) -> Option<&'a [f64]> {
        let start = self.system.layout.temperature(0);
        self.system.layout.heat.then(|| &state.now[start..])
    }

    /// Greatest Δt |u| / h of a state.
    #[must_use]
    pub fn courant(&self, state: &State) -> f64 {
        let grid = self.system.grid();
        let mut greatest = 0.0_f64;
        for axis in 0..2 {
            let (d, faces) = (grid.direction(axis), grid.faces(axis));
            for (m, k) in pairs(d.n, d.t) {
                let speed = state.now[d.face(m, k)].abs().max(state.now[d.face(m + 1, k)].abs());
                greatest = greatest.max(speed * self.step / (faces[m + 1] - faces[m]));
            }
        }
        greatest
    }
}

/// 2 wⁿ − wⁿ⁻¹.
fn extrapolated(state: &State) -> Vec<f64> {
    state.now.iter().zip(state.before.iter()).map(|(now, before)| 2.0 * now - before).collect()
}

/// Volume of fluid that each unknown stands for: none for pressures.
fn storage(system: &System) -> Vec<f64> {
    let (metric, layout) = (&system.cut.metric, system.layout);
    let mut volumes = metric.volume.clone();
    volumes.extend(std::iter::repeat_n(0.0, layout.cells));
    if layout.heat {
        volumes.extend(&metric.cell_volume);
    }
    volumes
}
