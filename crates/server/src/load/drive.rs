//! What keeps requests going: a number of them in flight, or a schedule of arrivals.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::link::{Ask, Link, Trouble};
use super::tally::{Parts, Recorder, Recorders};
use super::{Address, Arrivals, LoadError};

/// Pause after a connection was refused, so that a server that is gone is not asked without end.
const PAUSE: Duration = Duration::from_millis(20);

/// Everything that requests need.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) address: Address,
    pub(crate) asks: Vec<Ask>,
    pub(crate) timeout: Duration,
    next: AtomicUsize,
}

/// A connection that is opened when it is needed, and its recorder.
struct Lane {
    link: Option<Link>,
    recorder: Arc<Recorder>,
}

impl Sender {
    pub(crate) fn new(address: Address, asks: Vec<Ask>, timeout: Duration) -> Self {
        Self { address, asks, timeout, next: AtomicUsize::new(0) }
    }

    /// Sends one request, so that what no request can do right is an error and not a level of failures.
    pub(crate) async fn try_one(&self) -> Result<(), LoadError> {
        /// Answers of a server that is busy or not ready yet; that is what levels are to find out.
        const BUSY: [&str; 4] = ["503", "429", "Unavailable", "ResourceExhausted"];
        let url = self.address.to_string();
        let mut lane = Lane { link: None, recorder: Arc::default() };
        match self.timed(&mut lane, &self.asks[0]).await {
            Err(Trouble::Broken(problem)) => Err(LoadError::Unreachable { url, problem }),
            Err(Trouble::Refused(problem)) if !BUSY.iter().any(|b| problem.starts_with(b)) => {
                Err(LoadError::Answer { url, problem })
            }
            _ => Ok(()),
        }
    }

