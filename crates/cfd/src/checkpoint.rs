//! Checkpoints: a chain of steps is run backwards with few of its states in memory.
//!
//! Two kinds of memory are weighed against each other. A *kept state* is what a run can start from again; a
//! *recorded step* is what one step backwards needs. A stretch that fits into the memory left over is recorded as a
//! whole and run backwards at once; a longer one is split, with a state kept where its second part begins or, where
//! the second part can be recorded, with its first part run again later. The splits are those of fewest forward
//! steps, found by dynamic programming: n² j / 2 additions for n steps and j states, little beside the steps of any
//! run but the very longest. Sources: Griewank & Walther, "Revolve",
//! ACM Trans. Math. Softw. 26 (2000) 19, where every state costs the same; Stumm & Walther, SIAM J. Sci. Comput. 31
//! (2009) 2110.

/// Steps that can be repeated from kept states.
pub trait Chain {
    /// A state between two steps.
    type State;
    /// What is kept of a state; enough to make it again.
    type Kept;
    /// Why a step fails.
    type Error;

    /// What is kept of a state.
    fn keep(&self, state: &Self::State) -> Self::Kept;

    /// The state again.
    fn restore(&self, kept: &Self::Kept) -> Self::State;

    /// The state after step `step`.
    ///
    /// # Errors
    ///
    /// Why the step fails.
    fn forward(&mut self, state: &Self::State, step: usize) -> Result<Self::State, Self::Error>;

    /// Backwards over step `step`, between two states. Called once for each step, the last first.
    ///
    /// # Errors
    ///
    /// Why the step fails.
    fn backward(
        &mut self,
        before: &Self::State,
        after: &Self::State,
        step: usize,
    ) -> Result<(), Self::Error>;
}

/// Room for states, and what they cost, all in one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// In all, beside the start. Without room for one step, one step is recorded all the same.
    pub room: usize,
    /// A kept state.
    pub state: usize,
    /// A recorded step.
    pub step: usize,
}

/// Runs `steps` steps from `start` backwards.
///
/// # Errors
///
/// The first error of a step.
pub fn reverse<C: Chain>(
    chain: &mut C,
    start: &C::State,
    steps: usize,
    memory: Memory,
) -> Result<(), C::Error> {
    if steps == 0 {
        return Ok(());
    }
    let schedule = Schedule::new(steps, memory);
    let start = chain.keep(start);
    schedule.part(chain, &start, [0, steps], 0)
}

/// Forward steps that running `steps` steps backwards takes.
#[must_use]
pub fn forward_steps(steps: usize, memory: Memory) -> usize {
    Schedule::new(steps, memory).least[0][steps].0
}

/// The fewest forward steps for every stretch, and the split that takes them.
struct Schedule {
    /// Steps that can be recorded beside j kept states.
    recorded: Vec<usize>,
    /// `[j][n]`: forward steps for n steps beside j kept states, and the length of the first part; no part if all
    /// are recorded.
    least: Vec<Vec<(usize, usize)>>,
}

impl Schedule {
    fn new(steps: usize, memory: Memory) -> Self {
        let most = (memory.room / memory.state.max(1)).min(steps);
        let left = |j: usize| memory.room - j * memory.state;
        let recorded = (0..=most).map(|j| (left(j) / memory.step.max(1)).max(1)).collect();
        let mut schedule = Self { recorded, least: vec![Vec::new(); most + 1] };
        for held in (0..=most).rev() {
            schedule.least[held].push((0, 0));
            for n in 1..=steps {
                let best = schedule.best(n, held);
                schedule.least[held].push(best);
            }
        }
        schedule
    }

    /// The best split of `steps` steps, whose shorter stretches are known.
    fn best(&self, steps: usize, held: usize) -> (usize, usize) {
        if steps <= self.recorded[held] {
            return (steps, 0);
        }
        let kept = self.least.get(held + 1);
        let cost = |first: usize| {
            let second = steps - first;
            let kept = kept.map(|row| row[second].0);
            let at_once = (second <= self.recorded[held]).then_some(second);
            let second = at_once.or(kept)?;
            Some((first + second + self.least[held][first].0, first))
        };
        (1..steps).filter_map(cost).min().unwrap_or((usize::MAX, 1))
    }

