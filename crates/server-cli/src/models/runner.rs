//! The threads that compute on a device: its hands.
//!
//! What a hand has on its device never leaves it: a host thread is a stream and a memory pool of its own in the device's runtime, so that each has its own
//! copy of a model. Who hands them work does not wait: the scheduler's thread lays the next batch out, and brings the last one's answers into their
//! datatypes, while they compute.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use lithoburn_engine::{Lane, Loaded};
use lithoburn_pool::Chosen;
use lithoburn_server::model::Fault;

/// What a hand has on the device, by numbers that are given once.
pub(super) type Shelf = HashMap<u64, Loaded>;
type Task = Box<dyn FnOnce(&mut Shelf) + Send>;

/// A device and its hands, which end with the last reference to it.
pub(crate) struct Runner {
    /// The device.
    pub(crate) device: Chosen,
    hands: Vec<Hand>,
    numbers: AtomicU64,
}

/// A thread that computes on a device.
struct Hand {
    tasks: Sender<Task>,
    /// Tasks that it has and has not done.
    owes: Arc<AtomicUsize>,
}

impl Hand {
    fn start(device: &str) -> std::io::Result<Self> {
        let (tasks, queue) = mpsc::channel::<Task>();
        let owes = Arc::new(AtomicUsize::new(0));
        let done = owes.clone();
        let work = move || {
            let mut shelf = Shelf::new();
            for task in queue {
                task(&mut shelf);
                done.fetch_sub(1, Ordering::Relaxed);
            }
            // Handles of a lost device panic when they are dropped; there is nobody to tell.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(shelf)));
        };
        // Detached: nobody waits for a device that hangs.
        thread::Builder::new().name(format!("compute {device}")).spawn(work)?;
        Ok(Self { tasks, owes })
    }

    fn begin<T: Send + 'static>(
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
        self.owes.fetch_add(1, Ordering::Relaxed);
        // A thread that is gone drops the task, and with it the way back, which is an answer too.
        let _ = self.tasks.send(Box::new(task));
        Pending { receiver, outcome: None, unwanted }
    }
}

impl Runner {
    /// Starts a device's threads, as many as share a card in a run of tiles.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub(crate) fn start(device: Chosen) -> std::io::Result<Arc<Self>> {
        let hands = Lane::hands(&device.name);
        Self::with_hands(device, hands)
    }

    /// Starts so many threads for a device.
    pub(super) fn with_hands(device: Chosen, hands: usize) -> std::io::Result<Arc<Self>> {
        let hands = (0..hands).map(|_| Hand::start(&device.name)).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { device, hands, numbers: AtomicU64::new(0) }))
    }

    /// How many threads compute on the device.
    pub(super) fn hands(&self) -> usize {
        self.hands.len()
    }

    /// A number that nothing on the shelf has.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands work to the hand that has least to do; it is told when its outcome is not wanted any more.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Shelf, &Unwanted) -> Result<T, Fault> + Send + 'static,
    ) -> Pending<T> {
        let free = self.hands.iter().min_by_key(|hand| hand.owes.load(Ordering::Relaxed));
        free.map_or_else(Pending::lost, |hand| hand.begin(work))
    }

    /// Has the first hand do something that needs no model.
    pub(super) fn first<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        self.hands.first().map_or_else(Pending::lost, |hand| hand.begin(|_, _| work())).wait()
    }

    /// Has each hand do the same, one after the other: what the first one compiles, the others find.
    pub(super) fn each<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Shelf) -> Result<T, Fault> + Clone + Send + 'static,
    ) -> Result<Vec<T>, Fault> {
        let done = |hand: &Hand| {
            let work = work.clone();
            hand.begin(move |shelf, _| work(shelf)).wait()
        };
        self.hands.iter().map(done).collect()
    }

    /// Has each hand do something for which nobody waits.
    pub(super) fn tell_each(&self, work: impl Fn(&mut Shelf) + Clone + Send + 'static) {
        for hand in &self.hands {
            let work = work.clone();
            drop(hand.begin(move |shelf, _| {
                work(shelf);
                Ok(())
            }));
        }
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

    /// Of a device without a thread.
    fn lost() -> Self {
        let (_, receiver) = mpsc::channel();
        Self { receiver, outcome: Some(Self::gone()), unwanted: Unwanted::default() }
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
        let broken = runner.each(|_| -> Result<(), Fault> { panic!("a kernel's launch failed") });
        assert_eq!(broken, Err(Fault::Broken("a kernel's launch failed".into())));
        assert_eq!(runner.each(|shelf| Ok(shelf.len())), Ok(vec![0]));
    }

    /// Both wait for each other, which they could not, one after the other.
    #[test]
    fn two_hands_compute_at_once_and_each_has_its_own_shelf() {
        let cpu = choose(DeviceName::Cpu).expect("always there");
        let runner = Runner::with_hands(cpu, 2).expect("threads");
        let meet = Arc::new(std::sync::Barrier::new(2));
        let both = [0, 1].map(|_| {
            let meet = meet.clone();
            runner.begin(move |_, _| {
                meet.wait();
                Ok(thread::current().id())
            })
        });
        let threads = both.map(|pending| pending.wait().expect("met"));
        assert_ne!(threads[0], threads[1]);
        let all = runner.each(|_| Ok(thread::current().id())).expect("each");
        assert!(threads.iter().all(|thread| all.contains(thread)) && all.len() == 2);
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
