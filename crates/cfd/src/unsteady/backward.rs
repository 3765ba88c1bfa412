//! The discrete adjoint of flow in time.
//!
//! λⁿ solves Lᵀ λⁿ = ∂J/∂wⁿ − what later steps ask of wⁿ, with the transposed factors of the run itself. States are
//! kept at few instants, without their pressures (history has none), and stretches between them are recorded whole.

use std::sync::Arc;

use super::{March, State, extrapolated};
use crate::{
    Error,
    adjoint::{self, by_given_speed},
    checkpoint::{self, Chain, Memory},
    objective::{Evaluation, Objective},
};

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
    /// By the fluid's thermal diffusivity.
    pub diffusivity: f64,
    /// By a factor on all given velocities.
    pub speed: f64,
    /// By the design density of each cell, if the case has one.
    pub density: Vec<f64>,
    /// By the temperature of each body.
    pub temperature: Vec<f64>,
    /// By the buoyancy.
    pub buoyancy: [f64; 2],
    /// By the unknowns at the start and one step before it.
    pub start: [Vec<f64>; 2],
}

impl March {
    /// Value and gradient of Σ Δt `objective` after each of `steps` steps from `start`, in the memory that `kept`
    /// states take. Twenty are enough to run 500 steps twice at most.
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
        let none = vec![0.0; start.now.len()];
        let mut back = Backward {
            march: self,
            objective,
            sum: Evaluation::nothing(&self.system),
            now: none.clone(),
            before: none.clone(),
            adjoint: none,
            speed: 0.0,
        };
        checkpoint::reverse(&mut back, start, steps, self.memory(kept))?;
        Ok(back.gradient())
    }

    /// What `kept` states of two instants take, in numbers; the start is one of them.
    #[must_use]
    pub fn memory(&self, kept: usize) -> Memory {
        let (all, cells) = (self.system.layout.len(), self.system.layout.cells);
        Memory { room: 2 * all * kept.saturating_sub(1), state: 2 * (all - cells), step: all }
    }
}

/// The adjoint on its way back.
struct Backward<'a> {
    march: &'a March,
    objective: &'a Objective,
    /// Value and direct derivatives so far; by the unknowns, those of one step.
    sum: Evaluation,
    /// Derivative by the unknowns after the step that comes next, and by those before it.
    now: Vec<f64>,
    before: Vec<f64>,
    /// That of the last step, which the next one is near.
    adjoint: Vec<f64>,
    speed: f64,
}

impl Chain for Backward<'_> {
    type State = State;
    /// Both instants without their pressures.
    type Kept = [Vec<f64>; 2];
    type Error = Error;

    fn keep(&self, state: &State) -> [Vec<f64>; 2] {
        let pressures = self.march.system.layout.pressures();
        [&state.now, &state.before].map(|w| [&w[..pressures.start], &w[pressures.end..]].concat())
    }

    fn restore(&self, kept: &[Vec<f64>; 2]) -> State {
        let pressures = self.march.system.layout.pressures();
        let none = vec![0.0; pressures.len()];
        let [now, before] = [0, 1].map(|i| {
            let (velocities, temperatures) = kept[i].split_at(pressures.start);
            Arc::new([velocities, &none, temperatures].concat())
        });
        State { now, before }
    }

    fn forward(&mut self, state: &State, _: usize) -> Result<State, Error> {
        self.march.advance(state)
    }

    fn backward(&mut self, state: &State, after: &State, _: usize) -> Result<(), Error> {
        let (march, system) = (self.march, &self.march.system);
        self.sum.by_w.fill(0.0);
        self.objective.add_to(&mut self.sum, system, &after.now, march.step);
        let seed: Vec<f64> = self.now.iter().zip(&self.sum.by_w).map(|(a, b)| a + b).collect();
        self.adjoint = march.factor.solve_transposed_near(&seed, &self.adjoint)?;
        let fixed = (0..system.layout.faces).filter(|&f| !system.free[f]);
        self.speed += fixed.map(|f| self.adjoint[f] * system.fixed[f]).sum::<f64>();
        let free = self.adjoint.iter().zip(&system.free);
        let row: Vec<f64> = free.map(|(l, free)| if *free { -l } else { 0.0 }).collect();
        let outer = extrapolated(state);
        self.pull(state, after, &outer, &row);
        self.carry(&outer, &row);
        Ok(())
    }
}

impl Backward<'_> {
    /// Adds `row` × the derivative of the step's equations by everything but the unknowns.
    fn pull(&mut self, state: &State, after: &State, outer: &[f64], row: &[f64]) {
        let (march, system) = (self.march, &self.march.system);
        let by = &mut self.sum.by;
        system.pull_terms(march.at(&march.implicit, &after.now), row, by);
        let at = march.at(&system.physics, outer);
        for transport in system.transports() {
            for link in &transport.links {
                let [from, to] = link.rows().map(|end| end.map_or(0.0, |i| row[i]));
                if from != to {
                    transport.pull_convected(at, link, from - to, by);
                }
            }
        }
        for f in (0..system.layout.faces).filter(|&f| row[f] != 0.0) {
            by.metric.volume[f] -= row[f] * march.history(state, f);
        }
        for c in 0..if system.layout.heat { system.layout.cells } else { 0 } {
            let i = system.layout.temperature(c);
            by.metric.cell_volume[c] -= row[i] * march.history(state, i);
        }
    }

    /// Hands `row` × the derivative by the unknowns before the step on to them.
    fn carry(&mut self, outer: &[f64], row: &[f64]) {
        let (march, system) = (self.march, &self.march.system);
        let mut convected = vec![0.0; row.len()];
        let at = march.at(&system.physics, outer);
        for transport in system.transports() {
            for link in &transport.links {
                let [from, to] = link.rows().map(|end| end.map_or(0.0, |i| row[i]));
                if from != to {
                    let add = &mut |column: usize, slope: f64| {
                        convected[column] += (from - to) * slope;
                    };
                    transport.convected_slopes(at, link, add);
                }
            }
        }
        std::mem::swap(&mut self.now, &mut self.before);
        for i in 0..row.len() {
            let mass = row[i] * march.storage[i] / (2.0 * march.step);
            self.now[i] += 2.0 * convected[i] - 4.0 * mass;
            self.before[i] = mass - convected[i];
        }
    }

    fn gradient(self) -> TimeGradient {
        let (system, by) = (&self.march.system, &self.sum.by);
        let distance = system.cut.pull(&by.metric);
        TimeGradient {
            value: self.sum.value,
            bodies: adjoint::bodies(system, &distance),
            distance,
            viscosity: by.viscosity,
            diffusivity: adjoint::by_diffusivity(system, &by.diffusivity),
            speed: self.speed + by_given_speed(system, by),
            density: adjoint::by_density(system, &by.resistance, &by.diffusivity),
            temperature: adjoint::by_temperature(system, &by.given),
            buoyancy: by.buoyancy,
            start: [self.now, self.before],
        }
    }
}
