//! Faults on purpose: what goes wrong with devices, injected where a test wants it, repeatable by a seed.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::failure::Failure;
use super::worker::{Member, Worker};

/// Sorts of injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Injected {
    /// The worker panics.
    Panic,
    /// It reports an error that a new worker may not have.
    Broken,
    /// It runs out of memory.
    OutOfMemory,
    /// The device is lost, and stays lost.
    Lost,
    /// It sleeps past its deadline, then answers.
    Hang,
    /// It returns a result too few or too many.
    WrongCount,
    /// It takes longer, and answers.
    Slow,
    /// Its worker cannot be made.
    Unmade,
}

/// How likely each fault is, for each batch (for [`Injected::Unmade`]: each time a worker is made), 0 to 1.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Of [`Injected::Panic`].
    pub panic: f64,
    /// Of [`Injected::Broken`].
    pub broken: f64,
    /// Of [`Injected::OutOfMemory`], whatever the batch's size.
    pub out_of_memory: f64,
    /// Larger batches run out of memory always.
    pub capacity: Option<usize>,
    /// Of [`Injected::Lost`].
    pub lost: f64,
    /// Of [`Injected::Hang`].
    pub hang: f64,
    /// How long that lasts; it should be past the deadline.
    pub hang_for: Duration,
    /// Of [`Injected::WrongCount`].
    pub wrong_count: f64,
    /// Of [`Injected::Slow`].
    pub slow: f64,
    /// How long that lasts; it should be within the deadline.
    pub slow_for: Duration,
    /// Of [`Injected::Unmade`].
    pub unmade: f64,
    /// Most faults that a member gets; `None` for no limit. Slow batches and those over the capacity do not count.
    pub most: Option<usize>,
}

impl Faults {
    /// The faults of a batch, with their probabilities.
    fn of_batch(&self) -> [(Injected, f64); 7] {
        [
            (Injected::Panic, self.panic),
            (Injected::Broken, self.broken),
            (Injected::OutOfMemory, self.out_of_memory),
            (Injected::Lost, self.lost),
            (Injected::Hang, self.hang),
            (Injected::WrongCount, self.wrong_count),
            (Injected::Slow, self.slow),
        ]
    }
}

/// Injects faults into members of a crew, and counts them.
#[derive(Clone, Debug)]
pub struct Injector {
    seed: u64,
    counts: Arc<Mutex<BTreeMap<Injected, usize>>>,
}

impl Injector {
    /// Faults drawn from `seed`: the n-th batch of a member of a certain name always meets the same fate.
    pub fn new(seed: u64) -> Self {
        Self { seed, counts: Arc::default() }
    }

    /// The member, with faults.
    pub fn member<T: 'static, R: 'static>(
        &self,
        member: Member<T, R>,
        faults: Faults,
    ) -> Member<T, R> {
        let Member { name, batch, make, arrive } = member;
        let fate = Arc::new(Fate {
            seed: seed_of(self.seed, &name),
            drawn: AtomicU64::new(0),
            injected: AtomicUsize::new(0),
            lost: AtomicBool::new(false),
            faults,
            counts: self.counts.clone(),
        });
        let make = move || {
            fate.making()?;
            let worker = Faulty { fate: fate.clone(), inner: make()? };
            Ok(Box::new(worker) as Box<dyn Worker<T, R>>)
        };
        Member { name, batch, make: Arc::new(make), arrive }
    }

    /// Faults injected so far, by sort.
    pub fn counts(&self) -> BTreeMap<Injected, usize> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Faults injected so far.
    pub fn count(&self) -> usize {
        self.counts().values().sum()
    }
}

fn seed_of(seed: u64, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, name).hash(&mut hasher);
    hasher.finish()
}

/// What befalls one member; it outlives the member's workers.
struct Fate {
    seed: u64,
    drawn: AtomicU64,
    injected: AtomicUsize,
    lost: AtomicBool,
    faults: Faults,
    counts: Arc<Mutex<BTreeMap<Injected, usize>>>,
}

