//! Training: fits networks' weights through the lithography simulator.
//!
//! Masks have no labels. A clip is generated, the network proposes a mask, the simulator prints it at
//! the three corners, and the print's error is what Adam descends on. So the network learns from
//! physics, on as many clips as the time allows, and never sees the same one twice. Only GAN-OPC's
//! adversarial phase asks the ILT solver for examples.
//!
//! A run can be killed at any time and started again: it goes on from its last validation, with the same
//! clips as if nothing had happened. Several devices share a batch: each has the whole network, and what each learns from its part
//! is summed over all before any moves a weight.

mod adam;
mod adversary;
mod checkpoint;
mod clips;
mod config;
mod files;
mod first;
mod fused;
mod labels;
mod lost;
mod masks;
mod objective;
pub mod pace;
mod replica;
mod replicas;
mod run;
mod sums;
mod surrogate;
mod target;
mod values;

use std::path::PathBuf;

use burn::tensor::Tensor;
use lithoburn_layout::LayoutError;
use lithoburn_litho::LithoError;
use serde::{Deserialize, Serialize};

pub use checkpoint::FILE as CHECKPOINT;
pub use clips::{ClipSource, ClipStream, field_clip};
pub use config::{Adversarial, Network, TrainConfig};
pub use lost::Lost;
pub use run::train;
pub use surrogate::{SurrogateRecord, SurrogateTraining, TrainedSurrogate, train_surrogate};
pub use target::Target;

/// A line of the training log.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Seconds since the start.
    pub seconds: f64,
    /// Soft error per clip, in nm².
    pub loss_nm2: f64,
    /// L2 of hard masks per validation clip, in nm², if this step was validated.
    pub l2_nm2: Option<f64>,
    /// PV band of hard masks per validation clip, in nm².
    pub pvb_nm2: Option<f64>,
    /// The discriminator's share of right answers, in the adversarial phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_apart: Option<f64>,
}

/// A validation clip and what the network makes of it, on one grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Pixels on a side.
    pub size: usize,
    /// The target, 0 to 1.
    pub target: Vec<f32>,
    /// The network's mask, 0 to 1.
    pub mask: Vec<f32>,
    /// The nominal print of the mask made hard, 0 or 1.
    pub print: Vec<f32>,
}

/// News of a run.
#[derive(Clone, Debug)]
pub enum News<'a> {
    /// The run goes on where a former one stopped: the log up to there.
    Resumed(&'a [Record]),
    /// A card that could train the network as one operation trains it layer by layer, and why.
    LayerByLayer(&'a str),
    /// Several devices whose gradients travel through the host, and why.
    ThroughHost(&'a str),
    /// Examples by the ILT solver, made so far and in all.
    Labels(usize, usize),
    /// A look at the loss; with a validation, what the network makes of some clips.
    Look(&'a Record, &'a [Sample]),
}

/// What a run leaves.
#[derive(Clone, Debug, Serialize)]
pub struct Trained {
    /// The log.
    #[serde(skip)]
    pub records: Vec<Record>,
    /// The best validation's step.
    pub best_step: usize,
    /// The best validation's L2 per clip, in nm².
    pub best_l2_nm2: f64,
    /// The best validation's PV band per clip, in nm².
    pub best_pvb_nm2: f64,
    /// SHA-256 of the best weights.
    pub hash: String,
    /// Why the run ended.
    pub end: End,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Its schedule was done.
    Done,
    /// No validation had been better for a while.
    EarlyStop,
    /// It was asked to stop, and can be resumed.
    Stopped,
}

/// Why training stopped without weights.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A configuration that cannot be trained.
    #[error("{0}")]
    Config(String),
    /// The simulator failed.
    #[error(transparent)]
    Litho(#[from] LithoError),
    /// A file could not be written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Weights could not be read back.
    #[error(transparent)]
    Weights(#[from] lithoburn_models::WeightsError),
    /// A surrogate's loss is no number any more.
    #[error("the loss is {loss} at step {step}: lower --learning-rate")]
    Diverged {
        /// The step.
        step: usize,
        /// Its loss.
        loss: f32,
    },
    /// A number is none any more. Nothing was written with it.
    #[error(
        "training stopped: {0}; nothing was saved with it, and the same command goes on from the last validation; \
         if it happens again, lower --learning-rate"
    )]
    Lost(Lost),
    /// The weights could not be encoded.
    #[error("cannot write weights to {0}: {1}")]
    Save(PathBuf, String),
    /// The weights have no form that a file could hold.
    #[error("the weights cannot be encoded: {0}")]
    Encode(String),
    /// A device failed. What was learned since the last validation is lost.
    #[error("training stopped: {0}; the same command goes on from the last validation")]
    Devices(#[from] lithoburn_ranks::PipelineError),
    /// Weights that must be the same on all devices are not.
    #[error(
        "training stopped: the weights of device {device} of {devices} are no longer the first one's ({what}): a card or the way between \
         has made a mistake; the same command goes on from the last validation"
    )]
    Apart {
        /// The device, from 1.
        device: usize,
        /// How many there are.
        devices: usize,
        /// Which weights those are.
        what: String,
    },
    /// A former run's state or examples cannot be used.
    #[error("{0}: {1}")]
    Resume(PathBuf, String),
}

/// A tensor's numbers; waits for the device.
pub(crate) fn read<const D: usize>(
    tensor: Tensor<D>,
    doing: &'static str,
) -> Result<Vec<f32>, TrainError> {
    let failed =
        |e: burn::tensor::TensorReadError| LithoError::Device { doing, problem: e.to_string() };
    Ok(tensor.try_into_vec_as::<f32>().map_err(failed)?)
}

/// A single number; waits for the device.
pub(crate) fn scalar(value: Tensor<1>, doing: &'static str) -> Result<f32, TrainError> {
    Ok(read(value, doing)?[0])
}
