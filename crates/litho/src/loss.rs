//! The error of a print, differentiable: what solvers and training minimise.
//!
//! Its terms are over the images of the three corners, dose included, whatever forward model made them.

pub(crate) mod probes;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::images::resized;
use crate::{CornerImages, Resist};

/// What an error at an edge counts, over one elsewhere, when hard masks are compared.
pub(crate) const HARD_EDGE: f64 = 10.0;

/// Weights of the print's errors, per pixel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrintLoss {
    /// Of (nominal print − target)².
    pub nominal: f64,
    /// Of (outer print − target)².
    pub outer: f64,
    /// Of (inner print − target)².
    pub inner: f64,
    /// Of (outer − inner print)²: the PV band.
    pub band: f64,
    /// Of (nominal print − design)² in the strips at the EPE sites' depth.
    #[serde(default)]
    pub edge: f64,
    /// Of the same along the edges at the EPE sites.
    #[serde(default)]
    pub near: f64,
    /// How far from an edge that is, in nm.
    #[serde(default)]
    pub near_nm: f64,
    /// How prints are made soft.
    pub resist: Resist,
}

impl Default for PrintLoss {
    /// The weights of a descent through a surrogate; the solver's own are [`IltConfig`](crate::ilt::IltConfig)'s.
    fn default() -> Self {
        Self {
            nominal: 1.0,
            outer: 1.0,
            inner: 0.5,
            band: 3.0,
            edge: 4.0,
            near: 0.0,
            near_nm: 6.0,
            resist: Resist { steepness: 80.0, ..Resist::default() },
        }
    }
}

/// What should print, `[batch, n, n]` each.
#[derive(Clone, Debug)]
pub struct Goal {
    /// What the print is compared with: the design with its corners rounded, perhaps.
    pub target: Tensor<3>,
    /// The design itself.
    pub design: Tensor<3>,
    /// Where an edge out of tolerance shows, 0 to 1.
    pub strips: Option<Tensor<3>>,
}

impl Goal {
    /// The same on another grid.
    #[must_use]
    pub fn resized(&self, size: usize) -> Self {
        let on_grid = |image: &Tensor<3>| resized(image.clone(), size);
        Self {
            target: on_grid(&self.target),
            design: on_grid(&self.design),
            strips: self.strips.as_ref().map(on_grid),
        }
    }
}

impl PrintLoss {
    /// What an error costs where a goal's strips are 1.
    pub fn strips(&self) -> f64 {
        self.edge.max(self.near)
    }

    /// The weighted error, summed over the batch, in pixels; without what edges cost. `target` is
    /// `[batch, height, width]`.
    pub fn value(&self, images: &CornerImages, target: &Tensor<3>) -> Tensor<1> {
        let CornerImages { nominal, outer, inner } = self.prints(images);
        let error = |print: &Tensor<3>, weight: f64| {
            let off = print.clone() - target.clone();
            off.clone() * off * weight
        };
        let band = outer.clone() - inner.clone();
        let total = error(&nominal, self.nominal)
            + error(&outer, self.outer)
            + error(&inner, self.inner)
            + band.clone() * band * self.band;
        // By steps: Burn gives each sum to one thread, which takes ages for a single one.
        total.sum_dim(2).sum_dim(1).sum()
    }

    /// The derivative of [`PrintLoss::value`], with what edges cost, by the images.
    #[must_use]
    pub fn gradient(&self, images: &CornerImages, goal: &Goal) -> CornerImages {
        let prints = self.prints(images);
        let off =
            |print: &Tensor<3>, weight: f64| (print.clone() - goal.target.clone()) * (2.0 * weight);
        let band = (prints.outer.clone() - prints.inner.clone()) * (2.0 * self.band);
        let mut of_nominal = off(&prints.nominal, self.nominal);
        if let Some(strips) = &goal.strips {
            let edge = (prints.nominal.clone() - goal.design.clone()) * strips.clone();
            of_nominal = of_nominal + edge * (2.0 * self.strips());
        }
        let by_print = CornerImages {
            nominal: of_nominal,
            outer: off(&prints.outer, self.outer) + band.clone(),
            inner: off(&prints.inner, self.inner) - band,
        };
        // The derivative of a soft print is steepness · z (1 − z).
        let slope = |print: Tensor<3>| print.clone() * (print * -1.0 + 1.0) * self.resist.steepness;
        by_print.zip(prints.map(slope), |of, slope| of * slope)
    }

    /// L2 and PV band of hard prints, in pixels, and ten times what is off in the strips: `[batch, 1, 1]`.
    pub fn hard_error(&self, images: &CornerImages, goal: &Goal) -> Tensor<3> {
        let print = |image: Tensor<3>| image.greater_equal_elem(self.resist.threshold).float();
        let CornerImages { nominal, outer, inner } = images.clone().map(print);
        let design = goal.design.clone().greater_equal_elem(0.5).float();
        let (off, band) = ((nominal - design).abs(), (outer - inner).abs());
        let error = match &goal.strips {
            Some(strips) => off.clone() + off * strips.clone() * HARD_EDGE + band,
            None => off + band,
        };
        error.sum_dim(2).sum_dim(1)
    }

    fn prints(&self, images: &CornerImages) -> CornerImages {
        images.clone().map(|image| self.resist.develop(image))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn wave(pitch: f32, device: &Device) -> Tensor<3> {
        let values: Vec<f32> =
            (0..2 * 8 * 8).map(|i| 0.22 + 0.03 * (i as f32 * pitch).sin()).collect();
        Tensor::from_data(TensorData::new(values, [2, 8, 8]), device)
    }

    /// Burn's autodiff is the second implementation, the edges' cost included.
    #[test]
    fn the_gradient_is_that_of_autodiff() {
        let device = Device::flex();
        let tracked = |pitch| wave(pitch, &device).autodiff().require_grad();
        let tracked =
            CornerImages { nominal: tracked(0.7), outer: tracked(0.9), inner: tracked(1.1) };
        let hard = |pitch| wave(pitch, &device).greater_elem(0.22).float();
        let (target, design, strips) = (hard(0.3), hard(0.4), hard(0.9));
        let loss = PrintLoss::default();
        let edge = loss.resist.develop(tracked.nominal.clone()) - design.clone().autodiff();
        let edge = edge.clone() * edge * strips.clone().autodiff() * loss.edge;
        let total = loss.value(&tracked, &target.clone().autodiff()) + edge.sum();
        let gradients = total.backward();

        let goal = Goal { target, design, strips: Some(strips) };
        let found = loss.gradient(&tracked.clone().map(Tensor::inner), &goal);
        let values = |t: Tensor<3>| t.try_into_vec_as::<f32>().expect("f32");
        for (found, tracked) in found.each().into_iter().zip(tracked.each()) {
            let expected = values(tracked.grad(&gradients).expect("a gradient"));
            for (a, b) in values(found.clone()).iter().zip(&expected) {
                assert!((a - b).abs() < 1e-4, "{a} vs {b}"); // of values up to 200
            }
        }
    }
}
