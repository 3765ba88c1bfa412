//! One level of load: warm-up, windows until they agree, and what they say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::drive::{Drive, Schedule, Sender};
use super::estimate::{Estimate, Estimates, Piece, QUANTILES};
use super::stages::{Counters, Stages};
use super::tally::{Recorders, Tally};
use super::{Load, LoadError, Offered, Stop, Target, watch};
use crate::telemetry::process;

/// Pieces of a window.
const PIECES: u32 = 10;
/// Windows that have to agree.
pub(crate) const AGREEING: usize = 3;
/// Seed of the draws for intervals.
const SEED: u64 = 16;

/// What came of one level of load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// What was asked of the server.
    pub offered: Offered,
    /// Items in a request.
    pub batch: usize,
    /// Length of what was measured.
    pub seconds: f64,
    /// Windows that were looked at, of which the last ones are what was measured.
    pub windows: Vec<Window>,
    /// Whether the last windows agree.
    pub stable: bool,
    /// Whether it was stopped from outside.
    pub interrupted: bool,
    /// Requests that succeeded.
    pub requests: u64,
    /// Items that were answered, a second.
    pub items_per_second: Estimate,
    /// Latency, from when a request should have begun.
    pub latency: Latency,
    /// Where the time went on this side, in µs a request.
    pub client: Client,
    /// How often each reason was given for a failure.
    pub failures: BTreeMap<String, u64>,
    /// Requests of a schedule without an answer at the end: more than a few say that the server does not keep up, and
    /// that latencies are of those that came through.
    pub unfinished: u64,
    /// Where the time went on the server, if it tells.
    pub server: Option<Stages>,
    /// What its devices and processes did, if it tells.
    pub machine: watch::Machine,
}

/// Latencies, in µs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Mean; none without requests.
    pub mean: Option<f64>,
    /// Half of the requests took no longer. As the others, none where too few requests were measured to bound it.
    pub p50: Option<Estimate>,
    /// Nine in ten.
    pub p90: Option<Estimate>,
    /// 95 of 100.
    pub p95: Option<Estimate>,
    /// 99 of 100.
    pub p99: Option<Estimate>,
    /// 999 of 1000.
    pub p999: Option<Estimate>,
    /// The longest.
    pub most: Option<f64>,
}

/// A request's parts on the client's side: means, in µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// From when it should have begun to when it was begun.
    pub late_us: f64,
    /// Until its last byte was handed to the socket.
    pub send_us: f64,
    /// From the answer's head to its end.
    pub receive_us: f64,
    /// Cores that the load generator kept busy, if the system tells.
    pub cores: Option<f64>,
}

/// What one window looked like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Requests that succeeded, a second.
    pub requests_per_second: f64,
    /// Mean latency in µs; none without requests.
    pub mean_us: Option<f64>,
}

/// A window's pieces, and the looks at the server around it.
struct Seen {
    pieces: Vec<Piece>,
    before: Looks,
    after: Looks,
}

/// What is looked at between windows.
#[derive(Clone, Copy, Debug)]
struct Looks {
    counters: Option<Counters>,
    cores: Option<Duration>,
    at: Instant,
}

impl Looks {
    async fn now(target: &Target) -> Self {
        let counters = Counters::read(target).await;
        Self { counters, cores: process::cpu(), at: Instant::now() }
    }
}

impl Seen {
    fn tally(&self) -> Tally {
        let mut whole = Tally::default();
        self.pieces.iter().for_each(|piece| whole.merge(&piece.tally));
        whole
    }

    fn seconds(&self) -> f64 {
        self.pieces.iter().map(|piece| piece.length.as_secs_f64()).sum()
    }

    fn window(&self) -> Window {
        let tally = self.tally();
        Window {
            requests_per_second: tally.succeeded() as f64 / self.seconds(),
            mean_us: tally.mean().map(|mean| 1e6 * mean.as_secs_f64()),
        }
    }
}

