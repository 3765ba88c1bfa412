//! How fast a device is: a batch of n tasks takes about `start + each · n` seconds, and both are learnt.

/// Weight of a batch beside the next one: about the last twenty count.
const MEMORY: f64 = 0.95;
/// Pull of the slope towards the usual one, as a part of the squared mean batch: batches of equal size cannot tell
/// the two parts apart.
const PULL: f64 = 0.02;
/// The usual part of a batch's time that goes by tasks. That the rest is fixed keeps batches whole while their end
/// is a matter of noise.
const USUAL: f64 = 0.9;

/// Seconds that a batch takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    /// For the batch.
    pub start: f64,
    /// For each task of it.
    pub each: f64,
}

impl Cost {
    /// Of a batch of `n` tasks.
    pub(crate) fn of(self, n: usize) -> f64 {
        self.start + self.each * n as f64
    }

    /// Of `n` tasks in batches of at most `batch`.
    pub(crate) fn of_all(self, n: usize, batch: usize) -> f64 {
        self.start * n.div_ceil(batch) as f64 + self.each * n as f64
    }

    /// For each task of full batches.
    pub(crate) fn in_full(self, batch: usize) -> f64 {
        self.each + self.start / batch as f64
    }
}

/// What was seen of one device's speed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    /// The first batch, with its kernels' compilation: the best guess until there is another.
    first: Option<(f64, f64)>,
    /// Weighted sums over later batches: 1, n, n², t, n·t.
    sums: [f64; 5],
}

impl Pace {
    /// Learns from a batch of `n` tasks. `first` says that the worker was new.
    pub(crate) fn learn(&mut self, n: usize, seconds: f64, first: bool) {
        let n = n as f64;
        if first {
            self.first = Some((n, seconds));
            return;
        }
        let seen = [1.0, n, n * n, seconds, n * seconds];
        for (sum, seen) in self.sums.iter_mut().zip(seen) {
            *sum = *sum * MEMORY + seen;
        }
    }

    /// The cost, if anything is known: least squares, drawn to the usual.
    pub(crate) fn cost(&self) -> Option<Cost> {
        let [weight, n, nn, t, nt] = self.sums;
        if weight == 0.0 {
            return self.first.map(|(n, seconds)| Cost { start: 0.0, each: positive(seconds / n) });
        }
        let (n, nn, t, nt) = (n / weight, nn / weight, t / weight, nt / weight);
        let (plain, pull) = (t / n, PULL * n * n);
        let slope = (nt - n * t + pull * USUAL * plain) / (nn - n * n + pull);
        // Noise must not make tasks free, nor batches.
        let each = positive(slope.clamp(0.05 * plain, plain));
        Some(Cost { start: t - each * n, each })
    }
}

/// Keeps a cost above zero, so that it can be divided by.
fn positive(seconds: f64) -> f64 {
    seconds.max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_with_a_fixed_part_is_learnt_from_batches_of_several_sizes() {
        let mut pace = Pace::default();
        assert_eq!(pace.cost(), None);
        pace.learn(8, 100.0, true);
        assert_eq!(pace.cost(), Some(Cost { start: 0.0, each: 12.5 }));
        for n in [16, 4, 16, 1, 8, 16, 2] {
            pace.learn(n, 3.0 + 0.5 * n as f64, false);
        }
        let cost = pace.cost().expect("seven batches were seen");
        // The pull is a few percent of the slope.
        assert!((cost.each - 0.5).abs() < 0.05 && (cost.start - 3.0).abs() < 0.5, "{cost:?}");
    }

    #[test]
    fn equal_batches_are_taken_to_have_the_usual_fixed_part_whatever_their_noise() {
        let mut pace = Pace::default();
        for i in 0..50 {
            pace.learn(16, 1.0 + if i % 2 == 0 { 0.05 } else { -0.05 }, false);
        }
        let cost = pace.cost().expect("fifty batches were seen");
        assert!((cost.start - 0.1).abs() < 0.01 && (cost.of(16) - 1.0).abs() < 0.01, "{cost:?}");
    }
}
