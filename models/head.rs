//! From a network's logits to a mask: what the methods have in common.

pub(crate) mod enlarge;

use burn::backend::ExecutionError;
use burn::tensor::activation::sigmoid;
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::resample::enlarged;
use enlarge::Bend;

/// How logits become a mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    /// Side of a pixel that the network sees, in nm.
    pub pixel_nm: f64,
    /// Mask pixels per network pixel and side.
    pub upsample: usize,
    /// Logit of a pixel inside the target before the network's change; outside it is the negative. With 0,
    /// the network's output is the mask's logits.
    pub target_logit: f64,
    /// Factor on all logits. The mask's edges, where they are 0, do not depend on it; how little rounding shows does: a
    /// network that was trained to hard masks has logits in the thousands.
    pub logit_scale: f64,
}

/// No factor on the logits.
pub(crate) fn unscaled() -> f64 {
    1.0
}

/// A network that proposes a mask for a target.
pub trait MaskNetwork: Send {
    /// How its logits become a mask.
    fn head(&self) -> Head;

    /// What sides of targets must be multiples of, in pixels.
    fn stride(&self) -> usize;

    /// Logits `[batch, 1, n, n]` for targets of that shape, in the input's precision.
    fn logits(&self, x: Tensor<4>) -> Tensor<4>;

    /// Logits of several inputs, which may differ in shape. What computes several at once does so here.
    fn all_logits(&self, inputs: Vec<Tensor<4>>) -> Vec<Tensor<4>> {
        inputs.into_iter().map(|x| self.logits(x)).collect()
    }

    /// Logits in f32 of targets in f32, `[batch, 1, n, n]`, both in the host's memory: what a caller waits for who has nothing on the device.
    ///
    /// `precision` is the network's.
    ///
    /// # Errors
    ///
    /// [`ExecutionError`] if the device does not make them.
    fn host_logits(
        &self,
        targets: TensorData,
        device: &Device,
        precision: DType,
    ) -> Result<TensorData, ExecutionError> {
        host_logits(|x| self.logits(x), targets, device, precision)
    }

    /// Side of a pixel of the mask, in nm.
    fn mask_pixel_nm(&self) -> f64 {
        self.head().mask_pixel_nm()
    }

    /// The mask in 0 to 1, `[batch, u·n, u·n]`, for a target `[batch, n, n]` at the network's pixel size.
    ///
    /// `precision` is the network's; the mask is f32.
    fn forward(&self, target: Tensor<3>, precision: DType) -> Tensor<3> {
        let input = target.clone().unsqueeze_dim::<4>(1).cast(precision);
        let change = self.logits(input);
        self.mask(target, change)
    }

    /// The mask of a target and a network's logits.
    fn mask(&self, target: Tensor<3>, change: Tensor<4>) -> Tensor<3> {
        let head = self.head();
        sigmoid(head.enlarged(head.logits(target, change)))
    }

    /// As [`MaskNetwork::forward`], with the logits averaged over the eight symmetries of the square.
    ///
    /// A cross-quad source images mirrored and transposed layouts alike, so the eight answers are
    /// equally right and their mean is better; it costs eight passes.
    fn forward_symmetric(&self, target: Tensor<3>, precision: DType) -> Tensor<3> {
        let input = target.clone().unsqueeze_dim::<4>(1).cast(precision);
        let inputs = (0..SYMMETRIES).map(|code| turned(input.clone(), code)).collect();
        let answers = self.all_logits(inputs).into_iter().enumerate();
        let sum = answers.map(|(code, y)| turned_back(y, code)).reduce(|sum, y| sum + y);
        let sum = sum.unwrap_or_else(|| unreachable!("there are eight"));
        self.mask(target, sum / SYMMETRIES as f64)
    }
}

/// [`MaskNetwork::host_logits`] by tensors.
pub(crate) fn host_logits(
    logits: impl FnOnce(Tensor<4>) -> Tensor<4>,
    targets: TensorData,
    device: &Device,
    precision: DType,
) -> Result<TensorData, ExecutionError> {
    let found = logits(Tensor::<4>::from_data(targets, device).cast(precision));
    found.cast(DType::F32).try_into_data()
}

