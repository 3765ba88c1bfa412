//! How a part of a network fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

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
        let named = |text: String| format!("{who}: {text}");
        match self {
            Self::OutOfMemory(text) => Self::OutOfMemory(named(text)),
            Self::Failed(text) => Self::Failed(named(text)),
            Self::Panicked(text) => Self::Panicked(named(text)),
            Self::Ended(text) => Self::Ended(text),
        }
    }
}

/// Runs something; a panic is an error.
///
/// # Errors
///
/// Its own, or [`PipelineError::Panicked`].
pub fn caught<T>(work: impl FnOnce() -> Result<T, PipelineError>) -> Result<T, PipelineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(PipelineError::Panicked(format!("panicked: {}", text.unwrap_or("no reason given"))))
    })
}