    /// Sends the next request, which should have begun at `intended`, and notes what came of it.
    async fn send(&self, lane: &mut Lane, intended: Instant) {
        let begun = Instant::now();
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.asks.len();
        let outcome = self.timed(lane, &self.asks[index]).await;
        let whole = intended.elapsed();
        let late = begun.saturating_duration_since(intended);
        let broken = matches!(outcome, Err(Trouble::Broken(_)));
        let outcome = outcome.map(|parts| Parts { whole, late, ..parts });
        lane.recorder.note(outcome.map_err(Trouble::told));
        if broken {
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn timed(&self, lane: &mut Lane, ask: &Ask) -> Result<Parts, Trouble> {
        let sent = tokio::time::timeout(self.timeout, self.exchange(lane, ask)).await;
        sent.unwrap_or_else(|_| Err(Trouble::Broken(format!("no answer in {:?}", self.timeout))))
    }

    async fn exchange(&self, lane: &mut Lane, ask: &Ask) -> Result<Parts, Trouble> {
        // Taken, so that a connection that broke, or was left half-way, is not used again.
        let mut link = match lane.link.take() {
            Some(open) => open,
            None => Link::open(&self.address, ask).await?,
        };
        let answer = link.send(&self.address, ask).await;
        if !matches!(answer, Err(Trouble::Broken(_))) {
            lane.link = Some(link);
        }
        answer
    }
}

/// Requests that go on until this is dropped.
#[derive(Debug)]
pub(crate) struct Drive {
    tasks: JoinSet<()>,
    over: Arc<AtomicBool>,
    /// Arrivals until now, of a schedule.
    arrived: Arc<AtomicU64>,
}

impl Drop for Drive {
    fn drop(&mut self) {
        // The thread of a schedule sees this, and the tasks end with their set.
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Drive {
    /// Requests that should have begun until now; 0 of a closed loop, which begins one when another ended.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Closed loop: so many requests are in flight at any time.
    pub(crate) fn closed(sender: &Arc<Sender>, recorders: &Recorders, concurrency: usize) -> Self {
        let mut tasks = JoinSet::new();
        for _ in 0..concurrency {
            let mut lane = Lane { link: None, recorder: recorders.add() };
            let sender = sender.clone();
            tasks.spawn(async move {
                loop {
                    sender.send(&mut lane, Instant::now()).await;
                }
            });
        }
        Self { tasks, over: Arc::default(), arrived: Arc::default() }
    }

    /// Open loop: requests arrive on a schedule that knows nothing of the answers. At most `most` are in flight; what
    /// arrives then waits here, and its latency counts from when it arrived.
    pub(crate) fn open(
        sender: &Arc<Sender>,
        recorders: &Recorders,
        schedule: Schedule,
        most: usize,
    ) -> Self {
        let (over, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let arrivals = pace(schedule, over.clone(), arrived.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(dispatch(arrivals, sender.clone(), recorders.clone(), most));
        Self { tasks, over, arrived }
    }

    /// Ends everything that is in flight.
    pub(crate) async fn stop(mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.tasks.shutdown().await;
    }
}

/// When requests begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) rate: f64,
    pub(crate) arrivals: Arrivals,
    pub(crate) seed: u64,
}

impl Schedule {
    /// Times between arrivals.
    pub(crate) fn gaps(self) -> impl Iterator<Item = Duration> {
        let mut random = StdRng::seed_from_u64(self.seed);
        std::iter::repeat_with(move || {
            let share = match self.arrivals {
                Arrivals::Constant => 1.0,
                // 1 − u is in (0, 1], whose logarithm is finite.
                Arrivals::Poisson => -(1.0 - random.random::<f64>()).ln(),
            };
            Duration::from_secs_f64(share / self.rate)
        })
    }
}

/// A thread that says when requests arrive: a runtime's clock ticks in ms, which would be added to their latencies.
fn pace(
    schedule: Schedule,
    over: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
) -> mpsc::UnboundedReceiver<Instant> {
    /// Longest sleep without a look at whether it is over.
    const NAP: Duration = Duration::from_millis(50);
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut next = Instant::now();
        for gap in schedule.gaps() {
            next += gap;
            loop {
                let left = next.saturating_duration_since(Instant::now());
                if over.load(Ordering::Relaxed) {
                    return;
                }
                if left.is_zero() {
                    break;
                }
                std::thread::sleep(left.min(NAP));
            }
            arrived.fetch_add(1, Ordering::Relaxed);
            if sender.send(next).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Gives each arrival a connection: one that is idle, a new one, or the next that becomes free.
async fn dispatch(
    mut arrivals: mpsc::UnboundedReceiver<Instant>,
    sender: Arc<Sender>,
    recorders: Recorders,
    most: usize,
) {
    let idle: Arc<Mutex<Vec<Lane>>> = Arc::default();
    let room = Arc::new(Semaphore::new(most));
    let mut flying = JoinSet::new();
    while let Some(intended) = arrivals.recv().await {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let lane = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut lane = lane.unwrap_or_else(|| Lane { link: None, recorder: recorders.add() });
        let (sender, idle) = (sender.clone(), idle.clone());
        flying.spawn(async move {
            sender.send(&mut lane, intended).await;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(lane);
            drop(permit);
        });
        while flying.try_join_next().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gaps of a Poisson process have mean 1/λ, variance 1/λ², and exp(−1) of them are longer than the mean.
    #[test]
    fn arrivals_are_a_poisson_process_or_a_clock() {
        let schedule = Schedule { rate: 500.0, arrivals: Arrivals::Poisson, seed: 3 };
        let gaps: Vec<f64> =
            schedule.gaps().take(40_000).map(|g| g.as_secs_f64() * 500.0).collect();
        let mean = gaps.iter().sum::<f64>() / 40_000.0;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / 40_000.0;
        let long = gaps.iter().filter(|g| **g > 1.0).count() as f64 / 40_000.0;
        // Four standard errors: 1/√n, √(8/n), √(p(1−p)/n).
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.06, "{variance}");
        assert!((long - (-1.0_f64).exp()).abs() < 0.01, "{long}");
        let clock = Schedule { arrivals: Arrivals::Constant, ..schedule };
        assert!(clock.gaps().take(9).all(|gap| gap == Duration::from_millis(2)));
    }
}
