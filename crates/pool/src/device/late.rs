//! Cards that are opened while others are at work.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::DeviceError;

/// A card that is being opened and tested on a thread of its own.
#[derive(Clone, Debug)]
pub struct Opening(Arc<Late>);

#[derive(Debug)]
struct Late {
    /// The card's name.
    name: String,
    thread: Mutex<Option<JoinHandle<Result<(), DeviceError>>>>,
    outcome: OnceLock<Result<(), DeviceError>>,
}

impl Opening {
    /// Begins it. If the system gives no thread, the card is broken for that reason.
    pub(super) fn begin(
        name: &str,
        open: impl FnOnce() -> Result<(), DeviceError> + Send + 'static,
    ) -> Self {
        let thread = Builder::new().name(format!("open {name}")).spawn(open).ok();
        let (name, outcome) = (name.to_string(), OnceLock::new());
        Self(Arc::new(Late { name, thread: Mutex::new(thread), outcome }))
    }

    /// Waits until the card is there.
    ///
    /// # Errors
    ///
    /// Those of [`choose`](super::choose); a panic is one, too.
    pub(super) fn wait(&self) -> Result<(), DeviceError> {
        self.0.outcome.get_or_init(|| self.0.ended()).clone()
    }

    /// Whether the card is there, as far as anybody has waited for it.
    pub(super) fn is_over(&self) -> bool {
        self.0.outcome.get().is_some_and(Result::is_ok)
    }
}

impl Late {
    fn ended(&self) -> Result<(), DeviceError> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        match thread.map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(self.broken("it panicked while it was opened")),
            None => Err(self.broken("no thread could be started to open it")),
        }
    }

    fn broken(&self, reason: &str) -> DeviceError {
        let (name, reason) = (self.name.clone(), reason.to_string());
        DeviceError::Broken { name, card: "being opened".into(), reason }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn all_who_wait_for_a_card_learn_what_came_of_it() {
        let (go, gate) = channel::<()>();
        let opening = Opening::begin("cuda:1", move || gate.recv().map_err(|_| lost()));
        assert!(!opening.is_over());
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| opening.wait())).collect();
            go.send(()).expect("it is awaited");
            assert!(waiting.into_iter().all(|wait| wait.join().expect("no panic").is_ok()));
        });
        assert!(opening.is_over());
    }

    fn lost() -> DeviceError {
        DeviceError::Missing { wanted: "cuda:1".into(), found: "cpu".into() }
    }

    #[test]
    fn a_card_that_fails_or_panics_is_never_there() {
        let failing = Opening::begin("cuda:1", || Err(lost()));
        assert_eq!((failing.wait(), failing.is_over()), (Err(lost()), false));
        let panicking = Opening::begin("cuda:2", || panic!("on purpose"));
        let error = panicking.wait().expect_err("it panics").to_string();
        assert!(error.contains("cuda:2") && error.contains("panicked"), "{error}");
    }
}
