//! Training: fits a network's weights through the lithography simulator.
//!
//! There are no labels. A clip is generated, the network proposes a mask, the simulator prints it at
//! the three corners, and the print's error is what Adam descends on. So the network learns from
//! physics, on as many clips as the time allows, and never sees the same one twice.

mod clips;
mod masks;
mod neural_ilt;
mod surrogate;

use std::path::PathBuf;

use lithoburn_layout::LayoutError;
use lithoburn_litho::LithoError;

pub use clips::{ClipStream, field_clip};
pub use neural_ilt::{Record, TrainConfig, Trained, train_neural_ilt};
pub use surrogate::{SurrogateRecord, SurrogateTraining, TrainedSurrogate, train_surrogate};

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
    /// The loss is no number any more.
    #[error("the loss is {loss} at step {step}: lower --learning-rate")]
    Diverged {
        /// The step.
        step: usize,
        /// Its loss.
        loss: f32,
    },
    /// The weights could not be encoded.
    #[error("cannot write weights to {0}: {1}")]
    Save(PathBuf, String),
}
