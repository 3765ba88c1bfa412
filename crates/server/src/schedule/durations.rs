//! How long requests took, by buckets, for percentiles of any span of time.

use std::time::Duration;

/// Upper bounds of the buckets, in seconds: 1 ms, and half as much again each time, to 37 s. A percentile read from them is off by
/// a fifth at most.
const BOUNDS: usize = 27;
const FIRST: f64 = 1e-3;
const RATIO: f64 = 1.5;

/// Requests by how long they took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Durations {
    /// Requests within each bound and beyond the one before.
    within: [u64; BOUNDS],
    /// Requests beyond the last bound.
    beyond: u64,
    /// Seconds of all.
    seconds: f64,
}

/// A bound, in seconds.
fn bound(index: usize) -> f64 {
    FIRST * RATIO.powi(index as i32)
}

impl Durations {
    /// A request took so long.
    pub(crate) fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let index = (0..BOUNDS).find(|&index| seconds <= bound(index));
        match index {
            Some(index) => self.within[index] += 1,
            None => self.beyond += 1,
        }
        self.seconds += seconds;
    }

    /// Bounds in seconds, and how many requests took no longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let sums = self.within.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        (0..BOUNDS).map(bound).zip(sums)
    }

    /// All requests.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.within.iter().sum::<u64>() + self.beyond
    }

    /// Seconds of all.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_within_the_first_bound_that_holds_it() {
        let mut durations = Durations::default();
        for ms in [0.5, 1.0, 1.2, 1.6, 80.0, 1e6] {
            durations.add(Duration::from_secs_f64(1e-3 * ms));
        }
        let counts: Vec<(f64, u64)> = durations.cumulative().collect();
        assert_eq!((counts[0].1, counts[1].1, counts[2].1), (2, 3, 4));
        assert_eq!((counts[BOUNDS - 1].1, durations.count()), (5, 6));
        assert!(counts.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
        // 80 ms is within the first bound of at least as much.
        let first = counts.iter().find(|(_, count)| *count == 5).expect("a bound");
        assert!((0.08..0.12).contains(&first.0), "{first:?}");
        assert!((durations.seconds() - 1000.0843).abs() < 1e-9);
    }
}
