//! The thread that makes tasks, as many as it is asked for.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use super::event::CrewEvent;

/// What the maker leaves behind, and the word to stop.
pub(crate) struct Producer<E> {
    quit: AtomicBool,
    end: Mutex<TasksEnd<E>>,
}

/// No more tasks are needed once it is dropped.
pub(crate) struct QuitsAtLast<'a, E>(pub(crate) &'a Producer<E>);

impl<E> Drop for QuitsAtLast<'_, E> {
    fn drop(&mut self) {
        self.0.quit();
    }
}

/// How the making of tasks ended.
pub(crate) enum TasksEnd<E> {
    /// All were made, or no more were asked for.
    Whole,
    /// A task could not be made.
    Failed(E),
    /// Making a task panicked.
    Panicked(Box<dyn Any + Send>),
}

impl<E> Producer<E> {
    pub(crate) fn new() -> Self {
        Self { quit: AtomicBool::new(false), end: Mutex::new(TasksEnd::Whole) }
    }

    /// No more tasks are needed, even if they were asked for.
    fn quit(&self) {
        self.quit.store(true, Ordering::Relaxed);
    }

    /// How it ended.
    pub(crate) fn end(self) -> TasksEnd<E> {
        self.end.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes as many tasks as are `asked` for, until there are none or nobody asks any more.
    pub(crate) fn make<T, R>(
        &self,
        tasks: impl Iterator<Item = Result<T, E>>,
        asked: Receiver<usize>,
        events: Sender<CrewEvent<T, R>>,
    ) {
        let work = AssertUnwindSafe(|| self.make_all(tasks, &asked, &events));
        let end = match catch_unwind(work) {
            Ok(Ok(())) => TasksEnd::Whole,
            Ok(Err(error)) => TasksEnd::Failed(error),
            Err(panic) => TasksEnd::Panicked(panic),
        };
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
        // Nobody listens any more if the run is over.
        let _ = events.send(CrewEvent::Ended);
    }

    fn make_all<T, R>(
        &self,
        mut tasks: impl Iterator<Item = Result<T, E>>,
        asked: &Receiver<usize>,
        events: &Sender<CrewEvent<T, R>>,
    ) -> Result<(), E> {
        while let Ok(count) = asked.recv() {
            for _ in 0..count {
                if self.quit.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let Some(task) = tasks.next() else { return Ok(()) };
                if events.send(CrewEvent::Made(task?)).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether it ended with something else than the last task.
    pub(crate) fn failed(&self) -> bool {
        !matches!(*self.end.lock().unwrap_or_else(PoisonError::into_inner), TasksEnd::Whole)
    }
}
