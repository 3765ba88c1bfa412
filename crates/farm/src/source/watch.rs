//! Whether other workers are alive, found out without anybody's clock but one's own.
//!
//! Workers stand in a ring, by their names. Each watches those after it, until it has found [`NEIGHBOURS`] that are alive: so each is
//! watched by several, whole racks may go at once, and the number of looks does not grow with the number of workers.

use std::collections::BTreeMap;
use std::ops::Bound::{self, Excluded, Unbounded};
use std::time::Duration;

/// Living workers that each one watches.
const NEIGHBOURS: usize = 3;

/// What is known of another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Its beat changed not long ago.
    Alive,
    /// It said goodbye.
    Left,
    /// Its beat did not change for the time of a lease.
    Gone,
}

#[derive(Debug)]
struct Watched {
    beat: Vec<u8>,
    /// When this beat was first seen.
    since: Duration,
    state: Life,
}

/// The workers after one in the ring.
#[derive(Debug, Default)]
pub(super) struct Watch(BTreeMap<String, Watched>);

impl Watch {
    /// One more worker to look at, if it is not known.
    pub(super) fn add(&mut self, name: String, now: Duration) {
        let new = Watched { beat: Vec::new(), since: now, state: Life::Alive };
        self.0.entry(name).or_insert(new);
    }

    /// The workers that `me` has to look at, nearest first.
    pub(super) fn ring(&self, me: &str) -> Vec<String> {
        let after = self.0.range::<str, (Bound<&str>, Bound<&str>)>((Excluded(me), Unbounded));
        let before = self.0.range::<str, (Bound<&str>, Bound<&str>)>((Unbounded, Excluded(me)));
        let mut alive = 0;
        let near = after.chain(before).take_while(|(_, other)| {
            alive += usize::from(other.state == Life::Alive);
            alive <= NEIGHBOURS
        });
        // Those that left say nothing more.
        near.filter(|(_, o)| o.state != Life::Left).map(|(name, _)| name.clone()).collect()
    }

    /// A worker's beat as it is now; tells if it is newly known to have left or to be gone.
    pub(super) fn saw(
        &mut self,
        name: &str,
        beat: Vec<u8>,
        has_left: bool,
        now: Duration,
        lease: Duration,
    ) -> Option<Life> {
        let other = self.0.get_mut(name)?;
        if other.beat != beat {
            (other.beat, other.since) = (beat, now);
        }
        let state = match (has_left, now.saturating_sub(other.since) >= lease) {
            (true, _) => Life::Left,
            (false, true) => Life::Gone,
            (false, false) => Life::Alive,
        };
        let before = std::mem::replace(&mut other.state, state);
        (state != before && state != Life::Alive).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn watch(names: &[&str]) -> Watch {
        let mut watch = Watch::default();
        names.iter().for_each(|name| watch.add((*name).into(), at(0)));
        watch
    }

    #[test]
    fn a_worker_is_gone_once_its_beat_was_the_same_for_a_lease_and_back_with_the_next() {
        let mut watch = watch(&["b"]);
        let mut saw = |beat: u8, second| watch.saw("b", vec![beat], false, at(second), LEASE);
        assert_eq!((saw(1, 100), saw(1, 129)), (None, None));
        assert_eq!((saw(1, 130), saw(1, 131)), (Some(Life::Gone), None), "news is told once");
        assert_eq!((saw(2, 140), saw(2, 170)), (None, Some(Life::Gone)));
        assert_eq!(watch.saw("b", vec![3], true, at(171), LEASE), Some(Life::Left));
        assert!(watch.ring("a").is_empty());
    }

    /// A rack of thirty dies at once: whoever stands before it looks past all of them.
    #[test]
    fn everybody_is_watched_by_three_and_dead_neighbours_are_looked_past() {
        let names: Vec<String> = (0..100).map(|i| format!("w{i:03}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut all = watch(&names);
        let mut seen = BTreeMap::<String, usize>::new();
        for me in &names {
            let ring = Watch(all.0.extract_if(.., |name, _| name == me).collect());
            all.ring(me).into_iter().for_each(|name| *seen.entry(name).or_default() += 1);
            all.0.extend(ring.0);
        }
        assert!(seen.len() == 100 && seen.values().all(|&watchers| watchers == 3));
        for name in &names[40..70] {
            all.saw(name, Vec::new(), false, at(31), LEASE);
        }
        let ring = all.ring("w039x");
        assert_eq!(ring.len(), 33);
        assert_eq!((ring[0].as_str(), ring[32].as_str()), ("w040", "w072"));
    }
}
