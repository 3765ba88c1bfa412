//! Forward models: how a mask prints at the three corners, whatever it is computed with.
//!
//! A descent needs of a model its images, and the way back from their gradient to the mask's. A costly model
//! ([`crate::bake`]) and a learned one are tensors all the way, and Burn's autodiff finds that way. The thin mask knows its
//! adjoint, and on a GPU takes many steps as one operation.

use std::f64::consts::PI;
use std::fmt;
use std::sync::OnceLock;

use burn::tensor::{Device, Tensor};

use crate::ilt::host::Host;
use crate::images::matrix;
use crate::loss::{Goal, PrintLoss};
use crate::{Aerial, CornerImages, Focus, LithoError, ProcessWindow, Sampling, Simulator};

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

    /// The images of masks in f32, without a way back: what is looked at, not descended on.
    fn seen(&self, mask: Tensor<3>) -> CornerImages {
        self.images(mask)
    }

    /// The images, and the way back from their gradient: Burn's autodiff, unless the model knows a shorter one.
    fn expose(&self, mask: Tensor<3>) -> Exposed<'_> {
        Exposed::tracked(mask, |mask| self.images(mask))
    }

    /// The loss's derivative by the pixels of masks: [`PrintLoss::gradient`], pulled back.
    ///
    /// # Errors
    ///
    /// As [`Exposed::pull_back`].
    fn slopes(
        &self,
        masks: Tensor<3>,
        goal: &Goal,
        loss: &PrintLoss,
    ) -> Result<Tensor<3>, LithoError> {
        let exposed = self.expose(masks);
        let gradient = loss.gradient(&exposed.images, goal);
        exposed.pull_back(gradient)
    }

    /// What hard masks cost: [`PrintLoss::hard_error`] of their images.
    fn hard_error(&self, masks: Tensor<3>, goal: &Goal, loss: &PrintLoss) -> Tensor<3> {
        loss.hard_error(&self.images(masks), goal)
    }

    /// Many steps of a descent as one operation, where the model has that.
    fn fused(&self) -> Option<FusedSteps<'_>> {
        None
    }
}

/// The way back from the gradient of the images to that of the mask.
type PullBack<'a> = Box<dyn FnOnce(CornerImages) -> Result<Tensor<3>, LithoError> + 'a>;

/// An exposure whose gradient can be pulled back.
pub struct Exposed<'a> {
    /// The images.
    pub images: CornerImages,
    back: PullBack<'a>,
}

impl<'a> Exposed<'a> {
    /// Images, and what makes the mask's gradient of theirs.
    pub fn new(
        images: CornerImages,
        back: impl FnOnce(CornerImages) -> Result<Tensor<3>, LithoError> + 'a,
    ) -> Self {
        Self { images, back: Box::new(back) }
    }

    /// Images that Burn's autodiff leads back from.
    pub fn tracked(mask: Tensor<3>, images: impl FnOnce(Tensor<3>) -> CornerImages) -> Self {
        let mask = mask.autodiff().require_grad();
        let tracked = images(mask.clone());
        Self::new(tracked.clone().map(Tensor::inner), move |gradient| {
            let products = tracked.zip(gradient, |image, by| image * by.autodiff());
            let total = products.nominal + products.outer + products.inner;
            let gradients = total.sum_dim(2).sum_dim(1).sum().backward();
            let none = || LithoError::Grid("the forward model ignores its mask".into());
            mask.grad(&gradients).ok_or_else(none)
        })
    }

    /// The gradient of the mask from that of its images.
    ///
    /// # Errors
    ///
    /// [`LithoError::Grid`] if the images do not depend on the mask.
    pub fn pull_back(self, gradient: CornerImages) -> Result<Tensor<3>, LithoError> {
        (self.back)(gradient)
    }
}

impl fmt::Debug for Exposed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposed").field("images", &self.images).finish_non_exhaustive()
    }
}

/// What the steps of a descent on a thin mask need of its optics, where they are one operation ([`Imager::fused`]).
#[derive(Clone, Copy)]
pub struct FusedSteps<'a> {
    pub(crate) simulator: &'a Simulator,
    pub(crate) grid: &'a Sampling,
    pub(crate) window: &'a ProcessWindow,
    /// The optics in this process's memory, if the steps are taken there.
    pub(crate) host: Option<&'a Host>,
    /// Whether no step is taken ([`ThinMask::idle`]).
    pub(crate) idle: bool,
}

impl fmt::Debug for FusedSteps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FusedSteps").field("grid", self.grid).finish_non_exhaustive()
    }
}

/// The thin-mask simulator and the threshold resist as a forward model: dose is a factor on the image.
#[derive(Clone, Debug)]
pub struct ThinMask {
    simulator: Simulator,
    window: ProcessWindow,
    idle: bool,
}

impl ThinMask {
    /// The images of this simulator at these corners.
    pub fn new(simulator: Simulator, window: ProcessWindow) -> Self {
        Self { simulator, window, idle: false }
    }

    /// The same whose fused steps change nothing and whose errors are 0: for who compiles the kernels around them.
    #[must_use]
    pub fn idle(self) -> Self {
        Self { idle: true, ..self }
    }

    /// The optics.
    pub fn simulator(&self) -> &Simulator {
        &self.simulator
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
        Ok(Box::new(ThinImager { model: self, grid, host: OnceLock::new() }))
    }
}

