//! The slope of prints' error by their masks as one operation of a GPU's backend: what a network in training descends on.
//!
//! The kernels are those of a step of the descent, but for its parameters and its Adam. Images may have other pixels than the mask. With
//! m = σ(l) a pixel of the mask, what is made is ∂(error + grey · Σ m (1 − m)) / ∂l.
#![cfg_attr(
    not(feature = "gpu"),
    allow(unused_variables, reason = "a program without GPUs has no backend of these")
)]

use std::ops::Range;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
#[cfg(feature = "gpu")]
use {
    super::folded::FoldedKernels,
    super::launch::PlainKernels,
    burn::backend::TensorMetadata,
    burn_cubecl::{CubeBackend, kernel::into_contiguous},
};

use super::shares::shares;
use super::{
    GoalImages, Optics, PrintWeights, Waves, constants, joined, most_of, part, waves_between,
};
use crate::{Sampling, Simulator};

/// The slope as an operation of a backend.
#[backend_extension(Cube: cfg(feature = "gpu"), Fusion: cfg(feature = "gpu"))]
pub(crate) trait PrintSlopes: Backend {
    /// The gradient by the logits of masks `[batch, n, n]`; the goal has the images' pixels, as the optics' interpolation.
    #[fusion(meta = |mask, _, _, _, _, _| mask.clone())]
    fn print_slopes(
        mask: FloatTensor<Self>,
        #[extension_type] goal: GoalImages<Self>,
        #[extension_type] optics: Optics<Self>,
        #[extension_type] waves: Waves<Self>,
        weights: PrintWeights,
        grey: f32,
    ) -> FloatTensor<Self>;
}

#[cfg(feature = "gpu")]
impl PrintSlopes for CubeBackend {
    fn print_slopes(
        mask: FloatTensor<Self>,
        goal: GoalImages<Self>,
        optics: Optics<Self>,
        waves: Waves<Self>,
        weights: PrintWeights,
        grey: f32,
    ) -> FloatTensor<Self> {
        let [batch, _, _] = mask.shape().dims::<3>();
        let (mask, goal) = (into_contiguous(mask), goal.contiguous());
        match FoldedKernels::new(waves, batch, &weights) {
            Some(bench) => bench.slopes_of(&mask, &goal, &weights, grey),
            None => PlainKernels::new(optics, batch).slopes_of(&mask, &goal, &weights, grey),
        }
    }
}

/// The slope of masks on `grid` whose prints on `image` are compared with `target`.
pub(crate) fn slopes(
    mask: &Tensor<3>,
    target: &Tensor<3>,
    simulator: &Simulator,
    [grid, image]: [&Sampling; 2],
    (weights, grey): (PrintWeights, f32),
) -> Tensor<3> {
    let [batch, _, _] = mask.dims();
    let share = |share: Range<usize>| {
        let own = part(target, &share);
        let goal = || own.clone().into_dispatch();
        let goal = GoalImages { target: goal(), design: goal(), strips: goal() };
        let interpolate = image.interpolate.clone().into_dispatch();
        let optics = Optics { interpolate, ..constants((simulator, grid)) };
        let waves = waves_between(simulator, [grid, image]);
        let mask = part(mask, &share).into_dispatch();
        let slopes =
            <Dispatch as PrintSlopes>::print_slopes(mask, goal, optics, waves, weights, grey);
        Tensor::from_dispatch(slopes)
    };
    joined(shares(batch, most_of(simulator)).map(share))
}
