//! What goes wrong in a farm, said so that a person knows what to do.

use std::path::PathBuf;

/// Why something of a farm could not be done.
#[derive(Debug, thiserror::Error)]
pub enum FarmError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {1}", path = .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// A file or folder cannot be written.
    #[error(
        "cannot write {path}: {1}; what was committed before is kept, and blocks that were not go to other workers",
        path = .0.display()
    )]
    Write(PathBuf, #[source] std::io::Error),
    /// A file is not what it should be.
    #[error("{}: {problem}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A folder belongs to another job, or a worker does not fit the job.
    #[error("{0}")]
    Refused(String),
    /// A setting that fits nothing.
    #[error("{0}")]
    Setting(String),
    /// The server, or its store, cannot be used.
    #[error("{0}")]
    Server(String),
    /// The work itself failed on this machine, whatever the block.
    #[error("{0}")]
    Work(String),
    /// Blocks cannot be computed, or were computed with two results.
    #[error("{0}")]
    Parked(String),
    /// The user asked to stop.
    #[error("stopped: {0}")]
    Stopped(String),
}
