//! Continuity: what flows out of a cell through its open faces is nothing. Σ ± α A u = 0.
//!
//! Bodies are at rest or turn about themselves. A circle that turns pushes nothing, but the chords that stand for it
//! do: without their flux a small cell beside a turning wall could not move with it.

use crate::{
    momentum::Neighbours,
    term::{At, Emit, Sensitivity, Term},
};

/// The transpose of [`crate::momentum::Pressure`], with the opposite sign.
#[derive(Clone, Debug)]
pub(crate) struct Continuity<'a> {
    pub(crate) neighbours: &'a Neighbours,
    /// Where pressures begin among the unknowns; a cell's continuity is the row of its pressure.
    pub(crate) start: usize,
}

impl Term for Continuity<'_> {
    fn residual(&self, at: At<'_>, out: &mut [f64]) {
        for (f, c, sign) in self.neighbours.sides() {
            out[self.start + c] += sign * at.metric.open[f] * at.w[f];
        }
        for (c, pushed) in at.metric.chord.iter().enumerate() {
            out[self.start + c] -= pushed;
        }
    }

    fn jacobian(&self, at: At<'_>, emit: &mut Emit<'_>) {
        for (f, c, sign) in self.neighbours.sides() {
            emit(self.start + c, f, sign * at.metric.open[f]);
        }
    }

    fn pull(&self, at: At<'_>, row: &[f64], into: &mut Sensitivity) {
        for (f, c, sign) in self.neighbours.sides() {
            into.metric.open[f] += sign * row[self.start + c] * at.w[f];
        }
        for (c, by) in into.metric.chord.iter_mut().enumerate() {
            *by -= row[self.start + c];
        }
    }
}