impl Head {
    /// Side of a pixel of the mask, in nm.
    pub fn mask_pixel_nm(&self) -> f64 {
        self.pixel_nm / self.upsample as f64
    }

    /// Masks as [`MaskNetwork::mask`] makes them, on a GPU in one launch and without Burn's graph: [`Head::led_back`] is the way back.
    ///
    /// # Panics
    ///
    /// If there are not as many logits as pixels of targets.
    pub fn opened(&self, target: Tensor<3>, change: Tensor<4>) -> Tensor<3> {
        let change = change.cast(DType::F32).squeeze_dim::<3>(1);
        let target = target.cast(DType::F32);
        assert_eq!(target.dims(), change.dims(), "a logit for each pixel of a target");
        let (target_logit, scale) = (self.target_logit as f32, self.logit_scale as f32);
        enlarge::mask(target, change, Bend { target_logit, scale }, self.upsample.max(1))
    }

    /// The gradient of a network's logits, `[batch, 1, n, n]`, times `factor`, from that of what its masks are the sigmoid of,
    /// `[batch, u·n, u·n]`, on a GPU.
    pub fn led_back(&self, slope: Tensor<3>, factor: f64) -> Tensor<4> {
        let scale = (factor * self.logit_scale) as f32;
        enlarge::gathered_slope(slope, self.upsample.max(1), scale).unsqueeze_dim(1)
    }

    /// The mask's logits at the network's pixels, in f32.
    pub(crate) fn logits(&self, target: Tensor<3>, change: Tensor<4>) -> Tensor<3> {
        let own = (target * 2.0 - 1.0) * self.target_logit;
        let logits = own + change.cast(DType::F32).squeeze_dim::<3>(1);
        logits * self.logit_scale
    }

    /// Bilinear interpolation between pixel middles.
    fn enlarged(&self, logits: Tensor<3>) -> Tensor<3> {
        let factor = self.upsample;
        if factor <= 1 {
            return logits;
        }
        let [batch, n, _] = logits.dims();
        let offset = |j: usize| (j as f64 + 0.5) / factor as f64 - 0.5;
        let offsets: Vec<Vec<f64>> = (0..factor).map(|j| vec![offset(j); n]).collect();
        let tall = enlarged(logits.unsqueeze_dim::<4>(1), &offsets);
        let m = n * factor;
        enlarged(tall.reshape([batch, m, n, 1]), &offsets).reshape([batch, m, m])
    }
}

/// Logits of several inputs: those of one shape are batches of `most` images at most.
pub(crate) fn all_at_once(
    inputs: Vec<Tensor<4>>,
    most: usize,
    logits: impl Fn(Tensor<4>) -> Tensor<4>,
) -> Vec<Tensor<4>> {
    let Some(first) = inputs.first().map(Tensor::dims) else { return inputs };
    let together = (most / first[0].max(1)).max(1);
    if inputs.iter().any(|x| x.dims() != first) || together == 1 {
        return inputs.into_iter().map(logits).collect();
    }
    let batch =
        |inputs: &[Tensor<4>]| logits(Tensor::cat(inputs.to_vec(), 0)).chunk(inputs.len(), 0);
    inputs.chunks(together).flat_map(batch).collect()
}

/// Symmetries of the square: two mirrors and a transposition, one bit each.
const SYMMETRIES: usize = 8;

fn turned(x: Tensor<4>, code: usize) -> Tensor<4> {
    let x = if code & 1 == 0 { x } else { x.flip([2]) };
    let x = if code & 2 == 0 { x } else { x.flip([3]) };
    if code & 4 == 0 { x } else { x.swap_dims(2, 3) }
}

fn turned_back(x: Tensor<4>, code: usize) -> Tensor<4> {
    let x = if code & 4 == 0 { x } else { x.swap_dims(2, 3) };
    let x = if code & 2 == 0 { x } else { x.flip([3]) };
    if code & 1 == 0 { x } else { x.flip([2]) }
}
