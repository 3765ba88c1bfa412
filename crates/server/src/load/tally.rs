//! What was measured between two looks: a histogram for each connection, merged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Finest step of a latency, in ns.
const FINEST: u64 = 1_000;
/// Digits of a latency that are kept.
const DIGITS: u8 = 3;
/// Different reasons of failures that are kept apart.
const REASONS: usize = 32;

/// What came of requests.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Latencies of what succeeded, in ns.
    pub(crate) latency: Histogram<u64>,
    /// Sums of what succeeded.
    pub(crate) parts: Parts,
    /// How often each reason was given.
    pub(crate) failures: BTreeMap<String, u64>,
}

/// Times of a request's parts, or sums of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// From when it should have begun to when it was begun.
    pub(crate) late: Duration,
    /// Until its last byte was handed to the socket.
    pub(crate) send: Duration,
    /// From the answer's head to its end.
    pub(crate) receive: Duration,
    /// From when it should have begun to the answer's end.
    pub(crate) whole: Duration,
}

impl std::ops::AddAssign for Parts {
    fn add_assign(&mut self, other: Self) {
        self.late += other.late;
        self.send += other.send;
        self.receive += other.receive;
        self.whole += other.whole;
    }
}

impl Default for Tally {
    fn default() -> Self {
        // The bounds are constants that the histogram accepts; it grows as it must.
        let mut latency = Histogram::new_with_bounds(FINEST, 2 * FINEST, DIGITS)
            .unwrap_or_else(|_| unreachable!("1 µs and 3 digits are bounds of a histogram"));
        latency.auto(true);
        Self { latency, parts: Parts::default(), failures: BTreeMap::new() }
    }
}

impl Tally {
    /// Requests that succeeded.
    pub(crate) fn succeeded(&self) -> u64 {
        self.latency.len()
    }

    /// Requests that did not.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Mean latency; none without requests.
    pub(crate) fn mean(&self) -> Option<Duration> {
        let count = u32::try_from(self.succeeded()).ok().filter(|&n| n > 0)?;
        Some(self.parts.whole / count)
    }

    /// Counts a request that succeeded.
    pub(crate) fn succeed(&mut self, parts: Parts) {
        let whole = u64::try_from(parts.whole.as_nanos()).unwrap_or(u64::MAX);
        // A histogram that grows takes any value.
        let recorded = self.latency.record(whole.max(FINEST));
        debug_assert!(recorded.is_ok(), "{whole} ns is a latency");
        self.parts += parts;
    }

    /// Counts a request that failed.
    pub(crate) fn fail(&mut self, reason: &str) {
        let known = self.failures.contains_key(reason) || self.failures.len() < REASONS;
        let reason = if known { reason } else { "other reasons" };
        *self.failures.entry(reason.to_string()).or_default() += 1;
    }

    /// Adds another's requests.
    pub(crate) fn merge(&mut self, other: &Self) {
        // A histogram that grows takes any value of another.
        let added = self.latency.add(&other.latency);
        debug_assert!(added.is_ok(), "histograms of equal digits add up");
        self.parts += other.parts;
        for (reason, count) in &other.failures {
            *self.failures.entry(reason.clone()).or_default() += count;
        }
    }
}

/// A connection's tally, which another thread takes away from time to time.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Tally>);

impl Recorder {
    pub(crate) fn note(&self, outcome: Result<Parts, String>) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(parts) => tally.succeed(parts),
            Err(reason) => tally.fail(&reason),
        }
    }
}

/// All connections' recorders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorders(Arc<Mutex<Vec<Arc<Recorder>>>>);

impl Recorders {
    /// One more.
    pub(crate) fn add(&self) -> Arc<Recorder> {
        let recorder = Arc::new(Recorder::default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(recorder.clone());
        recorder
    }

    /// What they noted since the last time, together.
    pub(crate) fn take(&self) -> Tally {
        let recorders = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut whole = Tally::default();
        for recorder in recorders {
            let mut tally = recorder.0.lock().unwrap_or_else(PoisonError::into_inner);
            whole.merge(&tally);
            tally.latency.reset();
            tally.parts = Parts::default();
            tally.failures.clear();
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(micros: u64) -> Parts {
        Parts { whole: Duration::from_micros(micros), ..Parts::default() }
    }

    /// Ranks of a sorted list are the reference; a histogram of three digits is within 1/1000 of them.
    #[test]
    fn percentiles_of_merged_histograms_are_those_of_a_sorted_list() {
        let recorders = Recorders::default();
        let connections: Vec<_> = (0..7).map(|_| recorders.add()).collect();
        let mut all = Vec::new();
        let mut state = 12345_u64;
        for index in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // From 50 µs to 3 s, most of it short.
            let micros = 50 + ((state >> 33) % 1_000) * ((state >> 13) % 3_000);
            all.push(micros);
            connections[index % 7].note(Ok(parts(micros)));
        }
        all.sort_unstable();
        let tally = recorders.take();
        assert_eq!(tally.succeeded(), 20_000);
        for quantile in [0.5, 0.9, 0.95, 0.99, 0.999, 1.0] {
            let rank = (quantile * 20_000_f64).ceil() as usize;
            let expected = 1e3 * all[rank - 1] as f64;
            let found = tally.latency.value_at_quantile(quantile) as f64;
            assert!((found / expected - 1.0).abs() <= 1e-3, "{quantile}: {found} {expected}");
        }
        let sum: u64 = all.iter().sum();
        assert_eq!(tally.parts.whole, Duration::from_micros(sum));
        assert_eq!(recorders.take().succeeded(), 0);
    }

    #[test]
    fn failures_are_counted_by_reason_and_their_names_are_bounded() {
        let mut tally = Tally::default();
        (0..3).for_each(|_| tally.fail("503: the queue is full"));
        (0..100).for_each(|i| tally.fail(&format!("reason {i}")));
        assert_eq!(tally.failures["503: the queue is full"], 3);
        assert_eq!((tally.failed(), tally.failures.len()), (103, REASONS + 1));
    }
}
