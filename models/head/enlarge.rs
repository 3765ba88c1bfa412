//! Masks from logits on a GPU in one launch: enlarged, and through the sigmoid; and the gradient of logits from that of enlarged ones.
//!
//! As operations of Burn this is some twenty passes over images of the mask's size, which took longer than the network.
#![cfg_attr(
    not(feature = "gpu"),
    allow(unused_variables, dead_code, reason = "a program without GPUs has no backend of these")
)]

#[cfg(feature = "gpu")]
mod kernel;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
#[cfg(feature = "gpu")]
use {
    burn::backend::fusion::custom::TensorSpec, burn::tensor::Shape, burn_cubecl::CubeBackend,
    cubecl::prelude::*,
};

/// What logits are made of: `((2 * target - 1) * target_logit + change) * scale`.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "gpu", derive(CubeLaunch, CubeType))]
pub(crate) struct Bend {
    /// The logit of a target's inside.
    pub(crate) target_logit: f32,
    /// Factor on all.
    pub(crate) scale: f32,
}

/// Enlarging as an operation of a backend.
#[backend_extension(Cube: cfg(feature = "gpu"), Fusion: cfg(feature = "gpu"))]
pub(crate) trait Enlarging: Backend {
    /// The sigmoid of a target's and a network's logits, `[batch, n, n]` both, interpolated to `[batch, factor * n, factor * n]`.
    #[fusion(meta = enlarged)]
    fn enlarged_mask(
        target: FloatTensor<Self>,
        change: FloatTensor<Self>,
        bend: Bend,
        factor: usize,
    ) -> FloatTensor<Self>;

    /// The adjoint of the interpolation, times `scale`: from `[batch, factor * n, factor * n]` to `[batch, n, n]`.
    #[fusion(meta = gathered)]
    fn gathered_slope(slope: FloatTensor<Self>, factor: usize, scale: f32) -> FloatTensor<Self>;
}

#[cfg(feature = "gpu")]
fn enlarged(target: &TensorSpec, _change: &TensorSpec, _bend: &Bend, factor: &usize) -> TensorSpec {
    let [batch, n, _] = target.shape.dims::<3>();
    TensorSpec::new(Shape::from([batch, factor * n, factor * n]), target.dtype)
}

#[cfg(feature = "gpu")]
fn gathered(slope: &TensorSpec, factor: &usize, _scale: &f32) -> TensorSpec {
    let [batch, m, _] = slope.shape.dims::<3>();
    TensorSpec::new(Shape::from([batch, m / factor, m / factor]), slope.dtype)
}

#[cfg(feature = "gpu")]
impl Enlarging for CubeBackend {
    fn enlarged_mask(
        target: FloatTensor<Self>,
        change: FloatTensor<Self>,
        bend: Bend,
        factor: usize,
    ) -> FloatTensor<Self> {
        kernel::enlarged(target, change, bend, factor)
    }

    fn gathered_slope(slope: FloatTensor<Self>, factor: usize, scale: f32) -> FloatTensor<Self> {
        kernel::gathered(slope, factor, scale)
    }
}

/// Masks in 0 to 1, `[batch, factor * n, factor * n]`, of targets and what a network makes of them, `[batch, n, n]` in f32 on a GPU: as the head makes
/// them, without gradients.
pub(crate) fn mask(target: Tensor<3>, change: Tensor<3>, bend: Bend, factor: usize) -> Tensor<3> {
    let (target, change) = (target.into_dispatch(), change.into_dispatch());
    let mask = <Dispatch as Enlarging>::enlarged_mask(target, change, bend, factor);
    Tensor::from_dispatch(mask)
}

/// The gradient by logits `[batch, n, n]`, times `scale`, from that by the enlarged ones, `[batch, factor * n, factor * n]` in f32, on a GPU.
pub(crate) fn gathered_slope(slope: Tensor<3>, factor: usize, scale: f32) -> Tensor<3> {
    let slope = slope.into_dispatch();
    Tensor::from_dispatch(<Dispatch as Enlarging>::gathered_slope(slope, factor, scale))
}

#[cfg(all(test, feature = "wgpu", feature = "cuda"))]
mod tests {
    use burn::tensor::activation::sigmoid;
    use burn::tensor::{Device, TensorData};
    use lithoburn_compare::largest_difference;

    use super::*;
    use crate::head::Head;
    use crate::tested::device;

    /// Burn's operations on the CPU are the second implementation.
    #[test]
    fn masks_are_those_of_burns_operations() {
        let Some(device) = device() else { return };
        for (n, upsample) in [(16, 4), (9, 3), (8, 1), (1, 2)] {
            let wave = |pitch: f32, device: &Device| {
                let values = (0..2 * n * n).map(|i| 9.0 * (i as f32 * pitch).sin()).collect();
                Tensor::<3>::from_data(TensorData::new::<f32, _>(values, [2, n, n]), device)
            };
            let target = |device: &Device| wave(0.2, device) / 18.0 + 0.5;
            let change = |device: &Device| wave(0.7, device).unsqueeze_dim::<4>(1);
            for (target_logit, logit_scale) in [(0.0, 1.0), (2.0, 0.25), (1.7, 0.9)] {
                let head = Head { pixel_nm: 8.0, upsample, target_logit, logit_scale };
                let cpu = Device::flex();
                let logits = head.logits(target(&cpu), change(&cpu));
                let expected = sigmoid(head.enlarged(logits));
                let found = head.opened(target(&device), change(&device));
                let values = |x: Tensor<3>| x.try_into_vec_as::<f32>().expect("f32");
                let off = largest_difference(values(found), values(expected));
                assert!(off <= 2e-6, "{n} px, {upsample} times, {head:?}: {off}");
            }
        }
    }

    /// Burn's autodiff on the CPU is the second implementation.
    #[test]
    fn slopes_are_gathered_as_autodiff_leads_them_back() {
        let Some(device) = device() else { return };
        for (n, upsample) in [(16, 4), (9, 3), (8, 1), (1, 2), (5, 2)] {
            let m = n * upsample;
            let values = |count: usize, pitch: f32| -> Vec<f32> {
                (0..count).map(|i| (i as f32 * pitch).sin()).collect()
            };
            let slope = |device: &Device| {
                Tensor::<3>::from_data(TensorData::new(values(2 * m * m, 0.7), [2, m, m]), device)
            };
            let cpu = Device::flex();
            let logits = TensorData::new(values(2 * n * n, 0.3), [2, n, n]);
            let logits = Tensor::<3>::from_data(logits, &cpu).autodiff().require_grad();
            let head = Head { pixel_nm: 8.0, upsample, target_logit: 3.0, logit_scale: 0.5 };
            let target = Tensor::<3>::zeros([2, n, n], &cpu).autodiff();
            let enlarged = head.enlarged(head.logits(target, logits.clone().unsqueeze_dim(1)));
            let gradients = (enlarged * slope(&cpu).autodiff() * 3.0).sum().backward();
            let expected = logits.grad(&gradients).expect("a gradient");
            let found = head.led_back(slope(&device), 3.0).squeeze_dim::<3>(1);
            let values = |x: Tensor<3>| x.try_into_vec_as::<f32>().expect("f32");
            let off = largest_difference(values(found), values(expected));
            // Sums of up to 64 products of numbers up to 1.5.
            assert!(off <= 2e-5, "{n} px, {upsample} times: {off}");
        }
    }
}
