//! Work that is begun before anybody waits for it: beside a device that is being opened.

use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Work on a thread of its own, whose result is taken once. Nobody waits for one that is not taken.
pub(crate) struct Early<T>(Mutex<Option<JoinHandle<T>>>);

impl<T: Send + 'static> Early<T> {
    /// Begins it. If the system gives no thread, there is no result to take.
    pub(crate) fn begin(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self(Mutex::new(Builder::new().name(name.into()).spawn(work).ok()))
    }

    /// The result, once it is there; none if it was taken before. A panic goes on here.
    pub(crate) fn take(&self) -> Option<T> {
        let thread = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.map(|thread| ended(thread.join()))
    }
}

/// What a thread found. Its panic goes on here.
pub(crate) fn ended<T>(joined: std::thread::Result<T>) -> T {
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_result_is_taken_once() {
        let early = Early::begin("sum", || 2 + 3);
        assert_eq!((early.take(), early.take()), (Some(5), None));
    }

    #[test]
    fn a_panic_goes_on_where_its_result_is_asked_for() {
        let early = Early::<()>::begin("broken", || panic!("on purpose"));
        let asked = catch_unwind(AssertUnwindSafe(|| early.take()));
        assert!(asked.is_err());
        assert_eq!(early.take(), None);
    }
}
