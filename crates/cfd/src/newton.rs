//! Newton's method on the coupled equations, with what helps it when the start is far away.
//!
//! From an interpolated coarse solution it takes three or four steps. From fluid at rest the first step is Stokes
//! flow. Where the residual does not fall, the step is shortened; where that does not help either, the equations get
//! a time derivative of one implicit step (pseudo-transient continuation, Kelley & Keyes 1998), which fades as the
//! residual falls.

use serde::Serialize;

use crate::{Error, assemble::Matrix, solve::Factor, stages::Stages, system::System, vector::norm};

/// One Newton step.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct NewtonStep {
    /// Cells of the grid, x and y.
    pub grid: [usize; 2],
    /// Viscosity of the stage: larger than the case's while it is approached.
    pub viscosity: f64,
    /// Residual before the step, relative to fluid at rest.
    pub residual: f64,
    /// Share of the full step that was taken.
    pub damping: f64,
    /// Rate of the pseudo-transient; zero for a pure Newton step.
    pub rate: f64,
}

/// How a solution was reached, on all grids.
#[derive(Clone, Debug, Default, Serialize)]
pub struct History {
    /// Residuals and steps, in order.
    pub steps: Vec<NewtonStep>,
    /// What was asked for.
    pub tolerance: f64,
    /// Residual at the end, relative to fluid at rest.
    pub residual: f64,
    /// Seconds by stage, on all grids.
    pub stages: Stages,
    /// Who hears of each step as it is taken.
    #[serde(skip)]
    pub(crate) watch: Option<fn(&NewtonStep)>,
}

impl History {
    /// By how much the residual of the last grid fell.
    #[must_use]
    pub fn reduction(&self) -> f64 {
        self.residual
    }
}

/// Damping below which a step counts as failed.
const LEAST_DAMPING: f64 = 1.0 / 16.0;
/// Below this the Jacobian hardly changes any more: the last factors and a few refinements solve for the step.
const NEAR: f64 = 1e-6;
/// A residual that no longer falls counts as round-off below this.
const ROUND_OFF: f64 = 1e-8;

/// One problem on one grid, with the factors of its last Jacobian.
#[derive(Debug)]
pub(crate) struct Newton<'a> {
    pub(crate) system: &'a mut System,
    pub(crate) factor: &'a mut Factor,
    pub(crate) history: &'a mut History,
    /// Whether the factors at hand precondition all steps; each step has its own otherwise.
    pub(crate) keep: bool,
}

impl Newton<'_> {
    /// Improves `w` until the residual has fallen to the tolerance.
    pub(crate) fn run(&mut self, w: &mut [f64]) -> Result<(), Error> {
        let options = self.system.case.options;
        let scale = norm(&self.system.residual(&self.system.rest())).max(f64::MIN_POSITIVE);
        let mut residual = self.system.residual(w);
        let (mut rate, mut first) = (0.0, f64::INFINITY);
        for _ in 0..options.steps {
            let now = norm(&residual) / scale;
            self.history.residual = now;
            if now <= options.tolerance {
                return Ok(());
            }
            let step = self.step(w, &residual, rate, self.keep || (now < NEAR && rate == 0.0))?;
            let (damping, next) = self.search(w, &step, norm(&residual));
            let new = norm(&next) / scale;
            self.note(now, damping, rate);
            if damping == 0.0 && rate == 0.0 && now <= ROUND_OFF {
                return Ok(());
            }
            if damping > 0.0 {
                w.iter_mut().zip(&step).for_each(|(w, d)| *w += damping * d);
                residual = next;
            }
            first = f64::min(first, now);
            rate = match (damping > LEAST_DAMPING, rate == 0.0) {
                (true, true) => 0.0,
                (true, false) => faded(rate * new / now, first, new),
                (false, true) => self.turnover(w),
                (false, false) => 4.0 * rate,
            };
        }
        self.history.residual = norm(&residual) / scale;
        if self.history.residual <= options.tolerance {
            return Ok(());
        }
        Err(Error::NotConverged(Box::new(self.history.clone())))
    }

    /// Solves (J + rate V) d = −R, with the factors at hand if `keep`.
    fn step(
        &mut self,
        w: &[f64],
        residual: &[f64],
        rate: f64,
        keep: bool,
    ) -> Result<Vec<f64>, Error> {
        self.system.physics.rate = rate;
        let fill = |matrix: &mut Matrix| self.system.jacobian(w, matrix);
        let filled = if keep { self.factor.refill(fill) } else { self.factor.refactor(fill) };
        self.system.physics.rate = 0.0;
        filled?;
        let down: Vec<f64> = residual.iter().map(|r| -r).collect();
        self.factor.solve(&down)
    }

    /// The greatest damping of 1, ½, ¼ … with which the residual falls, and that residual; zero if none does.
    fn search(&self, w: &[f64], step: &[f64], now: f64) -> (f64, Vec<f64>) {
        let mut damping = 1.0;
        while damping >= LEAST_DAMPING {
            let trial: Vec<f64> = w.iter().zip(step).map(|(w, d)| w + damping * d).collect();
            let residual = self.system.residual(&trial);
            if norm(&residual) < (1.0 - 1e-4 * damping) * now {
                return (damping, residual);
            }
            damping *= 0.5;
        }
        (0.0, self.system.residual(w))
    }

    /// A rate at which the pseudo-transient begins: a tenth of the fastest fluid's turnover of the grid's smallest
    /// cell.
    fn turnover(&self, w: &[f64]) -> f64 {
        let fastest = w[..self.system.layout.faces].iter().fold(0.0, |a: f64, u| a.max(u.abs()));
        let grid = self.system.grid();
        let sizes = (0..grid.cells()).flat_map(|c| grid.size(c));
        0.1 * fastest.max(self.system.physics.viscosity) / sizes.fold(f64::INFINITY, f64::min)
    }

    fn note(&mut self, residual: f64, damping: f64, rate: f64) {
        let grid = [self.system.grid().nx(), self.system.grid().ny()];
        let viscosity = self.system.physics.viscosity;
        let step = NewtonStep { grid, viscosity, residual, damping, rate };
        self.history.watch.iter().for_each(|watch| watch(&step));
        self.history.steps.push(step);
    }
}

/// The pseudo-transient ends once the residual has fallen a hundredfold.
fn faded(rate: f64, first: f64, now: f64) -> f64 {
    if now < 1e-2 * first.min(1.0) { 0.0 } else { rate }
}
