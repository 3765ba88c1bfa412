//! Whether it pays to wait a moment for requests that are about to come.
//!
//! Most clients ask again as soon as they are answered. A device that starts with the first of eight who come back within a millisecond
//! computes one, then seven, where it could have computed eight at once. So what was answered a moment ago and was not followed by a request yet
//! is *owed*, and an idle device waits for it: at most an eighth of what a batch takes and never over two milliseconds. Clients who do not come back
//! (half of the last answers were not followed in time) are not waited for; nor is anybody for a client who is alone, whose request
//! pays what was owed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The longest wait.
const LONGEST: Duration = Duration::from_millis(2);
/// The longest wait, as a part of what a batch takes.
const PART: u32 = 8;
/// How much the last answer weighs in the share of those that were followed.
const WEIGHT: f64 = 0.1;

/// Answers of one model that requests are likely to follow.
#[derive(Debug)]
pub(crate) struct Owed {
    answered: VecDeque<(Instant, usize)>,
    /// The share of answers that a request followed in time.
    followed: f64,
    /// What a batch takes; zero before the first.
    batch: Duration,
}

impl Default for Owed {
    fn default() -> Self {
        Self { answered: VecDeque::new(), followed: 1.0, batch: Duration::ZERO }
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

    /// How long an answer is waited for to be followed.
    pub(crate) fn window(&self) -> Duration {
        LONGEST.min(self.batch / PART)
    }

    /// A request of `items` was answered.
    pub(crate) fn answered(&mut self, now: Instant, items: usize) {
        self.answered.push_back((now, items));
    }

    /// A request of `items` came.
    pub(crate) fn came(&mut self, now: Instant, items: usize) {
        self.expire(now);
        let mut left = items;
        while let Some((_, owed)) = self.answered.front_mut() {
            let paid = left.min(*owed);
            *owed -= paid;
            left -= paid;
            if *owed > 0 {
                break;
            }
            self.answered.pop_front();
            self.followed += WEIGHT * (1.0 - self.followed);
            if left == 0 {
                break;
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        let window = self.window();
        while let Some(&(answered, _)) = self.answered.front()
            && answered + window <= now
        {
            self.answered.pop_front();
            self.followed -= WEIGHT * self.followed;
        }
    }

    /// Items that are likely to come, and until when.
    pub(crate) fn expected(&mut self, now: Instant) -> Option<(usize, Instant)> {
        self.expire(now);
        let (last, _) = self.answered.back()?;
        let items = self.answered.iter().map(|(_, items)| items).sum();
        (self.followed >= 0.5).then_some((items, *last + self.window()))
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
        assert_eq!(owed.expected(now), Some((2, now + 2 * MS)));
        owed.came(now + MS, 1);
        assert_eq!(owed.expected(now + MS), Some((1, now + 2 * MS)));
        owed.came(now + MS, 3);
        assert_eq!(owed.expected(now + MS), None);
        assert_eq!(after(4 * MS, 1).0.window(), MS / 2);
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
