//! What happened, as intervals: which worker had which block when, how that ended, and when it had none.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::events::{Event, What};

/// How a worker's time with a block ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// Its result counts.
    Committed,
    /// Its result came after another.
    Late,
    /// It failed.
    Failed,
    /// It was given back.
    Released,
    /// Nobody knows: the worker died, or works still.
    Open,
}

/// A worker's time with a block, in milliseconds since the job's first event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    /// The block.
    pub block: u64,
    /// The try.
    pub attempt: u32,
    /// When it began.
    pub from_ms: u64,
    /// When it ended.
    pub to_ms: u64,
    /// How.
    pub end: End,
}

/// A worker's time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lane {
    /// The worker.
    pub worker: String,
    /// Its devices.
    pub device: String,
    /// Its blocks, by their beginning; several at a time if it prefetches.
    pub spans: Vec<Span>,
    /// From its first event to its last.
    pub here_ms: [u64; 2],
    /// Milliseconds in which it had no block.
    pub idle_ms: u64,
    /// Whether it said goodbye.
    pub left: bool,
}

/// All workers' time, by their coming.
///
/// Each machine's clock is its own; that of a worker is taken as it is, so lanes of machines whose clocks differ are shifted.
pub fn lanes(all: &[(String, Vec<Event>)]) -> Vec<Lane> {
    let first = all.iter().flat_map(|(_, events)| events).map(|event| event.at_ms).min();
    let first = first.unwrap_or(0);
    let mut lanes: Vec<Lane> = all
        .iter()
        .filter(|(_, events)| !events.is_empty())
        .map(|(worker, events)| lane(worker, events, first))
        .collect();
    lanes.sort_by_key(|lane| lane.here_ms[0]);
    lanes
}

fn lane(worker: &str, events: &[Event], first: u64) -> Lane {
    let at = |event: &Event| event.at_ms.saturating_sub(first);
    let last = events.iter().map(at).max().unwrap_or(0);
    let mut open: BTreeMap<u64, (u32, u64)> = BTreeMap::new();
    let mut spans = Vec::new();
    for event in events {
        let Some((block, attempt)) = event.block.zip(event.attempt) else { continue };
        let end = match event.what {
            What::Leased => {
                open.insert(block, (attempt, at(event)));
                continue;
            }
            What::Committed => End::Committed,
            What::Late | What::Different => End::Late,
            What::Failed => End::Failed,
            What::Released => End::Released,
            What::Joined | What::Lost | What::Trouble | What::Left => continue,
        };
        if let Some((attempt, from_ms)) = open.remove(&block) {
            spans.push(Span { block, attempt, from_ms, to_ms: at(event), end });
        }
    }
    let left = open.into_iter().map(|(block, (attempt, from_ms))| Span {
        block,
        attempt,
        from_ms,
        to_ms: last,
        end: End::Open,
    });
    spans.extend(left);
    spans.sort_by_key(|span| (span.from_ms, span.block));
    let joined = events.iter().find(|event| event.what == What::Joined);
    let here_ms = [events.first().map_or(0, at), last];
    Lane {
        worker: worker.into(),
        device: joined.map_or(String::new(), |event| event.text.clone()),
        idle_ms: idle(&spans, here_ms),
        spans,
        here_ms,
        left: events.iter().any(|event| event.what == What::Left),
    }
}

/// Milliseconds of an interval that no span covers; spans are in the order of their beginning.
fn idle(spans: &[Span], [from, to]: [u64; 2]) -> u64 {
    let (mut idle, mut covered) = (0, from);
    for span in spans {
        idle += span.from_ms.saturating_sub(covered);
        covered = covered.max(span.to_ms);
    }
    idle + to.saturating_sub(covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_ms: u64, what: What, block: Option<u64>) -> Event {
        Event { at_ms, what, block, attempt: block.map(|_| 1), text: String::new() }
    }

    #[test]
    fn a_lane_is_a_workers_blocks_and_its_gaps() {
        let events = vec![
            event(1000, What::Joined, None),
            event(1100, What::Leased, Some(1)),
            event(1150, What::Leased, Some(2)),
            event(1300, What::Committed, Some(1)),
            event(1500, What::Failed, Some(2)),
            event(1800, What::Leased, Some(3)),
            event(2000, What::Trouble, None),
        ];
        let other = vec![event(900, What::Joined, None), event(950, What::Left, None)];
        let lanes = lanes(&[("a".into(), events), ("b".into(), other)]);
        assert_eq!(lanes.iter().map(|l| l.worker.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        let a = &lanes[1];
        let ends: Vec<_> = a.spans.iter().map(|s| (s.block, s.from_ms, s.to_ms, s.end)).collect();
        assert_eq!(
            ends,
            [(1, 200, 400, End::Committed), (2, 250, 600, End::Failed), (3, 900, 1100, End::Open)]
        );
        assert_eq!((a.here_ms, a.idle_ms, a.left), ([100, 1100], 100 + 300, false));
        assert!(lanes[0].left && lanes[0].idle_ms == 50);
    }
}