struct ThinImager<'a> {
    model: &'a ThinMask,
    grid: Sampling,
    /// Made when steps are asked for.
    host: OnceLock<Option<Host>>,
}

impl Imager for ThinImager<'_> {
    fn images(&self, mask: Tensor<3>) -> CornerImages {
        self.model.simulator.aerial(mask, &self.grid, &self.grid).at_corners(&self.model.window)
    }

    fn seen(&self, mask: Tensor<3>) -> CornerImages {
        let ThinMask { simulator, window, .. } = self.model;
        simulator.aerial_in_f32(mask, &self.grid, &self.grid).at_corners(window)
    }

    fn expose(&self, mask: Tensor<3>) -> Exposed<'_> {
        let ThinMask { simulator, window, .. } = self.model;
        let exposure = simulator.expose(mask, &self.grid, &self.grid);
        Exposed::new(exposure.aerial.at_corners(window), move |gradient| {
            let by_focus = by_focus(gradient, window);
            Ok(simulator.pull_back(&exposure, &by_focus, &self.grid, &self.grid))
        })
    }

    fn slopes(
        &self,
        masks: Tensor<3>,
        goal: &Goal,
        loss: &PrintLoss,
    ) -> Result<Tensor<3>, LithoError> {
        if let Some(slopes) = self.fused().and_then(|f| f.slopes(masks.clone(), goal, loss)) {
            return Ok(slopes);
        }
        let exposed = self.expose(masks);
        let gradient = loss.gradient(&exposed.images, goal);
        exposed.pull_back(gradient)
    }

    fn hard_error(&self, masks: Tensor<3>, goal: &Goal, loss: &PrintLoss) -> Tensor<3> {
        match self.fused() {
            Some(fused) => fused.errors(masks, goal, loss, true),
            None => loss.hard_error(&self.images(masks), goal),
        }
    }

    fn fused(&self) -> Option<FusedSteps<'_>> {
        let ThinMask { simulator, window, idle } = self.model;
        let on_host = *simulator.device() == Device::flex();
        let host = || Host::new(simulator, &self.grid);
        let host = if on_host { self.host.get_or_init(host).as_ref() } else { None };
        let fused = host.is_some() || has_kernels(simulator.device());
        fused.then_some(FusedSteps { simulator, grid: &self.grid, window, host, idle: *idle })
    }
}

/// Whether steps are kernels of our own on a device.
#[cfg(feature = "gpu")]
pub(crate) fn has_kernels(device: &Device) -> bool {
    matches!(device.as_dispatch(), burn::backend::DispatchDevice::Cube(_))
}

/// A program without GPUs has none.
#[cfg(not(feature = "gpu"))]
pub(crate) fn has_kernels(_device: &Device) -> bool {
    false
}

/// The gradient of the aerial images from that of the corners': the adjoint of [`Aerial::at_corners`].
fn by_focus(gradient: CornerImages, window: &ProcessWindow) -> Aerial {
    let parts = [
        (window.nominal, gradient.nominal),
        (window.outer, gradient.outer),
        (window.inner, gradient.inner),
    ];
    let nothing = parts[0].1.zeros_like();
    let at = |focus: Focus| {
        let own = parts.iter().filter(|(corner, _)| corner.focus == focus);
        let own = own.map(|(corner, gradient)| gradient.clone() * corner.dose);
        own.reduce(|a, b| a + b).unwrap_or_else(|| nothing.clone())
    };
    Aerial { best: at(Focus::Best), defocus: at(Focus::Defocus) }
}

/// Interpolation along a side of a periodic image from `n` pixels to `m`, exact for frequencies below n / 2: `[n, m]`.
/// Pixels act at their middles.
pub fn interpolation(n: usize, m: usize, device: &Device) -> Tensor<2> {
    let value = |c: usize, x: usize| {
        let apart = (x as f64 + 0.5) / m as f64 - (c as f64 + 0.5) / n as f64;
        let waves = (1..n.div_ceil(2)).map(|f| 2.0 * (2.0 * PI * f as f64 * apart).cos());
        (1.0 + waves.sum::<f64>()) / n as f64
    };
    matrix(n, m, value, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

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

    /// Burn's autodiff is the second implementation of the way back, two corners sharing a focus.
    #[test]
    fn the_thin_masks_way_back_is_that_of_autodiff() -> Result<(), LithoError> {
        let optics = crate::optics::Optics { count: 3, source_step: 0.1, ..Default::default() };
        let device = Device::flex();
        let model =
            ThinMask::new(Simulator::new(&optics.kernels()?, &device), ProcessWindow::default());
        let imager = model.on(32.0, 32)?;
        let wave = |pitch: f32| {
            let wave: Vec<f32> = (0..64 * 64).map(|i| (i as f32 * pitch).sin()).collect();
            Tensor::<3>::from_data(TensorData::new(wave, [1, 64, 64]), &device)
        };
        let mask = wave(0.013) * 0.5 + 0.5;
        let gradient = || CornerImages { nominal: wave(0.3), outer: wave(0.7), inner: wave(1.1) };
        let found = imager.expose(mask.clone()).pull_back(gradient())?;
        let expected = Exposed::tracked(mask, |mask| imager.images(mask)).pull_back(gradient())?;
        let most: f32 = expected.clone().abs().max().into_scalar();
        let off: f32 = (found - expected).abs().max().into_scalar();
        assert!(most > 0.0 && off <= 1e-5 * most, "{off} of {most}");
        Ok(())
    }
}
