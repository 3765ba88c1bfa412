//! A thread that computes on a device.
//!
//! What is on a device never leaves this thread: a host thread is a stream and a memory pool of its own in the device's runtime. Who hands it work does not
//! wait: the scheduler's thread lays the next batch out, and brings the last one's answers into their datatypes, while this one computes.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use lithoburn_engine::Loaded;
use lithoburn_pool::Chosen;
use lithoburn_server::model::Fault;

/// What is on the device, by numbers that are given once.
pub(super) type Shelf = HashMap<u64, Loaded>;
type Task = Box<dyn FnOnce(&mut Shelf) + Send>;

/// A device and its thread, which ends with the last reference to it.
pub(crate) struct Runner {
    /// The device.
    pub(crate) device: Chosen,
    tasks: Sender<Task>,
    numbers: AtomicU64,
}

impl Runner {
    /// Starts a device's thread.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub(crate) fn start(device: Chosen) -> std::io::Result<Arc<Self>> {
        let (tasks, queue) = mpsc::channel::<Task>();
        let work = move || {
            let mut shelf = Shelf::new();
            queue.into_iter().for_each(|task| task(&mut shelf));
            // Handles of a lost device panic when they are dropped; there is nobody to tell.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(shelf)));
        };
        // Detached: nobody waits for a device that hangs.
        thread::Builder::new().name(format!("compute {}", device.name)).spawn(work)?;
        Ok(Arc::new(Self { device, tasks, numbers: AtomicU64::new(0) }))
    }

    /// A number that nothing on the shelf has.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands work over, which is told when its outcome is not wanted any more.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Shelf, &Unwanted) -> Result<T, Fault> + Send + 'static,
    ) -> Pending<T> {
        let (outcome, receiver) = mpsc::channel();
        let unwanted = Unwanted::default();
        let told = unwanted.clone();
        let task = move |shelf: &mut Shelf| {
            let done = catch_unwind(AssertUnwindSafe(|| work(shelf, &told)));
            let panicked = |panic: Box<dyn Any + Send>| Err(Fault::of_panic(panic.as_ref()));
            // Whoever asked may be gone.
            let _ = outcome.send(done.unwrap_or_else(panicked));
        };
        // A thread that is gone drops the task, and with it the way back, which is an answer too.
        let _ = self.tasks.send(Box::new(task));
        Pending { receiver, outcome: None, unwanted }
    }

    /// Does work there and waits for it.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Shelf) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        self.begin(|shelf, _| work(shelf)).wait()
    }
}

/// Whether nobody waits for an outcome any more.
#[derive(Clone, Default)]
pub(super) struct Unwanted(Arc<AtomicBool>);

impl Unwanted {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Work that was handed over.
pub(super) struct Pending<T> {
    receiver: Receiver<Result<T, Fault>>,
    outcome: Option<Result<T, Fault>>,
    unwanted: Unwanted,
}

impl<T> Pending<T> {
    fn gone() -> Result<T, Fault> {
        Err(Fault::Lost("its thread is gone".into()))
    }

    /// Waits at most so long, and says whether it is done.
    pub(super) fn settles_within(&mut self, time: Duration) -> bool {
        if self.outcome.is_none() {
            self.outcome = match self.receiver.recv_timeout(time) {
                Ok(outcome) => Some(outcome),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Self::gone()),
            };
        }
        self.outcome.is_some()
    }

    /// Waits until it is done.
    pub(super) fn wait(mut self) -> Result<T, Fault> {
        let outcome = self.outcome.take();
        outcome.unwrap_or_else(|| self.receiver.recv().unwrap_or_else(|_| Self::gone()))
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.unwanted.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use lithoburn_pool::{DeviceName, choose};

    use super::*;

    fn runner() -> Arc<Runner> {
        Runner::start(choose(DeviceName::Cpu).expect("always there")).expect("a thread")
    }

    /// The second task is laid out while the first one computes: the first does not end before.
    #[test]
    fn who_hands_work_over_goes_on_while_it_is_computed() {
        let (runner, (ready, wait)) = (runner(), mpsc::channel::<()>());
        let mut first = runner.begin(move |_, _| {
            wait.recv().map_err(|error| Fault::Broken(error.to_string()))?;
            Ok(thread::current().name().map(String::from))
        });
        assert!(!first.settles_within(Duration::from_millis(1)));
        ready.send(()).expect("it waits");
        assert_eq!(first.wait(), Ok(Some("compute cpu".into())));
    }

    #[test]
    fn a_panic_is_a_fault_and_the_thread_goes_on() {
        let runner = runner();
        let broken = runner.run(|_| -> Result<(), Fault> { panic!("a kernel's launch failed") });
        assert_eq!(broken, Err(Fault::Broken("a kernel's launch failed".into())));
        assert_eq!(runner.run(|shelf| Ok(shelf.len())), Ok(0));
    }

    #[test]
    fn work_is_told_that_nobody_waits_for_it() {
        let (runner, (heard, hears)) = (runner(), mpsc::channel());
        drop(runner.begin(move |_, unwanted| {
            while !unwanted.is_set() {
                thread::yield_now();
            }
            heard.send(()).map_err(|error| Fault::Broken(error.to_string()))
        }));
        assert_eq!(hears.recv(), Ok(()));
    }
}
