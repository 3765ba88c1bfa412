//! What can go wrong in the main job: what its parts say.

use lithoburn_layout::LayoutError;
use lithoburn_litho::LithoError;
use lithoburn_models::WeightsError;
use lithoburn_pictures::PictureError;

/// Why a run left no mask.
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
    /// A picture.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The devices.
    #[error("{0}")]
    Pool(String),
    /// One network on several devices.
    #[error(transparent)]
    Parallel(#[from] lithoburn_models::ParallelError),
    /// The user ended the run.
    #[error("interrupted: {0}")]
    Stopped(String),
    /// A setting that fits nothing.
    #[error("{0}")]
    Setting(String),
}

impl From<lithoburn_pool::PoolError<Self>> for EngineError {
    fn from(error: lithoburn_pool::PoolError<Self>) -> Self {
        match error {
            lithoburn_pool::PoolError::Tasks(ours) | lithoburn_pool::PoolError::Sink(ours) => ours,
            theirs => Self::Pool(theirs.to_string()),
        }
    }
}
