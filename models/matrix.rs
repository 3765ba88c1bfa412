//! A network's forward pass on GPUs with matrix units, as one operation of the backend: NVIDIA without `wgmma`, and Vulkan by cooperative matrices.
//!
//! The same [`steps`](crate::steps) as on a Hopper card, in CubeCL's own language: a 3×3 convolution is a product of matrices of 16 by 16
//! (`products`), whose bias, ReLU and pooling are in its last lines, and what is memory's work has kernels of its own (`thin`). Images
//! between steps are f16, sums f32.
//!
//! What a device reports decides whether it has this way (`means`, `has_matrix_units`), and a trial against the CPU whether it is taken.
//! The same kernels run where there are no products of matrices, number by number: so they are tested without a card.
#![cfg_attr(
    not(feature = "gpu"),
    allow(unused_variables, dead_code, reason = "a program without GPUs has no backend of these")
)]

#[cfg(feature = "gpu")]
mod forward;
#[cfg(feature = "gpu")]
mod halo;
#[cfg(feature = "gpu")]
mod last;
mod means;
#[cfg(feature = "gpu")]
mod products;
#[cfg(feature = "gpu")]
mod sums;
#[cfg(test)]
mod tests;
#[cfg(feature = "gpu")]
mod thin;
mod tiles;
mod weights;

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
#[cfg(feature = "gpu")]
use burn::tensor::Shape;
use burn::tensor::{DType, Device, Tensor, TensorData};
#[cfg(feature = "gpu")]
use burn_cubecl::CubeBackend;

use self::means::Means;
#[cfg(feature = "gpu")]
pub(crate) use self::means::{PLANE, SIDE};
#[cfg(feature = "gpu")]
pub(crate) use self::sums::accumulator;
use self::weights::{Packed, Place};
use crate::head::{Head, MaskNetwork, all_at_once};
use crate::hopper::Extent;
use crate::program::Program;
use crate::steps::{Grain, NoStep, Steps};
use crate::trial::Trial;

/// Images of a batch that several inputs are put into.
const MOST_AT_ONCE: usize = 64;
/// What the trial's kernels are tiled for: a field's eight symmetric images, so that a first correction finds its kernels compiled.
const USUAL: Extent = Extent { batch: 8, height: 256, width: 256 };

/// Why a network does not run by matrix units on a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMatrixUnits {
    /// The device has no such units, or does not say so.
    #[error(
        "the device reports no products of 16 x 16 matrices of f16 with sums in f32 by planes of 32 units"
    )]
    Device,
    /// A layer that no kernel computes.
    #[error(transparent)]
    Layer(#[from] NoStep),
    /// The kernels do not run, or not right, on this device.
    #[error("its kernels failed their trial: {0}")]
    Trial(String),
}

/// Whether a device reports what the kernels need.
pub fn has_matrix_units(device: &Device) -> bool {
    Means::of(device).is_some()
}

/// A network's steps, where their weights begin, and how they multiply.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    steps: Steps,
    places: Vec<Place>,
    means: Means,
}

/// The forward pass as an operation of a backend.
#[backend_extension(Cube: cfg(feature = "gpu"), Fusion: cfg(feature = "gpu"))]
pub(crate) trait MatrixPass: Backend {
    /// Logits of `[batch, 1, height, width]`, both f32. Kernels are those for images of `tiled_for`, or of the input.
    #[fusion(dtype = x, shape = same_shape(x))]
    fn matrix_pass(
        x: FloatTensor<Self>,
        products: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        compiled: Arc<Compiled>,
        tiled_for: Option<Extent>,
    ) -> FloatTensor<Self>;
}

#[cfg(feature = "gpu")]
fn same_shape(x: &Shape) -> Shape {
    x.clone()
}

#[cfg(feature = "gpu")]
impl MatrixPass for CubeBackend {
    fn matrix_pass(
        x: FloatTensor<Self>,
        products: FloatTensor<Self>,
        numbers: FloatTensor<Self>,
        compiled: Arc<Compiled>,
        tiled_for: Option<Extent>,
    ) -> FloatTensor<Self> {
        forward::run(x, [products, numbers], &compiled, tiled_for)
    }
}

