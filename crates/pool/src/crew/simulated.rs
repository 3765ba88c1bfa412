//! Devices that sleep: the scheduler alone, measured on any machine.
//!
//! A simulated device takes a fixed time for a batch and a time for each task, computes nothing that needs a
//! processor, and has room for so many tasks. Many of them share few cores without getting in each other's way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::failure::Failure;
use super::report::Report;
use super::worker::{Member, Terms, Worker};
use super::{PoolError, share};

/// The last part of a sleep, in which the thread watches the clock: Linux wakes sleepers about this late.
const WATCH: Duration = Duration::from_micros(80);

/// What a simulated device takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SimulatedDevice {
    /// For a batch, whatever its size: launches.
    pub per_batch: Duration,
    /// For each task: computing.
    pub per_task: Duration,
    /// For each task: to the device and back.
    pub transfer: Duration,
    /// Most tasks that fit its memory; `None` for all.
    pub capacity: Option<usize>,
}

impl SimulatedDevice {
    /// Time for a batch of `n`.
    pub fn takes(&self, n: usize) -> Duration {
        let each = self.per_task + self.transfer;
        self.per_batch + each.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX))
    }

    /// Tasks a second in full batches of `batch`.
    pub fn rate(&self, batch: usize) -> f64 {
        batch as f64 / self.takes(batch).as_secs_f64()
    }

    /// A member of a crew: such a device, whose results are `answer`'s.
    pub fn member<T, R>(
        self,
        name: &str,
        batch: usize,
        answer: impl Fn(&T) -> R + Send + Sync + 'static,
    ) -> Member<T, R>
    where
        T: 'static,
        R: 'static,
    {
        let answer: Answer<T, R> = Arc::new(answer);
        let make = move || {
            let worker = Simulated { device: self, answer: answer.clone() };
            Ok(Box::new(worker) as Box<dyn Worker<T, R>>)
        };
        Member { name: name.to_string(), batch, make: Arc::new(make), arrive: None }
    }
}

/// What a simulated device answers.
type Answer<T, R> = Arc<dyn Fn(&T) -> R + Send + Sync>;

/// A simulated device's worker.
struct Simulated<T, R> {
    device: SimulatedDevice,
    answer: Answer<T, R>,
}

impl<T, R> Worker<T, R> for Simulated<T, R> {
    fn run(&mut self, batch: &[Arc<T>]) -> Result<Vec<R>, Failure> {
        let start = Instant::now();
        let (n, room) = (batch.len(), self.device.capacity.unwrap_or(usize::MAX));
        if n > room {
            let text = format!("{n} tasks on a simulated device with room for {room}");
            return Err(Failure::OutOfMemory(text));
        }
        let results = batch.iter().map(|task| (self.answer)(task)).collect();
        sleep_until(start + self.device.takes(n));
        Ok(results)
    }
}

/// Sleeps, and wakes on time: the last moment is spent watching the clock.
pub fn sleep_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if left > WATCH {
        std::thread::sleep(left - WATCH);
    }
    while Instant::now() < due {
        std::thread::yield_now();
    }
}

/// A run on simulated devices beside what it could be at best.
#[derive(Clone, Debug, Serialize)]
pub struct SimulatedRun {
    /// Devices.
    pub devices: usize,
    /// Tasks.
    pub tasks: usize,
    /// Most tasks in a batch.
    pub batch: usize,
    /// Seconds that the run took.
    pub seconds: f64,
    /// Seconds that it could take at best, by arithmetic.
    pub ideal_seconds: f64,
    /// Seconds of one such device alone, by arithmetic, over this run's; `NaN` where devices differ.
    pub speedup: f64,
    /// Ideal seconds / seconds. On a loaded machine devices that sleep wake late, and this says so.
    pub efficiency: f64,
    /// The part of the devices' time in which they computed, as it was: the scheduler left the rest idle.
    pub utilisation: f64,
    /// The run.
    pub report: Report,
}

/// Equal devices with much to do. Ideal is the work of one device alone, divided.
///
/// # Panics
///
/// If `devices` or `batch` is 0.
pub fn scaling(
    devices: usize,
    tasks: usize,
    batch: usize,
    per_task: Duration,
    per_batch: Duration,
) -> SimulatedRun {
    let device = SimulatedDevice { per_batch, per_task, ..SimulatedDevice::default() };
    let alone = alone(device, tasks, batch);
    let mut measured = measure(&vec![(device, batch); devices], tasks, alone / devices as f64);
    measured.speedup = alone / measured.seconds;
    measured
}

/// A few requests that come at once to idle devices. Ideal is the best spread: equal parts, one batch each.
///
/// # Panics
///
/// If `devices` or `requests` is 0.
pub fn spread(
    devices: usize,
    requests: usize,
    per_task: Duration,
    per_batch: Duration,
) -> SimulatedRun {
    let device = SimulatedDevice { per_batch, per_task, ..SimulatedDevice::default() };
    let best = device.takes(requests.div_ceil(devices)).as_secs_f64();
    let mut measured = measure(&vec![(device, requests); devices], requests, best);
    measured.speedup = device.takes(requests).as_secs_f64() / measured.seconds;
    measured
}

