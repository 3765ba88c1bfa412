//! Work that is begun before anybody waits for it: beside a device that is being opened.

use std::sync::{Mutex, OnceLock, PoisonError};
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

/// Work on a thread of its own, whose result is there for all who ask.
pub(crate) struct Shared<T> {
    work: Early<T>,
    result: OnceLock<Option<T>>,
}

impl<T: Clone + Send + 'static> Shared<T> {
    /// Begins it, as [`Early::begin`] does.
    pub(crate) fn begin(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self { work: Early::begin(name, work), result: OnceLock::new() }
    }

    /// A copy of the result, once it is there; none if there is no thread. A panic goes on where it is asked for first.
    pub(crate) fn get(&self) -> Option<T> {
        self.result.get_or_init(|| self.work.take()).clone()
    }
}

/// What a thread found. Its panic goes on here.
pub(crate) fn ended<T>(joined: std::thread::Result<T>) -> T {
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_result_is_taken_once() {
        let early = Early::begin("sum", || 2 + 3);
        assert_eq!((early.take(), early.take()), (Some(5), None));
    }

    #[test]
    fn a_shared_result_is_found_once_for_all_who_ask_at_the_same_time() {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let shared = Shared::begin("sum", move || counted.fetch_add(1, Ordering::SeqCst) + 5);
        let found = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| shared.get())).collect();
            asking.into_iter().map(|asked| ended(asked.join())).collect::<Vec<_>>()
        });
        assert_eq!((found, count.load(Ordering::SeqCst)), (vec![Some(5); 4], 1));
    }

    #[test]
    fn a_panic_goes_on_where_its_result_is_asked_for() {
        let early = Early::<()>::begin("broken", || panic!("on purpose"));
        let asked = catch_unwind(AssertUnwindSafe(|| early.take()));
        assert!(asked.is_err());
        assert_eq!(early.take(), None);
    }
}
