//! What happened in a run: who did how much, how evenly, and what failed.

use lithoburn_compare::largest;
use serde::Serialize;

/// What happened while tasks were shared. Times are seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The crew, in its order.
    pub members: Vec<MemberReport>,
    /// Every fault, in the order of their coming.
    pub faults: Vec<Fault>,
    /// From the start to the last result.
    pub seconds: f64,
    /// Tasks done: their results were delivered.
    pub tasks: usize,
    /// Most tasks that were held at once: made, and their result not yet there.
    pub held: usize,
    /// Whether the run was stopped before all tasks were done.
    pub stopped: bool,
}

/// One member's part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemberReport {
    /// Name.
    pub name: String,
    /// Tasks done.
    pub tasks: usize,
    /// Batches done.
    pub batches: usize,
    /// Seconds in which it computed batches that succeeded.
    pub busy_seconds: f64,
    /// Seconds in which its worker was made.
    pub making_seconds: f64,
    /// Busy seconds over the run's seconds.
    pub utilisation: f64,
    /// Most tasks in a batch at the end; less than at the start after it ran out of memory.
    pub batch: usize,
    /// How it ended.
    pub state: MemberState,
    /// Seconds of its batches.
    pub latency: Latency,
}

/// How a member ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// As it began.
    Fine,
    /// It ran out of memory, and its batch was halved this many times since the crew was opened.
    Halved(usize),
    /// It was given up, for this reason.
    Dead(String),
}

impl std::fmt::Display for MemberState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fine => f.write_str("fine"),
            Self::Halved(1) => f.write_str("out of memory, batch halved once"),
            Self::Halved(times) => write!(f, "out of memory, batch halved {times} times"),
            Self::Dead(reason) => write!(f, "dead: {reason}"),
        }
    }
}

/// Percentiles of seconds, by nearest rank; 0 where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half took no longer.
    pub p50: f64,
    /// 95 of 100 took no longer.
    pub p95: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
}

impl Latency {
    /// Percentiles of `seconds`, in any order.
    pub fn of(seconds: &[f64]) -> Self {
        let mut sorted = seconds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |q| percentile(&sorted, q);
        Self { p50: at(0.50), p95: at(0.95), p99: at(0.99) }
    }
}

/// The `q`-quantile (0 to 1) of ascending values by nearest rank: the least value that at least the part `q` of
/// all does not exceed. 0 of no values.
pub fn percentile(sorted: &[f64], q: f64) -> f64 {
    // 0.95 × 20 is 19.000000000000004 in doubles, and is not to be rank 20.
    let rank = (q.clamp(0.0, 1.0) * sorted.len() as f64 - 1e-9).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

/// Sorts of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// A batch did not fit the memory.
    OutOfMemory,
    /// The device is gone.
    Lost,
    /// The worker broke or panicked.
    Broken,
    /// A batch was not done by its deadline.
    Hung,
    /// A task was wrong.
    Task,
    /// The worker stopped.
    Stopped,
}

/// A fault of a member.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// Seconds after the start.
    pub at: f64,
    /// The member's name.
    pub member: String,
    /// Sort.
    pub kind: FaultKind,
    /// In words.
    pub text: String,
    /// Tasks that went back to the queue.
    pub requeued: usize,
}

impl Report {
    /// How unevenly the members that lived were busy: (most − least) / most busy seconds. 0 is even.
    pub fn imbalance(&self) -> f64 {
        let alive = self.members.iter().filter(|m| !matches!(m.state, MemberState::Dead(_)));
        let busy: Vec<f64> = alive.map(|m| m.busy_seconds).collect();
        let most = largest(&busy);
        let least = busy.iter().copied().fold(f64::INFINITY, f64::min);
        if most > 0.0 { (most - least) / most } else { 0.0 }
    }

    /// Tasks a second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.tasks as f64 / self.seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        for (q, expected) in
            [(0.0, 1.0), (0.5, 10.0), (0.51, 11.0), (0.95, 19.0), (0.99, 20.0), (1.0, 20.0)]
        {
            assert_eq!(percentile(&values, q), expected, "{q}");
        }
        assert_eq!(percentile(&[], 0.5), 0.0);
        let latency = Latency::of(&[3.0, 1.0, 2.0]);
        assert_eq!((latency.p50, latency.p95, latency.p99), (2.0, 3.0, 3.0));
    }

    #[test]
    fn the_dead_do_not_count_as_uneven() {
        let member = |busy_seconds, state| MemberReport {
            name: "x".into(),
            tasks: 0,
            batches: 0,
            busy_seconds,
            making_seconds: 0.0,
            utilisation: 0.0,
            batch: 1,
            state,
            latency: Latency::default(),
        };
        let dead = MemberState::Dead("gone".into());
        let members = vec![
            member(4.0, MemberState::Fine),
            member(3.0, MemberState::Halved(1)),
            member(0.1, dead),
        ];
        let report = Report { members, ..Report::default() };
        assert_eq!(report.imbalance(), 0.25);
        assert_eq!(Report::default().imbalance(), 0.0);
    }
}
