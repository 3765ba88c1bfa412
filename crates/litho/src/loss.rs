//! The differentiable error of a print.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Aerial, Corner, ProcessWindow, Resist};

/// Weights of a print's errors. Each error is a sum of squares over pixels, of soft prints.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrintLoss {
    /// (nominal − target)².
    pub nominal: f64,
    /// (outer − target)².
    pub outer: f64,
    /// (inner − target)².
    pub inner: f64,
    /// (outer − inner)²: the PV band.
    pub band: f64,
    /// How prints are made soft.
    pub resist: Resist,
    /// The corners.
    pub window: ProcessWindow,
}

impl Default for PrintLoss {
    /// The weights of plain ILT; `benches/runs/` has the sweep that they come from.
    fn default() -> Self {
        Self {
            nominal: 1.0,
            outer: 1.0,
            inner: 0.5,
            band: 2.0,
            resist: Resist { steepness: 80.0, ..Resist::default() },
            window: ProcessWindow::default(),
        }
    }
}

impl PrintLoss {
    /// The weighted error, summed over the batch, in pixels. `target` is `[batch, height, width]`.
    pub fn value(&self, aerial: &Aerial, target: &Tensor<3>) -> Tensor<1> {
        let print = |c: Corner| self.resist.develop(aerial.at(c.focus), c.dose);
        let w = &self.window;
        let (nominal, outer, inner) = (print(w.nominal), print(w.outer), print(w.inner));
        let error = |print: Tensor<3>, weight: f64| {
            let off = print - target.clone();
            off.clone() * off * weight
        };
        let band = outer.clone() - inner.clone();
        let total = error(nominal, self.nominal)
            + error(outer, self.outer)
            + error(inner, self.inner)
            + band.clone() * band * self.band;
        total.sum()
    }
}
