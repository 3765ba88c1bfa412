//! Whether it pays to wait a moment for requests that are about to come.
//!
//! Most clients ask again as soon as they are answered. A device that starts with the first of eight who come back within some milliseconds
//! computes one, then seven, where it could have computed eight at once. So what was answered a moment ago and was not followed by a request yet
//! is *owed*, and an idle device waits for it: half as long again as clients took lately to come back, and at most a quarter of what a batch takes: a batch in two
//! costs more. Clients who do
//! not come back in that time (half of the last answers were not followed) are not waited for; nor is anybody for a client who is alone,
//! whose request pays what was owed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The longest wait, as a part of what a batch takes.
const PART: u32 = 4;
/// The longest wait.
const LONGEST: Duration = Duration::from_millis(50);
/// How much the last answer weighs in the share of those that were followed.
const WEIGHT: f64 = 0.1;
/// How much of the longest time to come back is remembered after each request.
const MEMORY: f64 = 0.95;

/// Answers of one model that requests are likely to follow.
#[derive(Debug)]
pub(crate) struct Owed {
    answered: VecDeque<(Instant, usize)>,
    /// The share of answers that a request followed in time.
    followed: f64,
    /// How long clients take to come back, the slowest of the last ones; none has yet.
    delay: Option<Duration>,
    /// What a batch takes; zero before the first.
    batch: Duration,
}

impl Default for Owed {
    fn default() -> Self {
        Self { answered: VecDeque::new(), followed: 1.0, delay: None, batch: Duration::ZERO }
    }
}

impl Owed {
    /// A batch took so long.
    pub(crate) fn took(&mut self, batch: Duration) {
        self.batch = if self.batch.is_zero() { batch } else { (self.batch * 3 + batch) / 4 };
    }

    /// What a batch takes, if one is known.
    pub(crate) fn batch(&self) -> Option<Duration> {
        (!self.batch.is_zero()).then_some(self.batch)
    }

    /// How long after an answer a request is said to follow it.
    fn horizon(&self) -> Duration {
        LONGEST.min(self.batch / PART)
    }

    /// How long an answer is waited for to be followed.
    pub(crate) fn window(&self) -> Duration {
        let horizon = self.horizon();
        self.delay.map_or(horizon, |delay| horizon.min(delay * 3 / 2))
    }

    /// A request of `items` was answered.
    pub(crate) fn answered(&mut self, now: Instant, items: usize) {
        self.answered.push_back((now, items));
    }

    /// A request of `items` came.
    pub(crate) fn came(&mut self, now: Instant, items: usize) {
        self.expire(now);
        let mut left = items;
        while let Some((answered, owed)) = self.answered.front_mut() {
            let paid = left.min(*owed);
            let delay = now.saturating_duration_since(*answered);
            *owed -= paid;
            left -= paid;
            if *owed > 0 {
                break;
            }
            self.answered.pop_front();
            self.followed += WEIGHT * (1.0 - self.followed);
            self.delay = Some(self.delay.unwrap_or_default().mul_f64(MEMORY).max(delay));
            if left == 0 {
                break;
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        let horizon = self.horizon();
        while let Some(&(answered, _)) = self.answered.front()
            && answered + horizon <= now
        {
            self.answered.pop_front();
            self.followed -= WEIGHT * self.followed;
        }
    }

    /// Items that are likely to come, and until when.
    pub(crate) fn expected(&mut self, now: Instant) -> Option<(usize, Instant)> {
        self.expire(now);
        let window = self.window();
        let awaited = self.answered.iter().filter(|(answered, _)| *answered + window > now);
        let items = awaited.map(|(_, items)| items).sum();
        let (last, _) = self.answered.back()?;
        (self.followed >= 0.5 && items > 0).then_some((items, *last + window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn after(batch: Duration, items: usize) -> (Owed, Instant) {
        let (mut owed, now) = (Owed::default(), Instant::now());
        owed.took(batch);
        owed.answered(now, items);
        (owed, now)
    }

    #[test]
    fn what_was_answered_is_owed_for_a_moment_and_a_request_pays_for_it() {
        let (mut owed, now) = after(80 * MS, 2);
        assert_eq!(owed.expected(now), Some((2, now + 20 * MS)));
        owed.came(now + MS, 1);
        assert_eq!(owed.expected(now + MS), Some((1, now + 20 * MS)));
        owed.came(now + 2 * MS, 3);
        assert_eq!(owed.expected(now + 2 * MS), None);
    }

    #[test]
    fn the_wait_is_half_as_long_again_as_clients_take_and_a_quarter_of_a_batch_at_most() {
        let (mut owed, now) = after(80 * MS, 1);
        assert_eq!(owed.window(), 20 * MS, "nobody came back yet");
        owed.came(now + 2 * MS, 1);
        assert_eq!(owed.window(), 3 * MS);
        owed.answered(now, 1);
        owed.came(now + 18 * MS, 1);
        assert_eq!(owed.window(), 20 * MS);
        assert_eq!(after(4 * MS, 1).0.window(), MS);
    }

    #[test]
    fn clients_who_do_not_come_back_are_not_waited_for_until_they_do() {
        let (mut owed, start) = after(80 * MS, 1);
        let at = |k: u32| start + k * 100 * MS;
        for k in 1..10 {
            owed.answered(at(k), 1);
            owed.came(at(k) + 50 * MS, 1);
        }
        owed.answered(at(10), 1);
        assert_eq!(owed.expected(at(10)), None);
        for k in 11..30 {
            owed.answered(at(k), 1);
            owed.came(at(k) + MS, 1);
        }
        owed.answered(at(30), 1);
        assert!(owed.expected(at(30)).is_some());
    }
}