/// Whether the last windows agree: their rates, and their mean latencies, differ by no more than `within` of the least.
pub(crate) fn agree(windows: &[Window], within: f64) -> bool {
    let Some(last) = windows.len().checked_sub(AGREEING).map(|first| &windows[first..]) else {
        return false;
    };
    let close = |value: &dyn Fn(&Window) -> f64| {
        let (low, high) = last.iter().map(value).fold((f64::INFINITY, 0.0_f64), |(l, h), v| {
            // A window without requests agrees with nothing.
            if v.is_nan() { (0.0, f64::INFINITY) } else { (l.min(v), h.max(v)) }
        });
        low > 0.0 && high <= low * (1.0 + within)
    };
    close(&|w| w.requests_per_second) && close(&|w| w.mean_us.unwrap_or(f64::NAN))
}

/// Measures one level.
pub(crate) async fn measure(
    load: &Load,
    sender: &Arc<Sender>,
    offered: Offered,
    watched: &watch::Watched,
    stop: &Stop,
) -> Result<Level, LoadError> {
    let recorders = Recorders::default();
    let drive = match offered {
        Offered::Concurrency(count) => Drive::closed(sender, &recorders, count),
        Offered::Rate { per_second, arrivals } => {
            let schedule = Schedule { rate: per_second, arrivals, seed: SEED };
            Drive::open(sender, &recorders, schedule, load.terms.most_in_flight)
        }
    };
    let start = Instant::now();
    stop.sleep(load.terms.warm_up).await;
    let mut ended = recorders.take();
    let mut seen: Vec<Seen> = Vec::new();
    let mut windows = Vec::new();
    let mut before = Looks::now(&load.target).await;
    // What ended during the look is nobody's.
    ended.merge(&recorders.take());
    while windows.len() < load.terms.most_windows.max(1) && !agree(&windows, load.terms.within) {
        let (pieces, whole) = window(load.terms.window, &recorders, stop).await;
        let after = Looks::now(&load.target).await;
        ended.merge(&recorders.take());
        pieces.iter().for_each(|piece| ended.merge(&piece.tally));
        // A window that was cut short counts if there is no other.
        if !whole && !seen.is_empty() {
            break;
        }
        let one = Seen { pieces, before, after };
        windows.push(one.window());
        seen.push(one);
        before = after;
        if !whole {
            break;
        }
    }
    let arrived = drive.arrived();
    drive.stop().await;
    ended.merge(&recorders.take());
    if start.elapsed() < load.terms.warm_up {
        return Err(LoadError::Stopped);
    }
    let stable = agree(&windows, load.terms.within);
    let unfinished = arrived.saturating_sub(ended.succeeded() + ended.failed());
    let kept = kept(seen, stable);
    let (Some(first), Some(last)) = (kept.first(), kept.last()) else {
        return Err(LoadError::Stopped);
    };
    let machine = watched.between(first.before.at, last.after.at);
    let level = summed(load, offered, &kept, windows, stable);
    Ok(Level { unfinished, machine, interrupted: stop.asked(), ..level })
}

/// One window; false if it was cut short.
async fn window(length: Duration, recorders: &Recorders, stop: &Stop) -> (Vec<Piece>, bool) {
    let mut pieces = Vec::new();
    let start = Instant::now();
    let mut begun = start;
    for index in 1..=PIECES {
        let due = start + length * index / PIECES;
        stop.sleep(due.saturating_duration_since(Instant::now())).await;
        let tally = recorders.take();
        let now = Instant::now();
        pieces.push(Piece { length: now - begun, tally });
        begun = now;
        if stop.asked() {
            return (pieces, false);
        }
    }
    (pieces, true)
}

/// The windows that count: the last ones that agree, or all if they do not.
fn kept(mut seen: Vec<Seen>, stable: bool) -> Vec<Seen> {
    match stable {
        true => seen.split_off(seen.len() - AGREEING),
        false => seen,
    }
}

