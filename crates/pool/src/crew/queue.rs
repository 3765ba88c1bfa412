//! Tasks that wait for a device.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A task on its way.
pub(crate) struct Item<T> {
    /// Its number, in the order of making.
    pub number: usize,
    /// The task.
    pub task: Arc<T>,
    /// How often it was in a batch that broke a worker.
    pub tries: usize,
    /// The member that broke last while it had this task.
    pub avoid: Option<usize>,
}

/// Tasks that wait, and those to be tried again.
pub(crate) struct Queue<T> {
    ready: VecDeque<Item<T>>,
    /// Each of these was there when a worker broke; alone, the one at fault is found.
    suspects: VecDeque<Item<T>>,
    since: Instant,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { ready: VecDeque::new(), suspects: VecDeque::new(), since: Instant::now() }
    }

    /// Tasks that wait, suspects included.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.suspects.len()
    }

    /// Tasks that can share a batch.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How long the first of those has waited for others to come.
    pub(crate) fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// A new task, at the end.
    pub(crate) fn push(&mut self, number: usize, task: T) {
        if self.ready.is_empty() {
            self.since = Instant::now();
        }
        self.ready.push_back(Item { number, task: Arc::new(task), tries: 0, avoid: None });
    }

    /// Tasks that were handed out come back, to be next.
    pub(crate) fn put_back(&mut self, items: Vec<Item<T>>) {
        let (suspects, ready): (Vec<_>, Vec<_>) = items.into_iter().partition(|i| i.tries > 0);
        self.suspects.extend(suspects);
        for item in ready.into_iter().rev() {
            self.ready.push_front(item);
        }
    }

    /// The next `n` tasks, or all.
    pub(crate) fn take(&mut self, n: usize) -> Vec<Item<T>> {
        self.since = Instant::now();
        self.ready.drain(..n.min(self.ready.len())).collect()
    }

    /// A task to be tried again, alone: one that `member` did not break with, unless `anyone` may.
    pub(crate) fn take_suspect(&mut self, member: usize, anyone: bool) -> Option<Item<T>> {
        let fits = |item: &Item<T>| anyone || item.avoid != Some(member);
        let at = self.suspects.iter().position(fits)?;
        self.suspects.remove(at)
    }

    /// Nothing waits any more.
    pub(crate) fn clear(&mut self) {
        self.ready.clear();
        self.suspects.clear();
    }
}