/// A network on a GPU with matrix units.
#[derive(Clone, Debug)]
pub struct MatrixUnits {
    compiled: Arc<Compiled>,
    products: Tensor<1>,
    numbers: Tensor<1>,
    head: Head,
    stride: usize,
}

impl MatrixUnits {
    /// A network on a device, once its kernels have computed there what the CPU computes.
    ///
    /// # Errors
    ///
    /// [`NoMatrixUnits`], in words for the user: the network runs layer by layer then.
    pub fn new(program: &Program, device: &Device) -> Result<Self, NoMatrixUnits> {
        match has_matrix_units(device) {
            true => Prepared::of(program)?.on(device),
            false => Err(NoMatrixUnits::Device),
        }
    }

    /// What its layers became.
    pub fn steps(&self) -> &Steps {
        &self.compiled.steps
    }

    fn pass(&self, x: Tensor<4>, tiled_for: Option<Extent>) -> Tensor<4> {
        let dtype = x.dtype();
        let [products, numbers] =
            [&self.products, &self.numbers].map(|t| t.clone().into_dispatch());
        let y = <Dispatch as MatrixPass>::matrix_pass(
            x.cast(DType::F32).into_dispatch(),
            products,
            numbers,
            self.compiled.clone(),
            tiled_for,
        );
        Tensor::<4>::from_dispatch(y).cast(dtype)
    }
}

/// All of a network that a device needs and the host computes: laid out, with what it must find in its trial.
#[derive(Clone, Debug)]
pub struct Prepared {
    steps: Steps,
    packed: Packed,
    head: Head,
    stride: usize,
    trial: Trial,
}

impl Prepared {
    /// Lays a network out. No device need be there.
    ///
    /// # Errors
    ///
    /// [`NoMatrixUnits::Layer`] if a layer has no kernel, [`NoMatrixUnits::Trial`] if the CPU does not compute it.
    pub fn of(program: &Program) -> Result<Self, NoMatrixUnits> {
        let steps = Steps::of(program, Grain::MATRIX)?;
        let packed = Packed::of(program, &steps).map_err(NoMatrixUnits::Trial)?;
        let trial = Trial::of(program).map_err(NoMatrixUnits::Trial)?;
        Ok(Self { steps, packed, head: program.head, stride: program.stride, trial })
    }

    /// The network on a device, once its kernels have computed there what the CPU computed.
    ///
    /// # Errors
    ///
    /// As [`MatrixUnits::new`].
    pub fn on(&self, device: &Device) -> Result<MatrixUnits, NoMatrixUnits> {
        let means = Means::of(device).ok_or(NoMatrixUnits::Device)?;
        self.by(means, device).or_else(|problem| match means.without_words() {
            Some(means) => self.by(means, device),
            None => Err(problem),
        })
    }

    /// The same by given means.
    fn by(&self, means: Means, device: &Device) -> Result<MatrixUnits, NoMatrixUnits> {
        let network = self.placed(means, device);
        let logits = network.pass(self.trial.images(device), Some(USUAL));
        self.trial.passed(logits).map_err(NoMatrixUnits::Trial)?;
        Ok(network)
    }

    fn placed(&self, means: Means, device: &Device) -> MatrixUnits {
        let Packed { products, numbers, places } = &self.packed;
        let on_device = |values: &[f32]| {
            Tensor::<1>::from_data(
                TensorData::new(values.to_vec(), [values.len()]),
                (device, DType::F32),
            )
        };
        let (steps, places) = (self.steps.clone(), places.clone());
        MatrixUnits {
            compiled: Arc::new(Compiled { steps, places, means }),
            products: on_device(products).cast(means.dtype),
            numbers: on_device(numbers),
            head: self.head,
            stride: self.stride,
        }
    }
}

impl MaskNetwork for MatrixUnits {
    fn head(&self) -> Head {
        self.head
    }

    fn stride(&self) -> usize {
        self.stride
    }

    /// Computes with sums in f32, whatever the input's precision.
    fn logits(&self, x: Tensor<4>) -> Tensor<4> {
        self.pass(x, None)
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
