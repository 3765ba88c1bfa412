//! One network on several devices, or on a device that is too small for it.
//!
//! A [`Program`] is a network's forward pass as a list of layers, which is what `forward` runs, so that every way of running the
//! list computes the same:
//!
//! | | cuts | each device holds | exchanged | for |
//! |---|---|---|---|---|
//! | [`Pipelined`] | layers | the weights of its stage | activation and skips, once a stage | many images, a network too large for one card |
//! | [`Sharded`] | channels | a part of every weight | sums after every second convolution | one image, low latency |
//! | [`Spatial`] | rows | all weights, a part of the image | rows at each convolution | one huge image |
//! | [`Offloaded`] | time | one layer's weights and the next one's | nothing | one small card |
//!
//! On the CPU, pipelines and offloading give the numbers of one device to the last bit; channels and rows change the order of sums,
//! which shows after six digits. All of them keep to the [`Budget`] of their devices, and an image that
//! does not fit is refused before it is computed.

pub mod cost;
mod cutter;
mod offloaded;
mod pipelined;
pub mod sharded;
mod spatial;
mod stage;
pub mod ways;

use burn::tensor::{Device, Tensor};
use lithoburn_ranks::PipelineError;
use lithoburn_ranks::budget::Budget;
use serde::Serialize;

use crate::head::{Head, MaskNetwork};
use crate::program::Program;

pub use cost::{LayerCost, StageNeed, costs};
pub use offloaded::Offloaded;
pub use pipelined::{PipelineTerms, Pipelined};
pub use sharded::{ShardTerms, Sharded};
pub use spatial::Spatial;
pub use ways::Speeds;

/// A network whose forward pass can be cut.
pub trait Parallel: MaskNetwork {
    /// Its forward pass. Weights are shared with the network, not copied.
    fn program(&self) -> Program;
}

/// A network on several devices, or in several steps on one: a [`MaskNetwork`] that can fail.
pub trait Distributed: Send {
    /// How its logits become a mask, and what sides of images must be multiples of.
    fn form(&self) -> (Head, usize);

    /// Logits of images, on the images' device.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Image`] for a wrong shape, [`ParallelError::Rank`] if a device's part failed: after
    /// [`Panicked`](PipelineError::Panicked) the network has to be made anew.
    fn try_logits(&self, x: Tensor<4>) -> Result<Tensor<4>, ParallelError>;

    /// Logits of several inputs, which may differ in shape.
    ///
    /// # Errors
    ///
    /// As [`Distributed::try_logits`].
    fn try_all(&self, inputs: Vec<Tensor<4>>) -> Result<Vec<Tensor<4>>, ParallelError> {
        inputs.into_iter().map(|x| self.try_logits(x)).collect()
    }

    /// How the last pass went.
    fn summary(&self) -> Summary;
}

/// Its methods panic where those of [`Distributed`] have an error.
impl<T: Distributed> MaskNetwork for T {
    fn head(&self) -> Head {
        self.form().0
    }

    fn stride(&self) -> usize {
        self.form().1
    }

    fn logits(&self, x: Tensor<4>) -> Tensor<4> {
        self.try_logits(x).unwrap_or_else(|error| panic!("{error}"))
    }

    fn all_logits(&self, inputs: Vec<Tensor<4>>) -> Vec<Tensor<4>> {
        self.try_all(inputs).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// How a pass went, in the same words for all ways.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Of the whole pass.
    pub wall_seconds: f64,
    /// What each device worked, its exchanges included.
    pub busy_seconds: Vec<f64>,
    /// Bytes that went between devices, or from the host.
    pub exchanged_bytes: u64,
    /// Seconds of that: of each rank, or of all stages together. On a GPU that is the time of asking, unless ranks were told to wait
    /// ([`ShardTerms::timed`]).
    pub exchange_seconds: Vec<f64>,
    /// A pipeline's bubble at best, for the seconds that its stages took.
    pub best_bubble: Option<f64>,
}

impl Summary {
    /// Share of the devices' time in which they stood idle.
    pub fn idle(&self) -> f64 {
        let whole = self.wall_seconds * self.busy_seconds.len() as f64;
        if whole > 0.0 { 1.0 - self.busy_seconds.iter().sum::<f64>() / whole } else { 0.0 }
    }
}

/// Why a network could not be laid out or run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParallelError {
    /// The cut is none.
    #[error("{0}")]
    Cut(String),
    /// An image that the network cannot take.
    #[error(
        "expected images [batch, 1, height, width] with sides that are multiples of {stride}, got {found:?}"
    )]
    Image {
        /// What sides must be multiples of.
        stride: usize,
        /// The shape that came.
        found: [usize; 4],
    },
    /// A device's part of the work failed.
    #[error(transparent)]
    Rank(#[from] PipelineError),
}

impl ParallelError {
    /// Whether less at a time may work.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Rank(PipelineError::OutOfMemory(_)))
    }
}

/// A device, and what of it may be used.
#[derive(Clone, Debug)]
pub struct Place {
    /// The device.
    pub device: Device,
    /// Its memory. Two places on one device share it if their budgets are clones.
    pub budget: Budget,
}

impl Place {
    /// A device without a limit; `name` is for messages.
    pub fn unlimited(name: &str, device: &Device) -> Self {
        Self { device: device.clone(), budget: Budget::unlimited(name) }
    }

    /// A device of which `bytes` may be used.
    pub fn limited(name: &str, device: &Device, bytes: u64) -> Self {
        Self { device: device.clone(), budget: Budget::new(name, bytes) }
    }
}

/// Refuses what the network cannot take.
fn check_image(x: &Tensor<4>, stride: usize) -> Result<[usize; 4], ParallelError> {
    let found @ [batch, channels, height, width] = x.dims();
    let fits = |side: usize| side > 0 && side.is_multiple_of(stride);
    match batch > 0 && channels == 1 && fits(height) && fits(width) {
        true => Ok(found),
        false => Err(ParallelError::Image { stride, found }),
    }
}

#[cfg(all(test, feature = "wgpu", feature = "cuda"))]
mod cards;
#[cfg(test)]
mod tests;
