//! A part of a network on a thread of its own: how its work is made, and the thread.

use std::thread::JoinHandle;

use crate::error::PipelineError;

/// What a stage does with an item.
pub type Work<A, B = A> = Box<dyn FnMut(A) -> Result<B, PipelineError>>;

/// Makes a stage's work on the stage's own thread.
pub type Make<A, B = A> = Box<dyn FnOnce() -> Result<Work<A, B>, PipelineError> + Send>;

/// A stage that is ready as it is.
pub fn ready<A: 'static, B: 'static>(
    work: impl FnMut(A) -> Result<B, PipelineError> + Send + 'static,
) -> Make<A, B> {
    Box::new(move || Ok(Box::new(work)))
}

/// A thread with a name.
pub(crate) fn started(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, PipelineError> {
    let failed = |error| PipelineError::Failed(format!("no thread could be started: {error}"));
    std::thread::Builder::new().name(name.into()).spawn(work).map_err(failed)
}
