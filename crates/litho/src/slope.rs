//! What masks cost, and its slope by their logits: what a network in training descends on.
//!
//! The cost is the error of the masks' prints and a price of their grey pixels. In Burn's operations it is differentiable by whatever made the
//! masks, in more than a hundred of them; on a GPU the kernels of the descent make its slope in ten launches, and the network's own gradient
//! begins there.

use burn::tensor::Tensor;

use crate::forward::has_kernels;
use crate::ilt::steps::{PrintWeights, slope};
use crate::loss::PrintLoss;
use crate::{ProcessWindow, Sampling, Simulator};

/// What masks cost.
#[derive(Clone, Copy, Debug)]
pub struct MaskCost {
    /// Errors of prints, without what edges cost; and the resist.
    pub print: PrintLoss,
    /// The corners.
    pub window: ProcessWindow,
    /// Factor on the error, which is in pixels of the image.
    pub error: f64,
    /// Price of a mask pixel m, which is m (1 − m) of this.
    pub grey: f64,
}

/// The grids of masks and of the images that are made of them.
#[derive(Clone, Copy, Debug)]
pub struct Grids<'a> {
    /// The masks'.
    pub mask: &'a Sampling,
    /// The images', and the targets'.
    pub image: &'a Sampling,
}

impl MaskCost {
    /// The cost of masks `[batch, n, n]` for targets `[batch, m, m]`, summed over the batch. Sums go by rows: Burn gives a single one to one
    /// thread.
    pub fn value(
        &self,
        simulator: &Simulator,
        grids: Grids,
        mask: &Tensor<3>,
        target: &Tensor<3>,
    ) -> Tensor<1> {
        let aerial = simulator.aerial(mask.clone(), grids.mask, grids.image);
        let error = self.print.value(&aerial.at_corners(&self.window), target) * self.error;
        let grey = mask.clone() * (mask.clone() * -1.0 + 1.0);
        error + grey.sum_dim(2).sum_dim(1).sum() * self.grey
    }

    /// The gradient of [`MaskCost::value`] by the masks' logits, `[batch, n, n]`, a mask being their sigmoid: by kernels of our own, in f32 and
    /// with an order of sums that does not depend on the batch. Targets are taken to 1/1024.
    ///
    /// # Panics
    ///
    /// If the device [has no such kernels](Simulator::has_kernels).
    pub fn slope(
        &self,
        simulator: &Simulator,
        grids: Grids,
        mask: &Tensor<3>,
        target: &Tensor<3>,
    ) -> Tensor<3> {
        let PrintLoss { nominal, outer, inner, band, .. } = self.print;
        let [nominal, outer, inner, band] = [nominal, outer, inner, band].map(|w| w * self.error);
        let print = PrintLoss { nominal, outer, inner, band, edge: 0.0, near: 0.0, ..self.print };
        let weights = (PrintWeights::new(&print, &self.window), self.grey as f32);
        slope::slopes(mask, target, simulator, [grids.mask, grids.image], weights)
    }
}

impl Simulator {
    /// Whether its device has kernels of our own, for [`MaskCost::slope`].
    pub fn has_kernels(&self) -> bool {
        has_kernels(self.device())
    }
}
