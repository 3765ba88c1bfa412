//! What can be wrong with a flow problem, and how a solution can fail.

/// Why a flow could not be set up or solved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The problem itself makes no sense: which quantity, what was expected, what came, what to do.
    #[error("{0}")]
    Case(String),
}
