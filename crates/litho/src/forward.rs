//! Forward models: how a mask prints at the three corners, whatever it is computed with.
//!
//! [`crate::ilt::Ilt`] knows the thin-mask [`Simulator`] and its adjoint. A costlier model ([`crate::bake`]) and a
//! learned one have no written-out adjoint: they are tensors all the way, and Burn's autodiff finds it.

use std::f64::consts::PI;

use burn::tensor::{Device, Tensor, TensorData};

use crate::{Corner, LithoError, ProcessWindow, Sampling, Simulator};

/// What the resist makes of the light at the three corners, on the scale of the threshold resist: a pattern
/// prints where an image is at least [`crate::Resist::threshold`], dose included. `[batch, n, n]` each.
#[derive(Clone, Debug)]
pub struct CornerImages {
    /// As the mask is meant to print.
    pub nominal: Tensor<3>,
    /// Where most prints.
    pub outer: Tensor<3>,
    /// Where least prints.
    pub inner: Tensor<3>,
}

impl CornerImages {
    /// The same for each image.
    #[must_use]
    pub fn map(self, f: impl Fn(Tensor<3>) -> Tensor<3>) -> Self {
        Self { nominal: f(self.nominal), outer: f(self.outer), inner: f(self.inner) }
    }

    /// Image by image with another set.
    #[must_use]
    pub fn zip(self, other: Self, f: impl Fn(Tensor<3>, Tensor<3>) -> Tensor<3>) -> Self {
        Self {
            nominal: f(self.nominal, other.nominal),
            outer: f(self.outer, other.outer),
            inner: f(self.inner, other.inner),
        }
    }

    /// Nominal, outer, inner.
    pub fn each(&self) -> [&Tensor<3>; 3] {
        [&self.nominal, &self.outer, &self.inner]
    }

    /// Mean square difference of each clip, over the three images: `[batch, 1, 1]`.
    pub fn mean_square_error(&self, other: &Self) -> Tensor<3> {
        let [a, b, c] = [0, 1, 2].map(|i| {
            let off = self.each()[i].clone() - other.each()[i].clone();
            (off.clone() * off).mean_dim(2).mean_dim(1)
        });
        (a + b + c) / 3.0
    }
}

/// A model of how masks print.
pub trait ForwardModel {
    /// Period of the field, in nm.
    fn period_nm(&self) -> f64;

    /// Where it computes.
    fn device(&self) -> &Device;

    /// The model on a grid of pixels, for masks and images alike; `points` as in [`Simulator::sampling`].
    ///
    /// # Errors
    ///
    /// [`LithoError::Grid`] if such pixels do not fit the field.
    fn on(&self, pixel_nm: f64, points: usize) -> Result<Box<dyn Imager + '_>, LithoError>;
}

/// A forward model on a grid.
pub trait Imager {
    /// The images of masks `[batch, n, n]` in 0 to 1, differentiable by the mask.
    fn images(&self, mask: Tensor<3>) -> CornerImages;
}

/// An exposure whose gradient can be pulled back.
#[derive(Debug)]
pub struct Tracked {
    mask: Tensor<3>,
    tracked: CornerImages,
    /// The images.
    pub images: CornerImages,
}

impl Tracked {
    /// Exposes masks and remembers how.
    pub fn expose(imager: &dyn Imager, mask: Tensor<3>) -> Self {
        let mask = mask.autodiff().require_grad();
        let tracked = imager.images(mask.clone());
        let images = tracked.clone().map(Tensor::inner);
        Self { mask, tracked, images }
    }

    /// The gradient of the mask from that of its images.
    ///
    /// # Errors
    ///
    /// [`LithoError::Grid`] if the images do not depend on the mask.
    pub fn pull_back(self, gradient: CornerImages) -> Result<Tensor<3>, LithoError> {
        let products = self.tracked.zip(gradient, |image, by| image * by.autodiff());
        let total = products.nominal + products.outer + products.inner;
        let gradients = total.sum_dim(2).sum_dim(1).sum().backward();
        let none = || LithoError::Grid("the forward model ignores its mask".into());
        self.mask.grad(&gradients).ok_or_else(none)
    }
}

/// The thin-mask simulator and the threshold resist as a forward model: dose is a factor on the image.
#[derive(Clone, Debug)]
pub struct ThinMask {
    simulator: Simulator,
    window: ProcessWindow,
}

impl ThinMask {
    /// The images of this simulator at these corners.
    pub fn new(simulator: Simulator, window: ProcessWindow) -> Self {
        Self { simulator, window }
    }
}

impl ForwardModel for ThinMask {
    fn period_nm(&self) -> f64 {
        self.simulator.period_nm()
    }

    fn device(&self) -> &Device {
        self.simulator.device()
    }

    fn on(&self, pixel_nm: f64, points: usize) -> Result<Box<dyn Imager + '_>, LithoError> {
        let grid = self.simulator.sampling(pixel_nm, points)?;
        Ok(Box::new(ThinImager { model: self, grid }))
    }
}

struct ThinImager<'a> {
    model: &'a ThinMask,
    grid: Sampling,
}

impl Imager for ThinImager<'_> {
    fn images(&self, mask: Tensor<3>) -> CornerImages {
        let aerial = self.model.simulator.aerial(mask, &self.grid, &self.grid);
        let at = |corner: Corner| aerial.at(corner.focus) * corner.dose;
        let window = &self.model.window;
        CornerImages {
            nominal: at(window.nominal),
            outer: at(window.outer),
            inner: at(window.inner),
        }
    }
}

/// Interpolation along a side of a periodic image from `n` pixels to `m`, exact for frequencies below n / 2: `[n, m]`.
/// Pixels act at their middles.
pub fn interpolation(n: usize, m: usize, device: &Device) -> Tensor<2> {
    let value = |i: usize| {
        let apart = ((i % m) as f64 + 0.5) / m as f64 - ((i / m) as f64 + 0.5) / n as f64;
        let waves = (1..n.div_ceil(2)).map(|f| 2.0 * (2.0 * PI * f as f64 * apart).cos());
        ((1.0 + waves.sum::<f64>()) / n as f64) as f32
    };
    let values: Vec<f32> = (0..n * m).map(value).collect();
    Tensor::from_data(TensorData::new(values, [n, m]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolation_passes_through_waves() {
        let (n, m) = (12, 30);
        let wave = |x: f64| 0.3 + (2.0 * PI * 5.0 * x + 0.4).cos();
        let coarse: Vec<f32> = (0..n).map(|c| wave((c as f64 + 0.5) / n as f64) as f32).collect();
        let device = Device::flex();
        let coarse = Tensor::<2>::from_data(TensorData::new(coarse, [1, n]), &device);
        let fine = coarse.matmul(interpolation(n, m, &device));
        let fine = fine.try_into_vec_as::<f32>().expect("f32");
        for (x, &value) in fine.iter().enumerate() {
            assert!((f64::from(value) - wave((x as f64 + 0.5) / m as f64)).abs() < 1e-5);
        }
    }
}
