//! The schedule of a run: how far it has come, by its steps or by the clock.

use std::time::Instant;

/// Steps after which all kernels are compiled.
const FIRST_STEPS: usize = 20;
/// Share of the time in which examples may be made.
const MOST_LABELLING: f64 = 0.5;
/// Share of the time after that which compiling may take before the schedule begins all the same.
const MOST_COMPILING: f64 = 0.25;
/// Seconds of a step from which on devices are told of one at a time.
const SLOW_STEP: f64 = 1.0;
/// What a batch of the validation takes of a step: the way forward without the way back.
const FORWARD: f64 = 1.0 / 3.0;

/// What the time goes to.
pub(super) struct Schedule {
    start: Instant,
    /// Seconds of former runs.
    before: f64,
    /// Seconds that the run may take.
    limit: Option<f64>,
    /// When the examples were there.
    labelled: f64,
    /// Seconds of the last step.
    step: f64,
    /// Batches of a validation, and the seconds of the last one.
    batches: usize,
    validation: Option<f64>,
}

impl Schedule {
    pub(super) fn start(minutes: Option<f64>, batches: usize) -> Self {
        let limit = minutes.map(|minutes| 60.0 * minutes);
        let (start, before, step, labelled) = (Instant::now(), 0.0, 0.0, 0.0);
        Self { start, before, limit, labelled, step, batches, validation: None }
    }

    /// Adds the seconds of former runs.
    pub(super) fn go_on_from(&mut self, seconds: f64) {
        self.before = seconds;
    }

    /// Seconds that the run has taken.
    pub(super) fn now(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    /// Whether examples have taken their share of the time.
    pub(super) fn labels_are_due(&self) -> bool {
        self.limit.is_some_and(|limit| self.now() > MOST_LABELLING * limit)
    }

    pub(super) fn labelled(&mut self) {
        self.labelled = self.now();
    }

    /// Takes note of some steps.
    pub(super) fn stepped(&mut self, since: f64, count: usize) {
        self.step = (self.now() - since) / count as f64;
    }

    /// Whether a step takes so long that nothing is gained by telling devices of several at once.
    pub(super) fn is_slow(&self) -> bool {
        self.step > SLOW_STEP
    }

    pub(super) fn validated(&mut self, since: f64) {
        self.validation = Some(self.now() - since);
    }

    /// Share of the schedule that is done before a step; 1 makes that step the last one. `compiling` is where the schedule begins
    /// on the clock, and moves as long as kernels are compiled.
    pub(super) fn share(&self, step: usize, steps: usize, compiling: &mut f64) -> f64 {
        let by_steps = step as f64 / steps as f64;
        match self.limit {
            None => by_steps,
            Some(limit) => by_steps.max(self.by_time(self.now(), limit, step, compiling)).min(1.0),
        }
    }

    fn by_time(&self, now: f64, limit: f64, step: usize, compiling: &mut f64) -> f64 {
        // The last step is the one after which another one, and the validation, would not be done in time.
        let unknown = self.step * FORWARD * self.batches as f64;
        let limit = limit - 2.0 * self.step - self.validation.unwrap_or(unknown);
        if step <= FIRST_STEPS {
            let most = self.labelled + MOST_COMPILING * (limit - self.labelled).max(0.0);
            *compiling = now.min(most);
        }
        match now < limit {
            true => (now - *compiling) / (limit - *compiling),
            false => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(step: f64) -> Schedule {
        Schedule { step, labelled: 10.0, ..Schedule::start(Some(1.0), 3) }
    }

    /// Twelve seconds a step of a minute: the third begins at 34, and after it there is no time for a fourth.
    #[test]
    fn a_slow_step_is_the_last_that_fits_with_its_validation() {
        let slow = schedule(12.0);
        // 60 - 2 · 12 - 3 · 12 / 3
        assert!(slow.by_time(23.9, 60.0, 1, &mut 0.0) < 1.0);
        assert_eq!(slow.by_time(24.0, 60.0, 2, &mut 0.0), 1.0);
        assert_eq!(slow.by_time(1e9, 60.0, 2, &mut 0.0), 1.0);
        let known = Schedule { validation: Some(30.0), ..slow };
        assert_eq!(known.by_time(6.0, 60.0, 2, &mut 0.0), 1.0);
    }

    /// While kernels compile the schedule waits, but not for more than a quarter of the time.
    #[test]
    fn the_schedule_begins_after_compiling_or_after_a_quarter_of_the_time() {
        let (fast, mut compiling) = (schedule(0.0), 0.0);
        assert_eq!(fast.by_time(15.0, 60.0, 1, &mut compiling), 0.0);
        assert_eq!(compiling, 15.0);
        assert!(fast.by_time(41.25, 60.0, 20, &mut compiling) > 0.4);
        assert_eq!(compiling, 22.5);
        // Then it stays where it is, and time runs to the end.
        let share = fast.by_time(41.25, 60.0, 21, &mut compiling);
        assert!((share - 0.5).abs() < 1e-9 && compiling == 22.5, "{share}");
    }

    #[test]
    fn without_minutes_only_steps_count() {
        let free = Schedule { limit: None, ..schedule(1e9) };
        assert_eq!(free.share(3, 4, &mut 0.0), 0.75);
        assert!(!free.labels_are_due());
    }
}
