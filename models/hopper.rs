//! A network's forward pass on NVIDIA Hopper as one operation of the backend.
//!
//! Layer by layer, a network is some eighty operations of Burn, whose convolutions reach a thirtieth of such a card. Here its [`Program`]
//! is fused into a few [`steps`](crate::steps), each one launch of a kernel that is written for the card (`kernels.cu`): implicit products of matrices by
//! `wgmma`, fed by the copy engine, with everything that follows a convolution in its last lines. Weights are cast to bf16, laid
//! out and padded once ([`weights`]); images between steps are bf16, sums f32.
//!
//! Where the card, the network or the compiler is another, the layers run one by one, as they do on every other device: [`Hopper::new`]
//! says why. Gradients are made likewise ([`training`]). Where it is asked for, images and weights have eight bits ([`Prepared::in_eight_bits`]).
#![cfg_attr(
    not(feature = "gpu"),
    allow(unused_variables, reason = "a program without GPUs has no backend of these")
)]

#[cfg(feature = "gpu")]
mod backward;
mod eight_bits;
#[cfg(feature = "gpu")]
mod forward;
#[cfg(feature = "gpu")]
mod launch;
#[cfg(feature = "gpu")]
mod places;
#[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "read by launches alone"))]
pub(crate) mod plan;
#[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "read by launches alone, and by tests"))]
mod recording;
#[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "read by launches alone, and by tests"))]
mod room;
mod tape;
#[cfg(test)]
mod tests;
#[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "read by launches alone, and by tests"))]
mod tiles;
pub mod training;
pub mod weights;

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExecutionError, backend_extension};
#[cfg(feature = "gpu")]
use burn::tensor::Shape;
use burn::tensor::{DType, Device, Tensor, TensorData};
#[cfg(feature = "gpu")]
use {burn::backend::fusion::custom::TensorSpec, burn_cubecl::CubeBackend};

use self::eight_bits::EightBits;
use self::recording::{Recordings, Replayed};
use self::weights::{Packed, Place};
use crate::head::{Head, MaskNetwork, all_at_once, host_logits};
use crate::program::Program;
use crate::steps::{Grain, NoStep, Steps};
use crate::trial::Trial;

/// Images of a batch that several inputs are put into: they fill a card, and images between steps stay below some gigabytes.
const MOST_AT_ONCE: usize = 64;
/// The extent whose kernels the trial compiles: a batch of tiles of 2048 nm. Other extents have the same text with other constants. Few pixels
/// have a kernel of their own, which a run without them should not have to compile: tests on a card hold that it makes the same bits.
const USUAL: Extent = Extent { batch: 24, height: 256, width: 256 };

/// Why a network runs layer by layer on a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFused {
    /// The device is no Hopper card.
    #[error("the device is no NVIDIA card of compute capability 9.0")]
    Card,
    /// A layer that no kernel computes.
    #[error(transparent)]
    Layer(#[from] NoStep),
    /// The kernels do not run, or not right, on this device.
    #[error("its kernels failed their trial: {0}")]
    Trial(String),
    /// A precision that gradients are not given out in.
    #[error("gradients are given out in f32 or bf16, not in {0:?}")]
    Precision(DType),
}

/// Images of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Extent {
    pub(crate) batch: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Extent {
    /// Height and width of images that are smaller by a factor.
    pub(crate) fn shrunk(self, factor: usize) -> [usize; 2] {
        [self.height / factor, self.width / factor]
    }
}

/// A network's steps, and where their weights begin.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub(crate) steps: Steps,
    #[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "read by launches alone"))]
    pub(crate) places: Vec<Place>,
}

/// The forward pass as an operation of a backend.
#[backend_extension(Cube: cfg(feature = "gpu"), Fusion: cfg(feature = "gpu"))]
pub(crate) trait FusedPass: Backend {
    /// Logits of `[batch, 1, height, width]`, both f32. Kernels are those for images of `tiled_for`; else what was recorded is replayed.
    #[fusion(dtype = x, shape = same_shape(x))]
    fn fused_pass(
        x: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        compiled: Arc<Compiled>,
        tiled_for: Option<Extent>,
        recordings: Arc<Recordings>,
    ) -> FloatTensor<Self>;

