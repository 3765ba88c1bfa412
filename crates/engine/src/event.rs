//! News of a run.

use serde::Serialize;

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Drawing polygons on rasters.
    Rasterize,
    /// Loading the model.
    Load,
    /// Finding masks.
    Optimize,
    /// Fitting rectangles to a mask.
    Fit,
    /// Simulating and measuring.
    Evaluate,
    /// Simulating alone.
    Simulate,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// What it is doing.
    pub phase: Phase,
    /// Steps of the phase that are done.
    pub done: usize,
    /// Steps of the phase.
    pub total: usize,
    /// Error per field, in nm², if it was just read.
    pub loss_nm2: Option<f64>,
}

impl Event {
    /// So many steps of a phase are done.
    pub(crate) fn new(phase: Phase, done: usize, total: usize) -> Self {
        Self { phase, done, total, loss_nm2: None }
    }
}
