//! Descent on designs: few smooth variables between bounds, or many with constraints.
//!
//! [`lbfgs`] minimises between bounds, [`mma`] with constraints as well. Both see a problem as a function of the
//! design that returns values with gradients, and stop with the word that says why: only [`End::Converged`] is a
//! solution.

pub mod lbfgs;
pub mod mma;

use serde::Serialize;

/// Why a descent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The conditions of an optimum hold within the tolerance.
    Converged,
    /// No step along the direction of descent improves the value: rounding, or a gradient that is wrong.
    Stalled,
    /// The limit of iterations came first.
    Limit,
    /// The caller asked to stop.
    Stopped,
}

/// An iteration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Evaluations so far.
    pub evaluations: usize,
    /// The objective.
    pub value: f64,
    /// The greatest violation of a constraint; 0 without constraints.
    pub violation: f64,
    /// How far the conditions of an optimum are from being met: the projected gradient, or the last change.
    pub optimality: f64,
}

/// The end of a descent.
#[derive(Clone, Debug, Serialize)]
pub struct Optimum {
    /// The design.
    pub design: Vec<f64>,
    /// Its objective.
    pub value: f64,
    /// Every iteration, the start first.
    pub history: Vec<Record>,
    /// Why it is the last.
    pub end: End,
}

/// Least and greatest values of the variables.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    low: Vec<f64>,
    high: Vec<f64>,
}

/// Bounds between which there is nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("bounds of variable {variable} are {low} and {high}; expected the first below the second")]
pub struct BoundsError {
    /// Index of the variable.
    pub variable: usize,
    /// Its least value.
    pub low: f64,
    /// Its greatest value.
    pub high: f64,
}

impl Bounds {
    /// A pair for each variable; infinite bounds are none.
    ///
    /// # Errors
    ///
    /// [`BoundsError`] if a pair is not in order.
    pub fn new(pairs: &[[f64; 2]]) -> Result<Self, BoundsError> {
        let ordered = |pair: &[f64; 2]| pair[0] < pair[1];
        let wrong = pairs.iter().position(|pair| !ordered(pair));
        if let Some(variable) = wrong {
            let [low, high] = pairs[variable];
            return Err(BoundsError { variable, low, high });
        }
        let side = |i: usize| pairs.iter().map(|pair| pair[i]).collect();
        Ok(Self { low: side(0), high: side(1) })
    }

    /// No bounds for `count` variables.
    #[must_use]
    pub fn none(count: usize) -> Self {
        Self { low: vec![f64::NEG_INFINITY; count], high: vec![f64::INFINITY; count] }
    }

    /// The closest design between the bounds.
    fn project(&self, design: &mut [f64]) {
        for (i, value) in design.iter_mut().enumerate() {
            *value = value.clamp(self.low[i], self.high[i]);
        }
    }

    /// The range of a variable, of 1 if it has none.
    fn range(&self, i: usize) -> f64 {
        let range = self.high[i] - self.low[i];
        if range.is_finite() { range } else { 1.0 }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The greatest magnitude; NaN if there is one.
fn greatest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |most: f64, value| if value.abs() <= most { most } else { value.abs() })
}
