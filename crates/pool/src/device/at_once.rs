//! Work on several cards at the same time: what a driver does for one of them is mostly waiting.

/// Does something with each, on a thread each; answers come in their order. A panic goes on here.
pub(super) fn at_once<T: Send, R: Send>(
    each: impl Iterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = each.map(|one| scope.spawn(move || work(one))).collect();
        let ended = |thread: std::thread::ScopedJoinHandle<'_, R>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(ended).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// Each waits for all the others.
    #[test]
    fn all_are_worked_on_at_the_same_time_and_answers_keep_their_order() {
        let all = Barrier::new(5);
        let found = at_once(0..5, |i| {
            all.wait();
            i * i
        });
        assert_eq!(found, [0, 1, 4, 9, 16]);
    }
}
