//! How a batch fails, and so what becomes of its requests.

use std::any::Any;

/// Why a device did not do a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The batch does not fit the device's memory. It is tried again in halves, and the device takes no batch as large any more.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// The device is gone for the life of the process. Its requests go to other devices.
    #[error("device lost: {0}")]
    Lost(String),
    /// The executor failed in a way that a new one may not, e.g. it panicked. Its requests are tried again, each alone.
    #[error("executor broke: {0}")]
    Broken(String),
    /// The request itself is wrong: no device could do it. Its client is told so.
    #[error("{0}")]
    Request(String),
    /// Nobody waits for the batch any more, and it was left undone.
    #[error("stopped")]
    Stopped,
}

impl Fault {
    /// Reads what a panic carried: a `Fault` that was panicked with is itself, a text is [`Fault::Broken`].
    #[must_use]
    pub fn of_panic(payload: &(dyn Any + Send)) -> Self {
        if let Some(fault) = payload.downcast_ref::<Self>() {
            return fault.clone();
        }
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Self::Broken(text.unwrap_or("panicked without a message").into())
    }
}
