//! What went wrong, for HTTP and gRPC alike.

use std::io;

use crate::model::RequestError;
use crate::schedule::{Reason, Refusal};
use crate::tensor::TensorError;

/// The kind of a problem; HTTP and gRPC have a code for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such thing.
    NotFound,
    /// The request is wrong.
    Invalid,
    /// The request is longer than is read.
    TooLarge,
    /// The server cannot answer now.
    Unavailable,
    /// The queue is full.
    Exhausted,
    /// The request waited too long.
    Deadline,
    /// The client hung up.
    Canceled,
    /// The protocol has it, this server has not.
    Unsupported,
    /// A device failed.
    Internal,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Problem {
    /// Its kind.
    pub kind: Kind,
    /// What went wrong, and what was expected.
    pub text: String,
    /// Whether the scheduler has counted it.
    pub counted: bool,
}

impl Problem {
    /// A problem that is not counted yet.
    #[must_use]
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), counted: false }
    }

    /// The request is wrong.
    #[must_use]
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, text)
    }

    /// Its word in metrics.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self.kind {
            Kind::NotFound => Reason::UnknownModel,
            Kind::Invalid | Kind::Unsupported => Reason::Invalid,
            Kind::TooLarge => Reason::TooLarge,
            Kind::Unavailable => Reason::NotReady,
            Kind::Exhausted => Reason::QueueFull,
            Kind::Deadline => Reason::Deadline,
            Kind::Canceled => Reason::Canceled,
            Kind::Internal => Reason::Failed,
        }
    }
}

impl From<Refusal> for Problem {
    /// The scheduler counts what it refuses.
    fn from(refusal: Refusal) -> Self {
        let kind = match &refusal {
            Refusal::Unknown(_) => Kind::NotFound,
            // Triton's answer to a model that is not ready is that of a wrong request.
            Refusal::NotReady { .. }
            | Refusal::Invalid(_)
            | Refusal::Wrong(_)
            | Refusal::TooLarge { .. } => Kind::Invalid,
            Refusal::QueueFull(_) => Kind::Exhausted,
            Refusal::Deadline => Kind::Deadline,
            Refusal::Canceled => Kind::Canceled,
            Refusal::Stopping | Refusal::NoDevice(_) => Kind::Unavailable,
            Refusal::Failed { .. } => Kind::Internal,
        };
        Self { kind, text: refusal.to_string(), counted: true }
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<TensorError> for Problem {
    fn from(error: TensorError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::invalid(format!("cannot use shared memory: {error}"))
    }
}
