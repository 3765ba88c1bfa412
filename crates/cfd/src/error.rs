//! What can be wrong with a flow problem, and how a solution can fail.

use crate::newton::History;

/// Why a flow could not be set up or solved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The problem makes no sense: which quantity, what was expected, what came, what to do.
    #[error("{0}")]
    Case(String),
    /// A body cannot have these parameters.
    #[error(transparent)]
    Shape(#[from] crate::shape::ShapeError),
    /// Newton's method did not reach its tolerance. The history says how far it came.
    #[error(
        "not converged after {} Newton steps: the residual fell to {:.1e} of its start, {:.0e} was asked for; \
         approach the Reynolds or Rayleigh number in smaller steps, or take a finer grid",
        .0.steps.len(), .0.reduction(), .0.tolerance
    )]
    NotConverged(Box<History>),
    /// A linear system could not be solved.
    #[error("the linear system of {unknowns} unknowns is singular: {reason}")]
    Singular {
        /// Its size.
        unknowns: usize,
        /// What the factorisation or the test of its residual said.
        reason: String,
    },
}

impl Error {
    /// A problem that makes no sense, in a sentence.
    pub fn case(sentence: impl Into<String>) -> Self {
        Self::Case(sentence.into())
    }
}
