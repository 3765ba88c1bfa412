//! Who gets what: the part of the scheduler that hands out tasks.

use std::time::Duration;

use super::Scheduler;
use crate::crew::allotment::{Hand, allot};
use crate::crew::member::ActiveMember;
use crate::crew::queue::Item;
use crate::crew::speed::Cost;

/// How long a lone task waits for others to share its batch.
pub(super) const LINGER: Duration = Duration::from_millis(1);
/// More tasks than this are not told apart: the end is far away.
const MANY: usize = 1 << 31;

impl<T, R> Scheduler<'_, T, R> {
    /// Hands out what waits.
    pub(crate) fn dispatch(&mut self) {
        // Twice what the devices could bring at once: the sink is behind.
        let batches = self.crew.iter().map(|post| post.batch);
        let lag = batches.fold(0_usize, usize::saturating_add).saturating_mul(2);
        if self.closing.is_some() || self.finished.len() > lag {
            return;
        }
        self.take_back();
        self.retry();
        let free = |post: &ActiveMember<T>| post.idle() || post.could_prefetch();
        if self.queue.ready() > 0 && self.crew.iter().any(free) {
            let wants = self.wants();
            if self.feed_idle(&wants) {
                self.prefetch(&wants);
            }
        }
    }

    /// When a device runs dry and no more tasks come, what waits elsewhere is dealt anew.
    fn take_back(&mut self) {
        let dry = self.ended && self.queue.len() == 0 && self.crew.iter().any(ActiveMember::idle);
        if dry && self.crew.iter().any(ActiveMember::prefetched) {
            for member in (0..self.crew.len()).rev() {
                let items = self.crew[member].take_back();
                self.put_back(items);
            }
        }
    }

    /// Tasks to be tried again go out alone, to another member than the one that broke if there is one.
    fn retry(&mut self) {
        let only = self.crew.iter().filter(|post| post.present()).count() == 1;
        for free in [ActiveMember::idle, ActiveMember::could_prefetch] {
            for member in 0..self.crew.len() {
                if free(&self.crew[member])
                    && let Some(item) = self.queue.take_suspect(member, only)
                {
                    self.give(member, vec![item]);
                }
            }
        }
    }

    /// How many of the tasks to be done each member should do, by what is known of their speeds.
    fn wants(&self) -> Vec<usize> {
        let hands: Vec<(usize, Hand)> = self.hands();
        let mut wants = vec![0; self.crew.len()];
        let list: Vec<Hand> = hands.iter().map(|(_, hand)| *hand).collect();
        for ((member, _), count) in hands.iter().zip(allot(&list, self.to_do())) {
            wants[*member] = count;
        }
        wants
    }

    /// The members that are there, as they are to be dealt to. One whose speed is not known is like the others.
    fn hands(&self) -> Vec<(usize, Hand)> {
        let known: Vec<Cost> = self.crew.iter().filter_map(ActiveMember::cost).collect();
        let mean =
            |part: fn(&Cost) -> f64| known.iter().map(part).sum::<f64>() / known.len() as f64;
        let usual = match known.len() {
            0 => Cost { start: 0.0, each: 1.0 },
            _ => Cost { start: mean(|cost| cost.start), each: mean(|cost| cost.each) },
        };
        let present = self.crew.iter().enumerate().filter(|(_, post)| post.present());
        let hand = |(member, post): (usize, &ActiveMember<T>)| {
            let cost = post.cost().unwrap_or(usual);
            (member, Hand { free_in: post.free_in(cost), cost, batch: post.batch })
        };
        present.map(hand).collect()
    }

    /// Tasks that wait or will come. If that is not known: as many will come as have come.
    fn to_do(&self) -> usize {
        let to_come = match (self.ended, self.total) {
            (true, _) => 0,
            (false, Some(total)) => total.saturating_sub(self.made),
            (false, None) => self.made,
        };
        self.queue.ready().saturating_add(to_come).min(MANY)
    }

    /// Idle members get their part of what waits. `false` if that is put off because more is about to come.
    fn feed_idle(&mut self, wants: &[usize]) -> bool {
        let want = |member: usize, post: &ActiveMember<T>| wants[member].min(post.batch);
        let idle: Vec<(usize, usize)> = self
            .crew
            .iter()
            .enumerate()
            .filter(|(_, post)| post.idle())
            .map(|(member, post)| (member, want(member, post)))
            .collect();
        let mut wanted: usize = idle.iter().map(|(_, want)| want).sum();
        if wanted > self.queue.ready() && !self.settled() {
            return false;
        }
        for (member, want) in idle {
            let ready = self.queue.ready();
            let part = if wanted > ready { (want * ready).div_ceil(wanted) } else { want };
            wanted -= want;
            if part > 0 {
                let items = self.queue.take(part);
                self.give(member, items);
            }
        }
        true
    }

    /// Whether no more tasks are about to come.
    fn settled(&self) -> bool {
        self.ended || self.asked == 0 || self.queue.waited() >= LINGER
    }

    /// Members that compute get their next batch, if it is a whole one.
    fn prefetch(&mut self, wants: &[usize]) {
        let mut order: Vec<usize> =
            (0..self.crew.len()).filter(|&member| self.crew[member].could_prefetch()).collect();
        let free_in = |member: &usize| {
            let post = &self.crew[*member];
            post.cost().map_or(0.0, |cost| post.free_in(cost))
        };
        order.sort_by(|a, b| free_in(a).total_cmp(&free_in(b)));
        for member in order {
            let want = wants[member].min(self.crew[member].batch);
            let ready = self.queue.ready();
            if want > 0 && ready > 0 && (want <= ready || self.ended) {
                let items = self.queue.take(want);
                self.give(member, items);
            }
        }
    }

    fn give(&mut self, member: usize, items: Vec<Item<T>>) {
        *self.batches += 1;
        self.crew[member].give(*self.batches, items);
    }
}
