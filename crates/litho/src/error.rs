//! What can go wrong in a simulation.

use std::path::PathBuf;

/// Why a simulation could not run.
#[derive(Debug, thiserror::Error)]
pub enum LithoError {
    /// The file system said no.
    #[error("cannot read optical kernels from {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// The bytes are no set of kernels.
    #[error("{path} is not a set of optical kernels: {problem}")]
    Kernels {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Optics that no lens can have.
    #[error("optics: {0}")]
    Optics(String),
    /// A process that no line runs.
    #[error("{name} is {value}; expected {least} to {most}")]
    Process {
        /// What it is the value of.
        name: String,
        /// What came.
        value: f64,
        /// The least that can be.
        least: f64,
        /// The most that can be.
        most: f64,
    },
    /// A pixel size or grid that the kernels do not fit.
    #[error("{0}")]
    Grid(String),
    /// The device failed.
    #[error("the device failed while it {doing}: {problem}")]
    Device {
        /// What was under way.
        doing: &'static str,
        /// What it said.
        problem: String,
    },
    /// The user asked to stop.
    #[error("interrupted: nothing was written")]
    Interrupted,
}
