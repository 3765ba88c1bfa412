//! A part of a network on a thread of its own: how its work is made, and the thread.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use lithoburn_pool::clock::Clock;

use crate::error::PipelineError;

/// Longest that is waited for a sign of life: longer than the compilation of all kernels, or a pass of a large image on the CPU.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1800);
/// How often the clock is looked at while nothing comes.
const TICK: Duration = Duration::from_millis(100);

/// How long to wait, by which clock.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    pub(crate) clock: Clock,
    pub(crate) longest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { clock: Clock::of_process(), longest: PATIENCE }
    }
}

/// Why nothing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The other side is gone.
    Gone,
    /// It is there, and gives no sign of life.
    Hangs,
}

impl Patience {
    /// What comes next. `signs` counts other signs of life.
    pub(crate) fn wait<A>(
        &self,
        inbox: &Receiver<A>,
        signs: impl Fn() -> u64,
    ) -> Result<A, Silence> {
        let (mut since, mut seen) = (self.clock.now(), signs());
        loop {
            match inbox.recv_timeout(TICK.min(self.longest)) {
                Ok(value) => return Ok(value),
                Err(RecvTimeoutError::Disconnected) => return Err(Silence::Gone),
                Err(RecvTimeoutError::Timeout) if signs() != seen => {
                    (since, seen) = (self.clock.now(), signs());
                }
                Err(RecvTimeoutError::Timeout) if self.clock.since(since) >= self.longest => {
                    return Err(Silence::Hangs);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Waits for threads to end, and leaves those behind that do not.
    pub(crate) fn join(&self, threads: impl IntoIterator<Item = JoinHandle<()>>) {
        let start = self.clock.now();
        for thread in threads {
            while !thread.is_finished() && self.clock.since(start) < self.longest {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                // It catches its panics, so there is nothing to learn here.
                drop(thread.join());
            }
        }
    }

    /// By the same clock, no time at all.
    pub(crate) fn none(&self) -> Self {
        Self { clock: self.clock.clone(), longest: Duration::ZERO }
    }
}

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