/// A level of the windows that count.
fn summed(
    load: &Load,
    offered: Offered,
    kept: &[Seen],
    windows: Vec<Window>,
    stable: bool,
) -> Level {
    let mut tally = Tally::default();
    kept.iter().for_each(|one| tally.merge(&one.tally()));
    let pieces: Vec<Piece> = kept.iter().flat_map(|one| one.pieces.iter().cloned()).collect();
    let estimates = Estimates::of(&pieces, SEED);
    let items = |rate: f64| rate * load.cargo.batch as f64;
    let rate = estimates.rate;
    Level {
        offered,
        batch: load.cargo.batch,
        seconds: kept.iter().map(Seen::seconds).sum(),
        windows,
        stable,
        interrupted: false,
        requests: tally.succeeded(),
        items_per_second: Estimate {
            value: items(rate.value),
            interval: rate.interval.map(|ends| ends.map(items)),
        },
        latency: Latency::of(&tally, &estimates),
        client: client(&tally, kept),
        failures: tally.failures,
        unfinished: 0,
        server: stages(kept),
        machine: watch::Machine::default(),
    }
}

/// The server's stages from before the first window to after the last.
fn stages(kept: &[Seen]) -> Option<Stages> {
    let (first, last) = (kept.first()?, kept.last()?);
    last.after.counters?.since(first.before.counters.as_ref()?)
}

fn client(tally: &Tally, kept: &[Seen]) -> Client {
    let count = tally.succeeded().max(1) as f64;
    let mean = |sum: Duration| 1e6 * sum.as_secs_f64() / count;
    let cores = || {
        let (first, last) = (&kept.first()?.before, &kept.last()?.after);
        let busy = last.cores?.saturating_sub(first.cores?).as_secs_f64();
        Some(busy / (last.at - first.at).as_secs_f64())
    };
    Client {
        late_us: mean(tally.parts.late),
        send_us: mean(tally.parts.send),
        receive_us: mean(tally.parts.receive),
        cores: cores(),
    }
}

impl Latency {
    fn of(tally: &Tally, estimates: &Estimates) -> Self {
        let micros = |e: Estimate| Estimate {
            value: 1e6 * e.value,
            interval: e.interval.map(|ends| ends.map(|end| 1e6 * end)),
        };
        let [p50, p90, p95, p99, p999] = estimates.latency.map(|e| e.map(micros));
        let most = (tally.succeeded() > 0).then(|| 1e-3 * tally.latency.max() as f64);
        let mean = tally.mean().map(|mean| 1e6 * mean.as_secs_f64());
        Self { mean, p50, p90, p95, p99, p999, most }
    }

    /// The percentiles, with the share of requests that each is about.
    #[must_use]
    pub fn percentiles(&self) -> [(f64, Option<Estimate>); QUANTILES.len()] {
        let all = [self.p50, self.p90, self.p95, self.p99, self.p999];
        std::array::from_fn(|i| (QUANTILES[i], all[i]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(requests_per_second: f64, mean_us: f64) -> Window {
        Window { requests_per_second, mean_us: Some(mean_us) }
    }

    #[test]
    fn windows_agree_when_the_last_three_are_within_a_tenth() {
        let wild = window(10.0, 900.0);
        let calm = [window(100.0, 50.0), window(109.9, 52.0), window(104.0, 54.9)];
        assert!(agree(&calm, 0.1) && agree(&[&[wild], &calm[..]].concat(), 0.1));
        assert!(!agree(&calm[..2], 0.1) && !agree(&[&calm[..], &[wild]].concat(), 0.1));
        assert!(!agree(&[calm[0], calm[1], window(104.0, 56.0)], 0.1));
        let idle = Window { requests_per_second: 0.0, mean_us: None };
        assert!(!agree(&[idle; 3], 0.1));
        assert!(!agree(&[calm[0], window(f64::NAN, 50.0), calm[1]], 0.1));
    }
}