/// Unequal devices, each with its own batch. Ideal is the sum of what they do alone.
///
/// # Panics
///
/// If there are no devices, or a batch is 0.
pub fn uneven(devices: &[(SimulatedDevice, usize)], tasks: usize) -> SimulatedRun {
    let rate: f64 = devices.iter().map(|(device, batch)| device.rate(*batch)).sum();
    measure(devices, tasks, tasks as f64 / rate)
}

/// Seconds for one device alone.
fn alone(device: SimulatedDevice, tasks: usize, batch: usize) -> f64 {
    let (full, rest) = (tasks / batch, tasks % batch);
    let last = if rest > 0 { device.takes(rest).as_secs_f64() } else { 0.0 };
    full as f64 * device.takes(batch).as_secs_f64() + last
}

/// Runs `tasks` tasks on simulated devices.
fn measure(devices: &[(SimulatedDevice, usize)], tasks: usize, ideal_seconds: f64) -> SimulatedRun {
    let member = |(i, (device, batch)): (usize, &(SimulatedDevice, usize))| {
        device.member(&format!("simulated:{i}"), *batch, |task: &usize| *task)
    };
    let crew: Vec<_> = devices.iter().enumerate().map(member).collect();
    let batches: usize = devices.iter().map(|(_, batch)| batch).sum();
    let terms = Terms { ahead: 2 * batches, ..Terms::default() };
    let list = (0..tasks).map(Ok::<usize, std::convert::Infallible>);
    let outcome = share(crew, list, &terms, &|| false, &mut |_, _: usize| Ok(()));
    let report = outcome.unwrap_or_else(|error: PoolError<_>| panic!("{error}"));
    let busy: f64 = report.members.iter().map(|member| member.utilisation).sum();
    SimulatedRun {
        devices: devices.len(),
        tasks,
        batch: devices.iter().map(|(_, batch)| *batch).max().unwrap_or(0),
        seconds: report.seconds,
        ideal_seconds,
        speedup: f64::NAN,
        efficiency: ideal_seconds / report.seconds,
        utilisation: busy / devices.len() as f64,
        report,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The best of three: another program on the machine can only make a run worse.
    fn best(run: impl Fn() -> SimulatedRun) -> SimulatedRun {
        let runs = (0..3).map(|_| run());
        runs.max_by(|a, b| a.utilisation.total_cmp(&b.utilisation)).expect("three runs were made")
    }

    #[test]
    fn a_device_takes_its_time_and_has_its_room() {
        let device = SimulatedDevice {
            per_batch: 3 * MS,
            per_task: 2 * MS,
            transfer: MS,
            capacity: Some(4),
        };
        assert_eq!(device.takes(2), 9 * MS);
        assert!((device.rate(4) - 4.0 / 0.015).abs() < 1e-9);
        let member = device.member("d", 4, |x: &u32| x + 1);
        let mut worker = (member.make)().expect("nothing can fail");
        let batch: Vec<Arc<u32>> = (0..4).map(Arc::new).collect();
        let start = Instant::now();
        assert_eq!(worker.run(&batch), Ok(vec![1, 2, 3, 4]));
        assert!(start.elapsed() >= 15 * MS);
        let batch: Vec<Arc<u32>> = (0..5).map(Arc::new).collect();
        assert!(matches!(worker.run(&batch), Err(Failure::OutOfMemory(_))));
    }

    /// What the scheduler answers for, whatever else the machine does: nobody waits, and batches stay whole. The
    /// bar of 0.99 of ideal is for a quiet machine; `scaling` measures it there.
    #[test]
    fn eight_devices_are_kept_busy_with_whole_batches() {
        let measured = best(|| scaling(8, 512, 8, MS, MS));
        assert!(measured.utilisation > 0.85, "{measured:?}");
        assert!((measured.speedup / 8.0 - measured.efficiency).abs() < 1e-9);
        let batches: usize = measured.report.members.iter().map(|member| member.batches).sum();
        assert!((64..80).contains(&batches), "{measured:?}");
    }

    /// The best spread, whatever the machine does: equal parts in one batch each.
    #[test]
    fn eight_requests_are_spread_over_the_idle() {
        for devices in [4, 8] {
            let measured = spread(devices, 8, 20 * MS, 10 * MS);
            for member in &measured.report.members {
                assert_eq!((member.tasks, member.batches), (8 / devices, 1), "{measured:?}");
            }
        }
    }

    #[test]
    fn uneven_devices_finish_together() {
        let device =
            |per_task| SimulatedDevice { per_batch: MS, per_task, ..SimulatedDevice::default() };
        let devices = [(device(MS), 8), (device(4 * MS), 8)];
        let measured = best(|| uneven(&devices, 400));
        assert!(measured.utilisation > 0.85, "{measured:?}");
        let done = |i: usize| measured.report.members[i].tasks as f64;
        // 33 / 9 on a quiet machine; sleep that is late by the same for both evens them out.
        assert!(done(0) / done(1) > 1.5, "{measured:?}");
    }
}
