//! Who should do what is left: dealt out so that all devices finish together, and a slow one gets nothing that the
//! fast ones finish sooner.

use super::speed::Cost;

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
    use lithoburn_compare::largest;
    use proptest::prelude::*;

    use super::*;

    fn hand(free_in: f64, each: f64, batch: usize) -> Hand {
        Hand { free_in, cost: Cost { start: 0.0, each }, batch }
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
            let last = largest(used.map(|(hand, n)| hand.done_in(*n)));
            let best = best_of_all(&hands, tasks);
            prop_assert!(last <= best * (1.0 + 1e-9), "{:?}: {} > {}", counts, last, best);
        }
    }
}
