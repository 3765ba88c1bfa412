//! How a part of a network fails.

use lithoburn_pool::panics;

use crate::budget::OverBudget;

/// Why a part of a network did not give its result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PipelineError {
    /// It needs more memory than it may use, or than there is. Smaller items may fit.
    #[error("{0}")]
    OutOfMemory(String),
    /// It could not compute this item; the next one may do.
    #[error("{0}")]
    Failed(String),
    /// It panicked, and its state is not known: make everything anew.
    #[error("{0}")]
    Panicked(String),
    /// It gave no answer in time, and its thread is left behind.
    #[error("{0}")]
    Hung(String),
    /// It was used after a panic.
    #[error("not usable any more, make it anew: {0}")]
    Ended(String),
}

impl From<OverBudget> for PipelineError {
    fn from(error: OverBudget) -> Self {
        Self::OutOfMemory(error.to_string())
    }
}

impl PipelineError {
    /// The same, with who it happened to.
    #[must_use]
    pub fn of(self, who: &str) -> Self {
        match self {
            Self::Ended(text) => Self::Ended(text),
            other => other.reworded(|text| format!("{who}: {text}")),
        }
    }

    /// The same in other words.
    pub(crate) fn reworded(self, words: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::OutOfMemory(text) => Self::OutOfMemory(words(text)),
            Self::Failed(text) => Self::Failed(words(text)),
            Self::Panicked(text) => Self::Panicked(words(text)),
            Self::Hung(text) => Self::Hung(words(text)),
            Self::Ended(text) => Self::Ended(words(text)),
        }
    }
}

/// Runs something; a panic is an error, with its place.
///
/// # Errors
///
/// Its own, or [`PipelineError::Panicked`].
pub fn caught<T>(work: impl FnOnce() -> Result<T, PipelineError>) -> Result<T, PipelineError> {
    panics::caught(work)
        .unwrap_or_else(|panic| Err(PipelineError::Panicked(format!("panicked: {panic}"))))
}
