//! Files of other programs: networks written as ONNX, PyTorch checkpoints read as weights of ours.
//!
//! | file | what |
//! |---|---|
//! | [`onnx`] | a network's [`Program`](lithoburn_models::Program) as an ONNX file |
//! | [`pytorch`] | the tensors of PyTorch's checkpoints |
//! | [`published`] | published networks' checkpoints as weights of ours |
//!
//! Nothing but the jobs `export` and `import` needs this crate. Its dependencies are chosen for what they leave alone: a crate that adds a
//! feature to one below Burn builds all of Burn again.
//!
//! * ZIP archives are `rawzip`'s, which depends on nothing.
//! * ONNX messages are encoded by `prost` without its derive, which would add features to `either`; so they are declared
//!   by a macro ([`onnx::proto`]). `onnx-protobuf` has them ready, on a runtime ten times the size of this crate.
//! * Pickles are read here. `pytorch-reader`, which is Burn's own, brings `zip`, `tar` and eighteen more crates, and adds a feature to `memchr`;
//!   `serde-pickle` knows neither persistent identifiers nor calls, which is what a checkpoint's tensors are made of.

pub mod onnx;
pub mod published;
pub mod pytorch;

use std::path::PathBuf;

pub use onnx::export;
pub use published::{Imported, Published, import};
pub use pytorch::Checkpoint;

/// Why a file of another program could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// A size that the network cannot take.
    #[error("the network takes sides that are multiples of {stride} pixels, got {size}")]
    Size {
        /// The size that was asked for.
        size: usize,
        /// What it must be a multiple of.
        stride: usize,
    },
    /// The weights are on a device that does not answer.
    #[error("cannot read the weights: {0}")]
    Device(String),
    /// The file system said no.
    #[error("cannot read a checkpoint from {0}: {1}")]
    Read(PathBuf, #[source] std::io::Error),
    /// A file that is no checkpoint.
    #[error("{path} is no PyTorch checkpoint that can be read: {problem}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A checkpoint of another network, or with values that are no numbers.
    #[error("{path} does not hold these weights: {problem}")]
    Tensors {
        /// The file.
        path: PathBuf,
        /// Which tensor, and what is wrong with it.
        problem: String,
    },
    /// The weights do not make a network of ours.
    #[error(transparent)]
    Weights(#[from] lithoburn_models::WeightsError),
}
