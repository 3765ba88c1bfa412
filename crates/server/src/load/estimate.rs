//! Percentiles and rates with their intervals, by resampling pieces of time.
//!
//! Latencies that follow each other are alike: a slow moment makes many of them slow. So pieces of time are drawn, not
//! single requests, each with its histogram: an interval is that of measurements like this one.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::tally::Tally;

/// Share of resampled values that an interval leaves out on each side.
pub const TAIL: f64 = 0.025;
/// Times that the pieces are drawn anew.
const DRAWS: usize = 400;
/// Percentiles of a report.
pub const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];

/// A value and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// What was measured.
    pub value: f64,
    /// The interval, if there were pieces enough to find one.
    pub interval: Option<[f64; 2]>,
}

/// Requests of a piece of time.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) length: Duration,
    pub(crate) tally: Tally,
}

/// What pieces of time say together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Estimates {
    /// Requests that succeeded, a second.
    pub(crate) rate: Estimate,
    /// Latencies at [`QUANTILES`], in seconds; none where too few requests were measured.
    pub(crate) latency: [Option<Estimate>; QUANTILES.len()],
}

/// Requests that bound a percentile from above: with fewer, the greatest of them may lie below it more often than
/// [`TAIL`].
///
/// All of n lie below the quantile q with the probability qⁿ.
#[must_use]
pub fn least_requests(quantile: f64) -> u64 {
    (TAIL.ln() / quantile.ln()).ceil() as u64
}

/// A piece's histogram as places in the list of all values, and counts.
struct Counts {
    seconds: f64,
    requests: u64,
    values: Vec<(usize, u64)>,
}

/// All pieces over one list of values.
struct Pool {
    /// Latencies that occurred, ascending, in ns.
    values: Vec<u64>,
    pieces: Vec<Counts>,
}

impl Pool {
    fn new(pieces: &[Piece]) -> Self {
        let recorded = |piece: &Piece| -> Vec<(u64, u64)> {
            let values = piece.tally.latency.iter_recorded();
            values.map(|v| (v.value_iterated_to(), v.count_since_last_iteration())).collect()
        };
        let recorded: Vec<Vec<(u64, u64)>> = pieces.iter().map(recorded).collect();
        let mut values: Vec<u64> = recorded.iter().flatten().map(|v| v.0).collect();
        values.sort_unstable();
        values.dedup();
        let place = |v: &(u64, u64)| (values.partition_point(|other| *other < v.0), v.1);
        let counts = |(piece, recorded): (&Piece, &Vec<(u64, u64)>)| Counts {
            seconds: piece.length.as_secs_f64(),
            requests: piece.tally.succeeded(),
            values: recorded.iter().map(place).collect(),
        };
        let pieces = pieces.iter().zip(&recorded).map(counts).collect();
        Self { values, pieces }
    }

    /// Rate, and percentiles in seconds, of the pieces of a list.
    fn look(&self, chosen: &[usize]) -> (f64, [f64; QUANTILES.len()]) {
        let mut counts = vec![0_u64; self.values.len()];
        let (mut seconds, mut requests) = (0.0, 0);
        for piece in chosen.iter().map(|&index| &self.pieces[index]) {
            seconds += piece.seconds;
            requests += piece.requests;
            piece.values.iter().for_each(|&(place, count)| counts[place] += count);
        }
        (requests as f64 / seconds, self.percentiles(&counts, requests))
    }

    /// By nearest rank.
    fn percentiles(&self, counts: &[u64], requests: u64) -> [f64; QUANTILES.len()] {
        let ranks = QUANTILES.map(|q| ((q * requests as f64).ceil() as u64).max(1));
        let mut found = [f64::NAN; QUANTILES.len()];
        let (mut passed, mut next) = (0, 0);
        for (value, count) in self.values.iter().zip(counts) {
            passed += count;
            while next < ranks.len() && passed >= ranks[next] {
                found[next] = *value as f64 * 1e-9;
                next += 1;
            }
        }
        found
    }
}

