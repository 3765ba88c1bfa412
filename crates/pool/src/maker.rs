//! The thread that makes tasks, as many as it is asked for.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use crate::seat::Event;

/// What the maker leaves behind, and the word to stop.
pub(crate) struct Made<E> {
    quit: AtomicBool,
    end: Mutex<End<E>>,
}

/// How the making of tasks ended.
pub(crate) enum End<E> {
    /// All were made, or no more were asked for.
    Whole,
    /// A task could not be made.
    Failed(E),
    /// Making a task panicked.
    Panicked(Box<dyn Any + Send>),
}

impl<E> Made<E> {
    pub(crate) fn new() -> Self {
        Self { quit: AtomicBool::new(false), end: Mutex::new(End::Whole) }
    }

    /// No more tasks are needed, even if they were asked for.
    pub(crate) fn quit(&self) {
        self.quit.store(true, Ordering::Relaxed);
    }

    /// How it ended.
    pub(crate) fn end(self) -> End<E> {
        self.end.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes as many tasks as are `asked` for, until there are none or nobody asks any more.
    pub(crate) fn make<T, R>(
        &self,
        tasks: impl Iterator<Item = Result<T, E>>,
        asked: Receiver<usize>,
        events: Sender<Event<T, R>>,
    ) {
        let work = AssertUnwindSafe(|| self.make_all(tasks, &asked, &events));
        let end = match catch_unwind(work) {
            Ok(Ok(())) => End::Whole,
            Ok(Err(error)) => End::Failed(error),
            Err(panic) => End::Panicked(panic),
        };
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
        // Nobody listens any more if the run is over.
        let _ = events.send(Event::Ended);
    }

    fn make_all<T, R>(
        &self,
        mut tasks: impl Iterator<Item = Result<T, E>>,
        asked: &Receiver<usize>,
        events: &Sender<Event<T, R>>,
    ) -> Result<(), E> {
        while let Ok(count) = asked.recv() {
            for _ in 0..count {
                if self.quit.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let Some(task) = tasks.next() else { return Ok(()) };
                if events.send(Event::Made(task?)).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether it ended with something else than the last task.
    pub(crate) fn failed(&self) -> bool {
        !matches!(*self.end.lock().unwrap_or_else(PoisonError::into_inner), End::Whole)
    }
}
