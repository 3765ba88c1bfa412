//! The hub under `shuttle`, which runs its threads in thousands of different orders: it is compiled a second time, with shuttle's lock and
//! signals. No wake-up is lost (a thread that waits for ever is a deadlock, which shuttle reports), and every request is answered once.

use std::collections::BTreeMap;
use std::time::Duration;

use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

use self::hub::{Arrival, Denied, Hub, Next};
use super::board::Turned;
use super::queue::{Kindred, Limit};
use super::{board, place, queue};
use crate::model::Fault;

#[path = "hub.rs"]
#[allow(dead_code, reason = "what the scheduler uses and this test does not")]
mod hub;

mod sync {
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};

    use std::time::Instant;

    /// As the scheduler's, without time: nothing is owed here, so that nobody lingers.
    pub(crate) fn wait<'a, T>(
        signal: &Condvar,
        guard: MutexGuard<'a, T>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, T> {
        assert_eq!(until, None);
        signal.wait(guard).expect("shuttle poisons nothing")
    }
}

/// A request: its number, and how many requests share its shape.
#[derive(Clone, Debug)]
struct Ask {
    number: usize,
    shape: usize,
}

impl Kindred for Ask {
    fn kindred(&self, other: &Self) -> bool {
        self.shape == other.shape
    }

    fn model(&self) -> u64 {
        1
    }
}

/// With a second hand, a device begins a batch beside the one that it computes.
const fn limit(hands: usize) -> Limit {
    Limit { items: 2, pixels: usize::MAX / 2, most: usize::MAX, hands }
}

fn ask(number: usize, shapes: usize) -> Arrival<Ask> {
    let what = Ask { number, shape: number % shapes };
    Arrival { priority: 0, deadline: None, items: 1, pixels: 1, what }
}

/// How often each request was answered, or refused.
#[derive(Default)]
struct Tally(Vec<AtomicUsize>);

impl Tally {
    fn of(n: usize) -> Arc<Self> {
        Arc::new(Self((0..n).map(|_| AtomicUsize::new(0)).collect()))
    }

    fn tick(&self, ask: &Ask) {
        self.0[ask.number].fetch_add(1, Ordering::SeqCst);
    }

    fn all_once(&self) {
        let times: Vec<_> = self.0.iter().map(|n| n.load(Ordering::SeqCst)).collect();
        assert!(times.iter().all(|&n| n == 1), "answered so often: {times:?}");
    }
}

/// A device's thread: every batch whose number is in `faults` fails so.
fn serve(hub: &Hub<Ask, ()>, device: usize, faults: &BTreeMap<usize, Fault>, tally: &Tally) {
    let mut done = 0;
    let failed = |id: u64, done: &mut usize| {
        *done += 1;
        let Some(fault) = faults.get(done) else { return false };
        hub.failed(device, id, fault).iter().for_each(|(job, _)| tally.tick(&job.what));
        true
    };
    loop {
        let Next::Batch(given) = hub.next(device) else { return };
        if given.jobs.is_empty() || failed(given.id, &mut done) {
            continue;
        }
        let ahead = hub.ahead(device);
        let count = |jobs: Option<Vec<queue::Job<Ask>>>| {
            jobs.iter().flatten().for_each(|job| tally.tick(&job.what));
        };
        count(hub.finished(device, given.id, Duration::ZERO));
        if let Some(ahead) = ahead
            && (ahead.begun || hub.begin(device, ahead.id, given.id) == Turned::Begun)
            && !failed(ahead.id, &mut done)
        {
            count(hub.finished(device, ahead.id, Duration::ZERO));
        }
    }
}

/// `clients` send `each`; the first of each is withdrawn if `withdraw`. Devices fail as they are told.
fn run(
    devices: Vec<BTreeMap<usize, Fault>>,
    clients: usize,
    each: usize,
    shapes: usize,
    withdraw: bool,
) {
    let names = (0..devices.len()).map(|at| format!("{at}")).collect();
    let hub = Arc::new(Hub::<Ask, ()>::new(names, usize::MAX));
    let tally = Tally::of(clients * each);
    for device in 0..devices.len() {
        hub.serves(device, 1, limit(1 + device % 2));
    }
    let workers: Vec<_> = devices
        .into_iter()
        .enumerate()
        .map(|(device, faults)| {
            let (hub, tally) = (hub.clone(), tally.clone());
            thread::spawn(move || serve(&hub, device, &faults, &tally))
        })
        .collect();
    let senders: Vec<_> = (0..clients)
        .map(|client| {
            let (hub, tally) = (hub.clone(), tally.clone());
            thread::spawn(move || {
                for k in 0..each {
                    let arrival = ask(client * each + k, shapes);
                    let asked = arrival.what.clone();
                    match hub.submit(arrival) {
                        Ok(turn) if withdraw && k == 0 => {
                            hub.withdraw(turn).iter().for_each(|job| tally.tick(&job.what));
                        }
                        Ok(_) => (),
                        Err(Denied::Nobody) => tally.tick(&asked),
                        Err(other) => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    senders.into_iter().for_each(|thread| thread.join().expect("sends"));
    hub.close();
    workers.into_iter().for_each(|thread| thread.join().expect("serves"));
    tally.all_once();
}

#[test]
fn no_wake_up_is_lost_and_no_request_lost_or_answered_twice() {
    let fine = || vec![BTreeMap::new(), BTreeMap::new()];
    shuttle::check_random(move || run(fine(), 3, 2, 2, false), 2_000);
    shuttle::check_pct(move || run(fine(), 2, 3, 1, false), 2_000, 3);
}

#[test]
fn nor_when_clients_hang_up() {
    let fine = || vec![BTreeMap::new(), BTreeMap::new()];
    shuttle::check_random(move || run(fine(), 3, 2, 1, true), 2_000);
}

#[test]
fn nor_when_devices_break_and_are_lost() {
    let faults = || {
        let broken = Fault::Broken("broke".into());
        let breaks = BTreeMap::from([(1, broken.clone()), (2, broken)]);
        let lost = BTreeMap::from([(2, Fault::Lost("cable".into()))]);
        vec![breaks, lost, BTreeMap::from([(1, Fault::OutOfMemory("full".into()))])]
    };
    shuttle::check_random(move || run(faults(), 2, 3, 1, false), 2_000);
    shuttle::check_pct(move || run(faults(), 3, 2, 2, true), 2_000, 3);
}

#[test]
fn nor_when_the_last_device_is_lost() {
    let lost = || vec![BTreeMap::from([(2, Fault::Lost("cable".into()))])];
    shuttle::check_random(move || run(lost(), 2, 3, 1, false), 2_000);
}