    fn part<C: Chain>(
        &self,
        chain: &mut C,
        start: &C::Kept,
        [first, end]: [usize; 2],
        held: usize,
    ) -> Result<(), C::Error> {
        let mut end = end;
        loop {
            let state = chain.restore(start);
            let (_, steps) = self.least[held][end - first];
            if steps == 0 {
                return record(chain, state, [first, end]);
            }
            let middle = first + steps;
            let there = (first..middle).try_fold(state, |state, k| chain.forward(&state, k))?;
            if end - middle <= self.recorded[held] {
                record(chain, there, [middle, end])?;
            } else {
                let kept = chain.keep(&there);
                drop(there);
                self.part(chain, &kept, [middle, end], held + 1)?;
            }
            end = middle;
        }
    }
}

/// Runs a stretch with all of its states in memory, and backwards.
fn record<C: Chain>(
    chain: &mut C,
    start: C::State,
    [first, end]: [usize; 2],
) -> Result<(), C::Error> {
    let mut states = vec![start];
    for step in first..end {
        let next = chain.forward(&states[step - first], step)?;
        states.push(next);
    }
    for step in (first..end).rev() {
        let [.., before, after] = states.as_slice() else { break };
        chain.backward(before, after, step)?;
        states.pop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    /// Counts steps, and the memory of kept states and recorded steps.
    #[derive(Default)]
    struct Counter {
        taken: usize,
        reversed: Vec<usize>,
        kept: std::rc::Rc<Cell<usize>>,
        most: usize,
    }

    /// A kept state that counts itself.
    struct Kept {
        step: usize,
        alive: std::rc::Rc<Cell<usize>>,
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            self.alive.set(self.alive.get() - 1);
        }
    }

    impl Chain for Counter {
        type State = usize;
        type Kept = Kept;
        type Error = Infallible;

        fn keep(&self, state: &usize) -> Kept {
            self.kept.set(self.kept.get() + 1);
            Kept { step: *state, alive: self.kept.clone() }
        }

        fn restore(&self, kept: &Kept) -> usize {
            kept.step
        }

        fn forward(&mut self, state: &usize, step: usize) -> Result<usize, Infallible> {
            assert_eq!(*state, step);
            self.taken += 1;
            self.most = self.most.max(self.kept.get());
            Ok(step + 1)
        }

        fn backward(
            &mut self,
            before: &usize,
            after: &usize,
            step: usize,
        ) -> Result<(), Infallible> {
            assert_eq!((*before, *after), (step, step + 1));
            self.reversed.push(step);
            Ok(())
        }
    }

    fn run(steps: usize, memory: Memory) -> Counter {
        let mut chain = Counter::default();
        let Ok(()) = reverse(&mut chain, &0, steps, memory);
        chain
    }

    const STEPS: [usize; 12] = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233];

    #[test]
    fn every_step_is_reversed_once_and_the_steps_taken_are_those_foretold() {
        for room in [0, 3, 10, 40, 200] {
            let memory = Memory { room, state: 4, step: 3 };
            for steps in STEPS {
                let chain = run(steps, memory);
                assert!(chain.reversed.iter().copied().eq((0..steps).rev()));
                assert_eq!(chain.taken, forward_steps(steps, memory), "{steps} steps, {room}");
                // The start is counted by the chain, not by the memory.
                assert!((chain.most - 1) * memory.state <= room, "{} kept in {room}", chain.most);
            }
        }
    }

    #[test]
    fn the_ends_are_known() {
        let plenty = Memory { room: 1000, state: 4, step: 3 };
        assert_eq!(forward_steps(300, plenty), 300);
        // Nothing kept: to step n, to step n − 1, …
        let nothing = Memory { room: 0, state: 4, step: 3 };
        assert_eq!(forward_steps(10, nothing), 55);
        // Room for two steps and no state: pairs from the end.
        let pair = Memory { room: 6, state: 7, step: 3 };
        assert_eq!(forward_steps(10, pair), 10 + 8 + 6 + 4 + 2);
    }

    /// Where a recorded step costs as much as a kept state and nothing else is weighed, the classical count holds:
    /// t n − binomial(c + t, t − 1) forward steps before each last one, which is recorded, with c states.
    #[test]
    fn states_of_one_cost_take_the_binomial_numbers_of_steps() {
        let binomial = |n: usize, k: usize| (1..=k).fold(1, |value, i| value * (n + 1 - i) / i);
        for kept in 1..=5 {
            let memory = Memory { room: kept, state: 1, step: usize::MAX };
            for steps in 2..=60 {
                // The start is a state too.
                let c = kept + 1;
                let Some(t) = (1..).find(|t| binomial(c + t, *t) >= steps) else { continue };
                let classical = t * steps - binomial(c + t, t - 1);
                assert_eq!(forward_steps(steps, memory), classical + steps, "{steps}, {kept}");
            }
        }
    }
}
