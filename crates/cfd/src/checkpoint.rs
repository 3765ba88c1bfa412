//! Binomial checkpointing: a chain of steps is run backwards with few of its states in memory.
//!
//! With c states kept, r repetitions of any step reach binomial(c + r, c) steps, and no schedule needs fewer
//! forward steps. The first sweep is one of these repetitions, so an objective can be summed up in it. Source: Griewank & Walther, "Revolve", ACM Trans. Math. Softw. 26 (2000) 19.

/// Runs `steps` steps backwards.
///
/// `start` is the state before the first step and counts as one of the `kept` states; `forward` takes the state
/// before a step to the one after it; `backward` is called once for each step, the last first, with the state
/// before it. `forward` is never called for the last step: `backward` repeats what it needs of a step itself.
///
/// # Errors
///
/// The first error of `forward` or `backward`.
///
/// # Panics
///
/// If `kept` is 0.
pub fn reverse<S, E>(
    start: &S,
    steps: usize,
    kept: usize,
    forward: &mut impl FnMut(&S, usize) -> Result<S, E>,
    backward: &mut impl FnMut(&S, usize) -> Result<(), E>,
) -> Result<(), E> {
    assert!(kept > 0, "the start is kept, so at least one state is");
    part(start, 0, steps, kept, forward, backward)
}

/// Runs the steps from `first` to before `end` backwards, with the state before `first` at hand.
fn part<S, E>(
    state: &S,
    first: usize,
    end: usize,
    kept: usize,
    forward: &mut impl FnMut(&S, usize) -> Result<S, E>,
    backward: &mut impl FnMut(&S, usize) -> Result<(), E>,
) -> Result<(), E> {
    let mut end = end;
    while end > first + 1 && kept > 1 {
        let middle = first + split(end - first, kept);
        let there = advance(state, first, middle, forward)?;
        part(&there, middle, end, kept - 1, forward, backward)?;
        end = middle;
    }
    for step in (first + 1..end).rev() {
        backward(&advance(state, first, step, forward)?, step)?;
    }
    if end > first { backward(state, first) } else { Ok(()) }
}

/// The state before `end`; `end` is after `first`.
fn advance<S, E>(
    state: &S,
    first: usize,
    end: usize,
    forward: &mut impl FnMut(&S, usize) -> Result<S, E>,
) -> Result<S, E> {
    let next = forward(state, first)?;
    (first + 1..end).try_fold(next, |state, step| forward(&state, step))
}

/// Forward steps that running `steps` steps backwards takes with `kept` states: r n − binomial(c + r, r − 1), where
/// r is the least number with binomial(c + r, c) ≥ n.
#[must_use]
pub fn forward_steps(steps: usize, kept: usize) -> usize {
    if steps <= 1 {
        return 0;
    }
    let r = repetitions(steps, kept);
    r * steps - binomial(kept + r, r - 1)
}

/// The least number of repetitions that is enough.
fn repetitions(steps: usize, kept: usize) -> usize {
    (1..).find(|&r| binomial(kept + r, kept) >= steps).unwrap_or(steps)
}

/// How many steps before the next kept state, so that both parts can be run backwards with the fewest repetitions.
fn split(steps: usize, kept: usize) -> usize {
    let r = repetitions(steps, kept);
    let least = if r >= 2 { binomial(kept + r - 2, kept) } else { 1 };
    least.max(steps.saturating_sub(binomial(kept - 1 + r, r))).max(1)
}

/// Binomial coefficient; the greatest number if it is greater.
fn binomial(n: usize, k: usize) -> usize {
    let k = k.min(n - k) as u128;
    let value = (1..=k).try_fold(1_u128, |value, i| {
        value.checked_mul(n as u128 - k + i).map(|product| product / i)
    });
    value.and_then(|v| usize::try_from(v).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    /// A state that knows its step and counts how many of its kind live.
    struct State<'a> {
        step: usize,
        alive: &'a Cell<usize>,
    }

    impl<'a> State<'a> {
        fn new(step: usize, alive: &'a Cell<usize>) -> Self {
            alive.set(alive.get() + 1);
            Self { step, alive }
        }
    }

    impl Drop for State<'_> {
        fn drop(&mut self) {
            self.alive.set(self.alive.get() - 1);
        }
    }

    /// Steps taken forwards, steps in the order they were reversed, and the most states at once.
    fn run(steps: usize, kept: usize) -> (usize, Vec<usize>, usize) {
        let (alive, most) = (Cell::new(0), Cell::new(0));
        let (mut taken, mut reversed) = (0, Vec::new());
        let mut forward = |state: &State, step: usize| {
            assert_eq!(state.step, step);
            taken += 1;
            let next = State::new(step + 1, &alive);
            most.set(most.get().max(alive.get()));
            Ok::<_, Infallible>(next)
        };
        let mut backward = |state: &State<'_>, step: usize| {
            assert_eq!(state.step, step);
            reversed.push(step);
            Ok(())
        };
        let start = State::new(0, &alive);
        let Ok(()) = reverse(&start, steps, kept, &mut forward, &mut backward);
        (taken, reversed, most.get())
    }

    #[test]
    fn forward_steps_are_the_binomial_formulas_and_memory_is_bounded() {
        for kept in 1..=8 {
            for steps in [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233] {
                let (taken, reversed, most) = run(steps, kept);
                assert_eq!(taken, forward_steps(steps, kept), "{steps} steps, {kept} states");
                assert!(reversed.iter().copied().eq((0..steps).rev()));
                // What is kept, and two while a state is advanced.
                assert!(most <= kept + 2, "{most} states, {kept} kept");
            }
        }
    }

    /// The known values: all states kept, every step once; one state kept, n (n − 1) / 2 steps.
    #[test]
    fn the_formulas_ends_are_known() {
        assert_eq!(forward_steps(10, 10), 9);
        assert_eq!(forward_steps(10, 1), 45);
        assert_eq!(forward_steps(10, 3), 15);
        // 3 · 500 − binomial(23, 2): three repetitions reach 1,771 steps, two only 231.
        assert_eq!(forward_steps(500, 20), 1247);
    }

    /// No schedule is better: dynamic programming over all splits.
    #[test]
    fn no_other_schedule_takes_fewer_steps() {
        let mut least = vec![vec![0_usize; 61]; 6];
        for steps in 2..=60 {
            least[1][steps] = steps * (steps - 1) / 2;
            for kept in 2..=5 {
                let cost = |m: usize| m + least[kept - 1][steps - m] + least[kept][m];
                least[kept][steps] = (1..steps).map(cost).min().unwrap_or(0);
            }
        }
        for (kept, row) in least.iter().enumerate().skip(1) {
            for (steps, &cost) in row.iter().enumerate().skip(1) {
                assert_eq!(forward_steps(steps, kept), cost, "{steps} steps, {kept} states");
            }
        }
    }
}
