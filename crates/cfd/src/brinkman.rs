//! Brinkman's sink: fluid that moves through a porous solid is held back by α u, and time's derivative beside it.
//!
//! Only designs by density use it (topology); bodies with an outline cut cells instead. The resistance of a design γ
//! (one in fluid, zero in solid) is α(γ) = α_min + (α_max − α_min)(1 − γ)/(1 + q γ) (Borrvall & Petersson 2003).

use crate::{
    momentum::Neighbours,
    term::{At, Emit, Sensitivity, Term},
};

/// A design by density.
#[derive(Clone, Debug, PartialEq)]
pub struct Density {
    /// One in fluid, zero in solid, for each cell.
    pub design: Vec<f64>,
    /// Resistance of the fluid.
    pub least: f64,
    /// Resistance of the solid.
    pub most: f64,
    /// How soon resistance falls as fluid comes in; 0 is a straight line.
    pub penalty: f64,
}

impl Density {
    /// Resistance of a cell of density `gamma`.
    #[must_use]
    pub fn resistance(&self, gamma: f64) -> f64 {
        self.least + (self.most - self.least) * (1.0 - gamma) / (1.0 + self.penalty * gamma)
    }

    /// Its derivative by the density.
    #[must_use]
    pub fn slope(&self, gamma: f64) -> f64 {
        -(self.most - self.least) * (1.0 + self.penalty) / (1.0 + self.penalty * gamma).powi(2)
    }
}

/// Resistance of the two cells beside each velocity, and the rate of a time scheme, times the fluid volume.
#[derive(Clone, Debug)]
pub(crate) struct Resistance<'a> {
    pub(crate) neighbours: &'a Neighbours,
}

impl Resistance<'_> {
    /// Mean resistance of the cells beside face `f`.
    pub(crate) fn mean(&self, at: At<'_>, f: usize) -> f64 {
        match self.neighbours.of(f) {
            [Some(a), Some(b)] => 0.5 * (at.physics.resistance[a] + at.physics.resistance[b]),
            [a, b] => a.or(b).map_or(0.0, |c| at.physics.resistance[c]),
        }
    }

    /// Adds `by` × the derivative of the mean by the cells' resistances.
    pub(crate) fn pull_mean(&self, f: usize, by: f64, into: &mut Sensitivity) {
        let cells = self.neighbours.of(f);
        let share = 1.0 / cells.iter().flatten().count().max(1) as f64;
        cells.iter().flatten().for_each(|&c| into.resistance[c] += by * share);
    }
}

impl Term for Resistance<'_> {
    fn residual(&self, at: At<'_>, out: &mut [f64]) {
        for (f, out) in out.iter_mut().take(self.neighbours.len()).enumerate() {
            *out += (self.mean(at, f) + at.physics.rate) * at.metric.volume[f] * at.w[f];
        }
    }

    fn jacobian(&self, at: At<'_>, emit: &mut Emit<'_>) {
        for f in 0..self.neighbours.len() {
            emit(f, f, (self.mean(at, f) + at.physics.rate) * at.metric.volume[f]);
        }
    }

    fn pull(&self, at: At<'_>, row: &[f64], into: &mut Sensitivity) {
        for f in (0..self.neighbours.len()).filter(|&f| row[f] != 0.0) {
            let by = row[f] * at.w[f];
            into.metric.volume[f] += by * (self.mean(at, f) + at.physics.rate);
            self.pull_mean(f, by * at.metric.volume[f], into);
        }
    }
}
