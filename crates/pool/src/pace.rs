//! How fast devices are, and who should do what is left.
//!
//! A batch of n tasks takes about `start + each · n` seconds; both are learnt. What is left is dealt out so
//! that all devices finish together ([`allot`]): a slow device gets nothing that the fast ones finish sooner.

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
    fn of_all(self, n: usize, batch: usize) -> f64 {
        self.start * n.div_ceil(batch) as f64 + self.each * n as f64
    }

    /// For each task of full batches.
    fn in_full(self, batch: usize) -> f64 {
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

/// A device as the one who deals tasks sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hand {
    /// Seconds until it has done what it has.
    pub free_in: f64,
    /// Its cost.
    pub cost: Cost,
    /// Most tasks in a batch.
    pub batch: usize,
}

impl Hand {
    /// When it is done if it gets `n` tasks.
    fn done_in(&self, n: usize) -> f64 {
        self.free_in + self.cost.of_all(n, self.batch)
    }
}

/// Deals `tasks` equal tasks to `hands` so that the last is done as soon as possible: how many each gets.
///
/// The bulk goes by the level at which all are done at once, the rest one by one to whoever is done first with it.
pub(crate) fn allot(hands: &[Hand], tasks: usize) -> Vec<usize> {
    let level = level(hands, tasks);
    let sure = |hand: &Hand| ((level - hand.free_in) / hand.cost.in_full(hand.batch)).floor() - 1.0;
    let mut counts: Vec<usize> = hands.iter().map(|hand| sure(hand).max(0.0) as usize).collect();
    let dealt: usize = counts.iter().sum();
    for _ in dealt..tasks {
        let done = |i: &usize| hands[*i].done_in(counts[*i] + 1);
        let Some(best) = (0..hands.len()).min_by(|a, b| done(a).total_cmp(&done(b))) else { break };
        counts[best] += 1;
    }
    counts
}

/// When all is done if tasks could be cut: the sum over hands of (level − free) / seconds a task is `tasks`.
fn level(hands: &[Hand], tasks: usize) -> f64 {
    let mut order: Vec<&Hand> = hands.iter().collect();
    order.sort_by(|a, b| a.free_in.total_cmp(&b.free_in));
    let (mut rate, mut done_by_zero, mut level) = (0.0, 0.0, f64::INFINITY);
    for hand in order {
        if hand.free_in >= level {
            break;
        }
        let speed = 1.0 / hand.cost.in_full(hand.batch);
        rate += speed;
        done_by_zero += speed * hand.free_in;
        level = (tasks as f64 + done_by_zero) / rate;
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hand(free_in: f64, each: f64, batch: usize) -> Hand {
        Hand { free_in, cost: Cost { start: 0.0, each }, batch }
    }

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

    #[test]
    fn few_tasks_are_spread_over_idle_devices() {
        assert_eq!(allot(&[hand(0.0, 1.0, 16); 4], 8), [2; 4]);
        assert_eq!(allot(&[hand(0.0, 1.0, 16); 8], 8), [1; 8]);
        assert_eq!(allot(&[hand(0.0, 1.0, 16); 8], 3).iter().sum::<usize>(), 3);
    }

    #[test]
    fn a_slow_device_gets_its_part_and_nothing_that_others_finish_sooner() {
        assert_eq!(allot(&[hand(0.0, 1.0, 16), hand(0.0, 4.0, 16)], 100), [80, 20]);
        assert_eq!(allot(&[hand(0.0, 1.0, 16), hand(0.0, 4.0, 16)], 3), [3, 0]);
        assert_eq!(allot(&[hand(5.0, 1.0, 16), hand(0.0, 1.0, 16)], 3), [0, 3]);
        assert_eq!(allot(&[], 3), [0; 0]);
    }

    /// Against all ways to deal.
    fn best_of_all(hands: &[Hand], tasks: usize) -> f64 {
        match hands {
            [] => f64::INFINITY,
            [only] => only.done_in(tasks),
            [first, rest @ ..] => (0..=tasks)
                .map(|n| {
                    let others = if n == tasks { 0.0 } else { best_of_all(rest, tasks - n) };
                    let own = if n == 0 { 0.0 } else { first.done_in(n) };
                    own.max(others)
                })
                .fold(f64::INFINITY, f64::min),
        }
    }

    proptest! {
        /// Without a fixed part, dealing to whoever is done first is optimal.
        #[test]
        fn dealing_is_as_good_as_the_best_of_all_ways(
            devices in proptest::collection::vec((0.0..5.0_f64, 0.2..4.0_f64, 1_usize..9), 1..4),
            tasks in 1_usize..24,
        ) {
            let hands: Vec<Hand> = devices.iter().map(|&(f, e, b)| hand(f, e, b)).collect();
            let counts = allot(&hands, tasks);
            prop_assert_eq!(counts.iter().sum::<usize>(), tasks);
            let used = hands.iter().zip(&counts).filter(|(_, n)| **n > 0);
            let last = used.map(|(hand, n)| hand.done_in(*n)).fold(0.0, f64::max);
            let best = best_of_all(&hands, tasks);
            prop_assert!(last <= best * (1.0 + 1e-9), "{:?}: {} > {}", counts, last, best);
        }
    }
}
