//! Why a request is not answered.

use std::fmt;

use crate::model::RequestError;

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The queue is full.
    #[error("Exceeds maximum queue size: {0} requests wait already; try again later")]
    QueueFull(usize),
    /// It waited until its deadline.
    #[error("Request timeout expired")]
    Deadline,
    /// Its client hung up.
    #[error("the client hung up")]
    Canceled,
    /// The server takes no new work.
    #[error("the server is stopping and takes no new requests")]
    Stopping,
    /// There is no such model, or no such version of it.
    #[error("Request for unknown model: {0} is not found")]
    Unknown(String),
    /// The model is there, but not ready.
    #[error("model '{model}' is not ready: {why}")]
    NotReady {
        /// The model.
        model: String,
        /// What it waits for, or why it failed.
        why: String,
    },
    /// No device that has the model is left.
    #[error("no device computes model '{0}' any more")]
    NoDevice(String),
    /// It does not fit its model.
    #[error(transparent)]
    Invalid(#[from] RequestError),
    /// The model found it wrong.
    #[error("{0}")]
    Wrong(String),
    /// It is larger than the largest device holds.
    #[error("a request of {came} pixels is too large for model '{model}': its devices hold {most}")]
    TooLarge {
        /// The model.
        model: String,
        /// Pixels of the request.
        came: usize,
        /// Pixels that the largest device holds.
        most: usize,
    },
    /// Devices failed with it.
    #[error("failed {tries} times, last on {device}: {why}")]
    Failed {
        /// How often it was tried.
        tries: usize,
        /// The last device.
        device: String,
        /// What it said.
        why: String,
    },
}

/// A word for each [`Refusal`], as metrics count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// [`Refusal::QueueFull`].
    QueueFull,
    /// [`Refusal::Deadline`].
    Deadline,
    /// [`Refusal::Canceled`].
    Canceled,
    /// [`Refusal::Stopping`].
    Stopping,
    /// [`Refusal::Unknown`].
    UnknownModel,
    /// [`Refusal::NotReady`].
    NotReady,
    /// [`Refusal::NoDevice`].
    NoDevice,
    /// [`Refusal::Invalid`], [`Refusal::Wrong`], and what the protocol could not read.
    Invalid,
    /// [`Refusal::TooLarge`].
    TooLarge,
    /// [`Refusal::Failed`].
    Failed,
}

impl Reason {
    /// All.
    pub const ALL: [Self; 10] = [
        Self::QueueFull,
        Self::Deadline,
        Self::Canceled,
        Self::Stopping,
        Self::UnknownModel,
        Self::NotReady,
        Self::NoDevice,
        Self::Invalid,
        Self::TooLarge,
        Self::Failed,
    ];

    /// Its label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Deadline => "deadline",
            Self::Canceled => "canceled",
            Self::Stopping => "stopping",
            Self::UnknownModel => "unknown_model",
            Self::NotReady => "not_ready",
            Self::NoDevice => "no_device",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::Failed => "failed",
        }
    }

    /// Triton's word for it, which is coarser.
    #[must_use]
    pub fn triton(self) -> &'static str {
        match self {
            Self::QueueFull | Self::Deadline | Self::Stopping | Self::NotReady | Self::NoDevice => {
                "REJECTED"
            }
            Self::Canceled => "CANCELED",
            Self::Failed => "BACKEND",
            Self::Invalid | Self::TooLarge | Self::UnknownModel => "OTHER",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl Refusal {
    /// Its word.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::QueueFull(_) => Reason::QueueFull,
            Self::Deadline => Reason::Deadline,
            Self::Canceled => Reason::Canceled,
            Self::Stopping => Reason::Stopping,
            Self::Unknown(_) => Reason::UnknownModel,
            Self::NotReady { .. } => Reason::NotReady,
            Self::NoDevice(_) => Reason::NoDevice,
            Self::Invalid(_) | Self::Wrong(_) => Reason::Invalid,
            Self::TooLarge { .. } => Reason::TooLarge,
            Self::Failed { .. } => Reason::Failed,
        }
    }
}
