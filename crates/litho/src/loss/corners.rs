//! The print's error from the three corners' images, for forward models in which dose is no mere factor.

use burn::tensor::{Tensor, activation::sigmoid};

use super::{Goal, HARD_EDGE, PrintLoss};
use crate::forward::CornerImages;

impl PrintLoss {
    /// Soft prints: dose is in the images already.
    fn prints(&self, images: &CornerImages) -> CornerImages {
        let soft =
            |image: Tensor<3>| sigmoid((image - self.resist.threshold) * self.resist.steepness);
        images.clone().map(soft)
    }

    /// As [`PrintLoss::value`].
    pub fn value_at_corners(&self, images: &CornerImages, target: &Tensor<3>) -> Tensor<1> {
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
        total.sum_dim(2).sum_dim(1).sum()
    }

    /// As [`PrintLoss::gradient`], by the corners' images.
    pub fn gradient_at_corners(&self, images: &CornerImages, goal: &Goal) -> CornerImages {
        let prints = self.prints(images);
        let off =
            |print: &Tensor<3>, weight: f64| (print.clone() - goal.target.clone()) * (2.0 * weight);
        let band = (prints.outer.clone() - prints.inner.clone()) * (2.0 * self.band);
        let mut of_nominal = off(&prints.nominal, self.nominal);
        if let Some(strips) = &goal.strips {
            let edge = (prints.nominal.clone() - goal.design.clone()) * strips.clone();
            of_nominal = of_nominal + edge * (2.0 * self.edge);
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

    /// As [`PrintLoss::hard_error`].
    pub fn hard_error_at_corners(&self, images: &CornerImages, goal: &Goal) -> Tensor<3> {
        let print =
            |image: Tensor<3>| image.greater_equal_elem(self.resist.threshold as f32).float();
        let CornerImages { nominal, outer, inner } = images.clone().map(print);
        let design = goal.design.clone().greater_equal_elem(0.5).float();
        let (off, band) = ((nominal - design).abs(), (outer - inner).abs());
        let error = match &goal.strips {
            Some(strips) => off.clone() + off * strips.clone() * HARD_EDGE + band,
            None => off + band,
        };
        error.sum_dim(2).sum_dim(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Aerial, Corner};
    use burn::tensor::{Device, TensorData};

    fn wave(pitch: f32) -> Tensor<3> {
        let values: Vec<f32> =
            (0..2 * 8 * 8).map(|i| 0.22 + 0.03 * (i as f32 * pitch).sin()).collect();
        Tensor::from_data(TensorData::new(values, [2, 8, 8]), &Device::flex())
    }

    /// Where dose is a factor, [`PrintLoss::gradient`] is the second implementation.
    #[test]
    fn images_times_dose_give_the_aerial_images_error_and_gradient() {
        let loss = PrintLoss::default();
        let aerial = Aerial { best: wave(0.7), defocus: wave(1.1) };
        let at = |c: Corner| aerial.at(c.focus) * c.dose;
        let w = loss.window;
        let images =
            CornerImages { nominal: at(w.nominal), outer: at(w.outer), inner: at(w.inner) };
        let hard = |pitch| wave(pitch).greater_elem(0.22).float();
        let goal = Goal { target: hard(0.3), design: hard(0.4), strips: Some(hard(0.9)) };
        let near = |a: Tensor<3>, b: Tensor<3>, scale: f32| {
            let off: f32 = (a - b).abs().max().into_scalar();
            assert!(off < 1e-5 * scale, "{off} of {scale}");
        };
        let corners = loss.gradient_at_corners(&images, &goal);
        let expected = loss.gradient(&aerial, &goal);
        let best = corners.nominal * w.nominal.dose + corners.outer * w.outer.dose;
        near(best, expected.best, 200.0);
        near(corners.inner * w.inner.dose, expected.defocus, 200.0);
        let value = |v: Tensor<1>| v.reshape([1, 1, 1]);
        let found = value(loss.value_at_corners(&images, &goal.target));
        near(found, value(loss.value(&aerial, &goal.target)), 100.0);
        near(loss.hard_error_at_corners(&images, &goal), loss.hard_error(&aerial, &goal), 1.0);
    }
}