    /// Such logits, and all images on a tape.
    #[fusion(meta = taped_meta)]
    fn taped_pass(
        x: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        compiled: Arc<Compiled>,
        tiled_for: Option<Extent>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

#[cfg(feature = "gpu")]
fn same_shape(x: &Shape) -> Shape {
    x.clone()
}

#[cfg(feature = "gpu")]
fn taped_meta(
    x: &TensorSpec,
    _weights: &TensorSpec,
    _numbers: &TensorSpec,
    compiled: &Arc<Compiled>,
    _tiled_for: &Option<Extent>,
) -> (TensorSpec, TensorSpec) {
    let [batch, _, height, width] = x.shape.dims::<4>();
    let (_, length) = tape::tape_places(&compiled.steps, Extent { batch, height, width });
    (x.clone(), TensorSpec::new(Shape::from([length]), DType::BF16))
}

#[cfg(feature = "gpu")]
impl FusedPass for CubeBackend {
    fn fused_pass(
        x: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        compiled: Arc<Compiled>,
        tiled_for: Option<Extent>,
        recordings: Arc<Recordings>,
    ) -> FloatTensor<Self> {
        recording::run(x, [weights, numbers], &compiled, tiled_for, &recordings)
    }

    fn taped_pass(
        x: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        compiled: Arc<Compiled>,
        tiled_for: Option<Extent>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        forward::recorded(x, [weights, numbers], &compiled, tiled_for)
    }
}

/// A network on a Hopper card.
#[derive(Clone, Debug)]
pub struct Hopper {
    compiled: Arc<Compiled>,
    recordings: Arc<Recordings>,
    weights: Tensor<1>,
    numbers: Tensor<1>,
    head: Head,
    stride: usize,
}

/// Whether a device is a card that the kernels are for.
pub fn is_hopper(device: &Device) -> bool {
    #[cfg(feature = "gpu")]
    return device.identity().is_some_and(|card| card.fingerprint == "ptx_sm90");
    #[cfg(not(feature = "gpu"))]
    {
        let _ = device;
        false
    }
}

impl Hopper {
    /// A network on a card, once its kernels have computed there what the CPU computes.
    ///
    /// # Errors
    ///
    /// [`NotFused`], in words for the user: the network runs layer by layer then.
    pub fn new(program: &Program, device: &Device) -> Result<Self, NotFused> {
        match is_hopper(device) {
            true => Prepared::of(program)?.on(device),
            false => Err(NotFused::Card),
        }
    }

    /// Weights on a card, with the head and the stride of their network.
    fn placed(
        (head, stride): (Head, usize),
        steps: Steps,
        packed: Packed,
        device: &Device,
    ) -> Self {
        let Packed { halves, numbers, places } = packed;
        let (many, few) = ([halves.len()], [numbers.len()]);
        let options = |dtype| (device, dtype);
        Self {
            compiled: Arc::new(Compiled { steps, places }),
            recordings: Arc::default(),
            weights: Tensor::from_data(TensorData::new(halves, many), options(DType::BF16)),
            numbers: Tensor::from_data(TensorData::new(numbers, few), options(DType::F32)),
            head,
            stride,
        }
    }

    /// What its layers became.
    pub fn steps(&self) -> &Steps {
        &self.compiled.steps
    }

    fn pass(&self, x: Tensor<4>, tiled_for: Option<Extent>) -> Tensor<4> {
        let dtype = x.dtype();
        let x = x.cast(DType::F32);
        let [weights, numbers] = [&self.weights, &self.numbers].map(|t| t.clone().into_dispatch());
        let compiled = self.compiled.clone();
        let y = <Dispatch as FusedPass>::fused_pass(
            x.into_dispatch(),
            weights,
            numbers,
            compiled,
            tiled_for,
            self.recordings.clone(),
        );
        Tensor::<4>::from_dispatch(y).cast(dtype)
    }

    /// Logits of images in f32, and all images between steps: [`tape::tape_places`] says where each is.
    fn taped(&self, x: Tensor<4>, tiled_for: Option<Extent>) -> (Tensor<4>, Tensor<1>) {
        let [weights, numbers] = [&self.weights, &self.numbers].map(|t| t.clone().into_dispatch());
        let (x, compiled) = (x.into_dispatch(), self.compiled.clone());
        let (logits, tape) =
            <Dispatch as FusedPass>::taped_pass(x, weights, numbers, compiled, tiled_for);
        (Tensor::from_dispatch(logits), Tensor::from_dispatch(tape))
    }
}

/// What a card must show before it is used.
#[derive(Clone, Debug)]
enum Proof {
    /// Logits of the CPU in f32.
    Logits(Trial),
    /// Each step's image.
    Images(eight_bits::trial::Trial),
}

/// All of a network that a card needs and the host computes: laid out, with what it must find in its trial.
#[derive(Clone, Debug)]
pub struct Prepared {
    steps: Steps,
    packed: Packed,
    head: Head,
    stride: usize,
    proof: Proof,
}

impl Prepared {
    /// Lays a network out. No card need be there.
    ///
    /// # Errors
    ///
    /// [`NotFused::Layer`] if a layer has no kernel, [`NotFused::Trial`] if the CPU does not compute it.
    pub fn of(program: &Program) -> Result<Self, NotFused> {
        let steps = Steps::of(program, Grain::HOPPER)?;
        let packed = Packed::of(program, &steps).map_err(NotFused::Trial)?;
        let proof = Proof::Logits(Trial::of(program).map_err(NotFused::Trial)?);
        let (head, stride) = (program.head, program.stride);
        Ok(Self { steps, packed, head, stride, proof })
    }

    /// The same with weights and images in eight bits (e4m3), which a card multiplies twice as fast. Logits are off by some per cent. `targets`
    /// `[batch, 1, height, width]`, with sides that are multiples of the stride, are what the numbers' scales come from: what is larger in another
    /// image than it was in any of these is kept as large as it was there, or up to twice that.
    ///
    /// # Errors
    ///
    /// [`NotFused::Layer`] if a layer has no such kernel, [`NotFused::Trial`] if the CPU does not compute it.
    pub fn in_eight_bits(program: &Program, targets: &Tensor<4>) -> Result<Self, NotFused> {
        let steps = Steps::of(program, Grain::HOPPER)?.in_eight_bits()?;
        let EightBits { packed, trial } =
            EightBits::of(program, &steps, targets).map_err(NotFused::Trial)?;
        let (head, stride) = (program.head, program.stride);
        Ok(Self { steps, packed, head, stride, proof: Proof::Images(trial) })
    }

    /// The network on a card, once its kernels have computed there what the CPU computed.
    ///
    /// # Errors
    ///
    /// As [`Hopper::new`].
    pub fn on(self, device: &Device) -> Result<Hopper, NotFused> {
        if !is_hopper(device) {
            return Err(NotFused::Card);
        }
        let Self { steps, packed, head, stride, proof } = self;
        let fused = Hopper::placed((head, stride), steps, packed, device);
        let passed = match proof {
            Proof::Logits(trial) => trial.passed(fused.pass(trial.images(device), Some(USUAL))),
            Proof::Images(trial) => trial.passed(&fused, device),
        };
        passed.map(|()| fused).map_err(NotFused::Trial)
    }
}

impl MaskNetwork for Hopper {
    fn head(&self) -> Head {
        self.head
    }

    fn stride(&self) -> usize {
        self.stride
    }

    /// Computes in bf16, or in e4m3 where it was prepared so, with sums in f32, whatever the input's precision.
    fn logits(&self, x: Tensor<4>) -> Tensor<4> {
        self.pass(x, None)
    }

    /// Few images, computed often, go there and back by one graph: from the third pass of their extent on, on the same thread, whether its first
    /// two were by tensors or not. Computes as [`Hopper::logits`] does, whatever `precision` says, on the network's own card.
    fn host_logits(
        &self,
        targets: TensorData,
        device: &Device,
        _precision: DType,
    ) -> Result<TensorData, ExecutionError> {
        match self.recordings.there_and_back(targets) {
            Replayed::Made(logits) => logits,
            Replayed::Unknown(targets) => {
                host_logits(|x| self.logits(x), targets, device, DType::F32)
            }
        }
    }

    /// In one launch.
    fn mask(&self, target: Tensor<3>, change: Tensor<4>) -> Tensor<3> {
        self.head.opened(target, change)
    }

    /// Inputs of one shape are one batch, as far as memory should go.
    fn all_logits(&self, inputs: Vec<Tensor<4>>) -> Vec<Tensor<4>> {
        all_at_once(inputs, MOST_AT_ONCE, |x| self.logits(x))
    }
}
