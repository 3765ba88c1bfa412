//! What can go wrong in the main job: what its parts say.

use lithoburn_layout::LayoutError;
use lithoburn_litho::LithoError;
use lithoburn_models::WeightsError;

/// Why a job left no mask.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The simulation.
    #[error(transparent)]
    Litho(#[from] LithoError),
    /// The network.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A setting that fits nothing.
    #[error("{0}")]
    Setting(String),
}