impl Estimates {
    /// What pieces of time say together; `seed` is that of the draws.
    pub(crate) fn of(pieces: &[Piece], seed: u64) -> Self {
        let pool = Pool::new(pieces);
        let all: Vec<usize> = (0..pieces.len()).collect();
        let (rate, percentiles) = pool.look(&all);
        let requests: u64 = pool.pieces.iter().map(|piece| piece.requests).sum();
        let mut random = StdRng::seed_from_u64(seed);
        let mut draw = |_| {
            let one = |_: &usize| random.random_range(0..pieces.len());
            pool.look(&all.iter().map(one).collect::<Vec<usize>>())
        };
        let draws: Vec<_> = match pieces.len() {
            0 | 1 => Vec::new(),
            _ => (0..DRAWS).map(&mut draw).collect(),
        };
        let latency = std::array::from_fn(|i| {
            let enough = requests >= least_requests(QUANTILES[i]);
            enough.then(|| Estimate {
                value: percentiles[i],
                interval: interval(draws.iter().map(|draw| draw.1[i]).collect()),
            })
        });
        let interval = interval(draws.iter().map(|draw| draw.0).collect());
        Self { rate: Estimate { value: rate, interval }, latency }
    }
}

/// What lies between the tails.
fn interval(mut values: Vec<f64>) -> Option<[f64; 2]> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let place = |share: f64| values[(share * last as f64).round() as usize];
    Some([place(TAIL), place(1.0 - TAIL)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tally::Parts;

    fn piece(micros: impl Iterator<Item = u64>) -> Piece {
        let mut tally = Tally::default();
        for micros in micros {
            tally.succeed(Parts { whole: Duration::from_micros(micros), ..Parts::default() });
        }
        Piece { length: Duration::from_millis(500), tally }
    }

    /// The chance that none of n requests is above the 99th percentile is 0.99ⁿ.
    #[test]
    fn a_percentile_needs_as_many_requests_as_can_bound_it() {
        assert_eq!(QUANTILES.map(least_requests), [6, 36, 72, 368, 3688]);
        for (quantile, least) in QUANTILES.map(|q| (q, least_requests(q) as i32)) {
            assert!(quantile.powi(least) <= TAIL && quantile.powi(least - 1) > TAIL);
        }
        let few = Estimates::of(&[piece(1..=200), piece(1..=160)], 1);
        assert!(few.latency[2].is_some() && few.latency[3].is_none());
    }

    /// Latencies that are uniform between 0 and 10 ms: the 0.9-quantile of n has the standard error √(0.09/n) · 10 ms,
    /// and the 95 % interval is 3.92 of these wide.
    #[test]
    fn intervals_are_as_wide_as_theory_has_them() {
        let mut random = StdRng::seed_from_u64(5);
        let mut uniform = || {
            piece((0..100).map(|_| random.random_range(1..10_000)).collect::<Vec<_>>().into_iter())
        };
        let pieces: Vec<Piece> = (0..40).map(|_| uniform()).collect();
        let found = Estimates::of(&pieces, 1);
        let p90 = found.latency[1].expect("enough");
        let [low, high] = p90.interval.expect("pieces");
        let expected = 3.92 * (0.09_f64 / 4000.0).sqrt() * 0.01;
        assert!((0.6..1.5).contains(&((high - low) / expected)), "{low} {high} {expected}");
        assert!(low <= p90.value && p90.value <= high && (low..high).contains(&0.009));
        // Each piece has as many requests: their rate is certain.
        assert_eq!(found.rate, Estimate { value: 200.0, interval: Some([200.0, 200.0]) });
    }

    #[test]
    fn one_piece_has_no_interval_and_none_has_no_latency() {
        let one = Estimates::of(&[piece(1..=100)], 1);
        assert_eq!((one.rate.value, one.rate.interval), (200.0, None));
        let idle = Estimates::of(&[piece(1..1), piece(1..1)], 1);
        assert_eq!((idle.rate.value, idle.latency[0]), (0.0, None));
    }
}