impl Fate {
    /// A number between 0 and 1.
    fn draw(&self) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.drawn.fetch_add(1, Ordering::Relaxed));
        rng.random()
    }

    /// Counts a fault; `false` if the member had its share.
    fn inject(&self, fault: Injected) -> bool {
        if fault != Injected::Slow {
            let most = self.faults.most.unwrap_or(usize::MAX);
            let more = |had: usize| (had < most).then_some(had + 1);
            let order = Ordering::Relaxed;
            if self.injected.fetch_update(order, order, more).is_err() {
                return false;
            }
        }
        self.count(fault);
        true
    }

    fn count(&self, fault: Injected) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
    }

    fn making(&self) -> Result<(), Failure> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(lost());
        }
        if self.draw() < self.faults.unmade && self.inject(Injected::Unmade) {
            return Err(Failure::Broken("injected: its worker cannot be made".into()));
        }
        Ok(())
    }

    /// What befalls a batch of `n`.
    fn of_batch(&self, n: usize) -> Option<Injected> {
        if self.lost.load(Ordering::Relaxed) {
            return Some(Injected::Lost);
        }
        if self.faults.capacity.is_some_and(|room| n > room) {
            self.count(Injected::OutOfMemory);
            return Some(Injected::OutOfMemory);
        }
        let mut left = self.draw();
        for (fault, likely) in self.faults.of_batch() {
            if left < likely {
                return self.inject(fault).then_some(fault);
            }
            left -= likely;
        }
        None
    }
}

fn lost() -> Failure {
    Failure::Lost("injected: the device is lost".into())
}

/// A worker with faults.
struct Faulty<T, R> {
    fate: Arc<Fate>,
    inner: Box<dyn Worker<T, R>>,
}

impl<T, R> Worker<T, R> for Faulty<T, R> {
    fn run(&mut self, batch: &[Arc<T>]) -> Result<Vec<R>, Failure> {
        match self.fate.of_batch(batch.len()) {
            None => self.inner.run(batch),
            // Unwinds as a panic does, without the hook's message: these are not news.
            Some(Injected::Panic) => resume_unwind(Box::new("injected: a panic")),
            Some(Injected::Broken | Injected::Unmade) => {
                Err(Failure::Broken("injected: broken".into()))
            }
            Some(Injected::OutOfMemory) => Err(Failure::OutOfMemory("injected".into())),
            Some(Injected::Lost) => {
                self.fate.lost.store(true, Ordering::Relaxed);
                Err(lost())
            }
            Some(Injected::Hang) => self.late(batch, self.fate.faults.hang_for),
            Some(Injected::Slow) => self.late(batch, self.fate.faults.slow_for),
            Some(Injected::WrongCount) => self.miscounted(batch),
        }
    }
}

impl<T, R> Faulty<T, R> {
    /// The right results, late.
    fn late(&mut self, batch: &[Arc<T>], by: Duration) -> Result<Vec<R>, Failure> {
        std::thread::sleep(by);
        self.inner.run(batch)
    }

    /// One result too few, or one too many.
    fn miscounted(&mut self, batch: &[Arc<T>]) -> Result<Vec<R>, Failure> {
        let mut results = self.inner.run(batch)?;
        if batch.len().is_multiple_of(2) {
            results.extend(self.inner.run(&batch[..1])?);
        } else {
            results.pop();
        }
        Ok(results)
    }
}

/// Ctrl-C after so many results: `seen` is called by the sink, `stop` is for [`super::share`].
#[derive(Clone, Debug)]
pub struct CtrlC {
    after: usize,
    results: Arc<AtomicUsize>,
}

impl CtrlC {
    /// It comes after `after` results.
    pub fn after(after: usize) -> Self {
        Self { after, results: Arc::default() }
    }

    /// A result was seen.
    pub fn seen(&self) {
        self.results.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it has come.
    pub fn stop(&self) -> bool {
        self.results.load(Ordering::Relaxed) >= self.after
    }
}
