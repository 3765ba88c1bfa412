//! Where a configuration saturates, what limits it there, and which one to take: rules that print their evidence.

use serde::{Deserialize, Serialize};

use super::{Configuration, Results};
use crate::load::{Findings, Level};

/// Share of the greatest throughput at which a configuration counts as saturated.
const SATURATED: f64 = 0.95;
/// Share of the time that devices compute, from which on they are what limits.
const DEVICES: f64 = 0.9;
/// Share of the best batch below which batches are small.
const BATCH: f64 = 0.8;
/// Share of a request's time on the server that copies may take.
const COPIES: f64 = 0.15;
/// Share of the machine's cores that are busy, from which on they are what limits.
const CORES: f64 = 0.9;
/// Share of a request's time that may be spent between client and server.
const TRANSPORT: f64 = 0.2;
/// Share of a request's time that the load generator may be late.
const LATE: f64 = 0.1;
/// Least share of the first devices' throughput that each further one has to bring, where no price says what is best.
const WORTH: f64 = 0.9;

/// What may limit a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The load generator itself.
    Client,
    /// The devices compute all the time: nothing else is in their way.
    Devices,
    /// Inputs and outputs on their way to and from devices.
    Copies,
    /// Processors.
    Processor,
    /// Sockets and the protocol.
    Transport,
    /// Batches smaller than they could be, while requests wait.
    Batching,
}

/// A cause, and what was measured of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The cause.
    pub cause: Cause,
    /// Whether it limits; none if what it needs was not measured.
    pub holds: Option<bool>,
    /// What was measured, and the bound.
    pub told: String,
}

/// Where a configuration saturates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saturation {
    /// Requests in flight.
    pub concurrency: f64,
    /// Items a second there.
    pub rate: f64,
    /// The fitted greatest throughput within what was measured; the greatest that was measured where no law could be fitted.
    pub most: f64,
}

/// Which configuration to take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommended {
    /// Devices.
    pub devices: usize,
    /// Requests in flight.
    pub concurrency: f64,
    /// Why.
    pub reason: String,
}

/// The level of the greatest throughput.
pub(super) fn best(findings: &Findings) -> Option<&Level> {
    let rate = |level: &&Level| level.items_per_second.value;
    findings.levels.iter().max_by(|a, b| rate(a).total_cmp(&rate(b)))
}

impl Configuration {
    /// The smallest concurrency whose throughput is 0.95 of the fitted greatest one, and whose p99 is within the limit; none if
    /// there is no such level.
    #[must_use]
    pub fn saturation(&self, limit_ms: Option<f64>) -> Option<Saturation> {
        let measured = best(&self.closed)?.items_per_second.value;
        let widest = self.closed.levels.iter().map(|l| l.offered.number()).fold(0.0, f64::max);
        let most = self.law().map_or(measured, |law| law.most(widest));
        // A law that fits badly must not ask for more than was ever measured.
        let least = SATURATED * most.min(measured);
        let mut levels: Vec<&Level> = self.closed.levels.iter().collect();
        levels.sort_by(|a, b| a.offered.number().total_cmp(&b.offered.number()));
        let enough =
            |level: &&&Level| level.items_per_second.value >= least && within(level, limit_ms);
        let level = levels.iter().find(enough)?;
        let rate = level.items_per_second.value;
        Some(Saturation { concurrency: level.offered.number(), rate, most })
    }

    /// The level at which it saturates, or that of the greatest throughput.
    #[must_use]
    pub fn at_saturation(&self, limit_ms: Option<f64>) -> Option<&Level> {
        let wanted = self.saturation(limit_ms).map(|found| found.concurrency);
        let level = |wanted| self.closed.levels.iter().find(|l| l.offered.number() == wanted);
        wanted.and_then(level).or_else(|| self.best())
    }

    /// What limits it at a level, in the order in which one cause hides the next.
    #[must_use]
    pub fn evidence(&self, level: &Level, cores: usize) -> Vec<Evidence> {
        vec![
            client(level, cores),
            devices(level),
            copies(level),
            processor(level, cores),
            transport(level),
            self.batching(level),
        ]
    }

    /// The first cause that holds; none if none does: then more requests in flight bring more.
    #[must_use]
    pub fn bottleneck(&self, level: &Level, cores: usize) -> Option<Evidence> {
        self.evidence(level, cores).into_iter().find(|evidence| evidence.holds == Some(true))
    }

    fn batching(&self, level: &Level) -> Evidence {
        let found = level.server.and_then(|s| Some((s.batch?, s.queue_us / s.request_us)));
        let Some((batch, queued)) = found.filter(|_| self.most_batch > 0) else {
            return unknown(Cause::Batching, "the server tells nothing of its batches");
        };
        let share = batch / self.most_batch as f64;
        Evidence {
            cause: Cause::Batching,
            holds: Some(share < BATCH && queued > 0.05),
            told: format!(
                "batches have {batch:.1} of {} items (bound {BATCH}), and requests wait for {} of their time",
                self.most_batch,
                percent(queued)
            ),
        }
    }
}

/// Whether 99 of 100 requests are within the limit; a level that cannot tell is not.
fn within(level: &Level, limit_ms: Option<f64>) -> bool {
    limit_ms.is_none_or(|limit| level.latency.p99.is_some_and(|p99| p99.value <= 1e3 * limit))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn unknown(cause: Cause, told: &str) -> Evidence {
    Evidence { cause, holds: None, told: told.into() }
}

fn client(level: &Level, cores: usize) -> Evidence {
    let Some(mean) = level.latency.mean else {
        return unknown(Cause::Client, "no request was answered");
    };
    let late = level.client.late_us / mean;
    let busy = level.client.cores.map(|busy| busy / cores as f64);
    let full = busy.is_some_and(|busy| busy > CORES);
    let cores = busy.map_or("not told".into(), percent);
    Evidence {
        cause: Cause::Client,
        holds: Some(late > LATE || full),
        told: format!(
            "the load generator was late by {} of a request's time (bound {}) and took {cores} of the cores",
            percent(late),
            percent(LATE)
        ),
    }
}

fn devices(level: &Level) -> Evidence {
    match level.machine.mean(|device| device.computing) {
        Some(share) => Evidence {
            cause: Cause::Devices,
            holds: Some(share >= DEVICES),
            told: format!(
                "devices compute for {} of the time (bound {})",
                percent(share),
                percent(DEVICES)
            ),
        },
        None => unknown(Cause::Devices, "the server tells nothing of its devices"),
    }
}

fn copies(level: &Level) -> Evidence {
    let Some(server) = level.server.filter(|server| server.request_us > 0.0) else {
        return unknown(Cause::Copies, "the server tells nothing of its stages");
    };
    let share = (server.compute_input_us + server.compute_output_us) / server.request_us;
    Evidence {
        cause: Cause::Copies,
        holds: Some(share > COPIES),
        told: format!(
            "inputs and outputs take {} of the server's time (bound {})",
            percent(share),
            percent(COPIES)
        ),
    }
}

fn processor(level: &Level, cores: usize) -> Evidence {
    let both = level.machine.cores.zip(level.client.cores).map(|(server, client)| server + client);
    let Some(busy) = both.map(|busy| busy / cores as f64) else {
        return unknown(Cause::Processor, "processor time of server or client is not told");
    };
    let idle = level.machine.mean(|device| device.computing).is_some_and(|share| share < 0.8);
    Evidence {
        cause: Cause::Processor,
        holds: Some(busy > CORES && idle),
        told: format!(
            "server and load took {} of {cores} cores (bound {})",
            percent(busy),
            percent(CORES)
        ),
    }
}

fn transport(level: &Level) -> Evidence {
    let Some((server, mean)) = level.server.zip(level.latency.mean) else {
        return unknown(Cause::Transport, "the server tells nothing of its requests");
    };
    let share = ((mean - level.client.late_us - server.request_us) / mean).max(0.0);
    Evidence {
        cause: Cause::Transport,
        holds: Some(share > TRANSPORT),
        told: format!(
            "{} of a request's time is spent between client and server (bound {})",
            percent(share),
            percent(TRANSPORT)
        ),
    }
}

impl Results {
    /// The configuration to take: the cheapest one for 1000 items if prices are known; else the largest one whose devices
    /// each bring at least 0.9 of what the base's do. None if no configuration is within the limit.
    #[must_use]
    pub fn recommended(&self) -> Option<Recommended> {
        let candidates: Vec<(&Configuration, Saturation)> = self
            .configurations
            .iter()
            .filter_map(|c| Some((c, c.saturation(self.limit_ms)?)))
            .collect();
        let limit = self.limit_ms.map_or(String::new(), |ms| format!(" with p99 within {ms} ms"));
        let priced = candidates
            .iter()
            .filter_map(|(c, at)| Some((c, at, c.cost_per_1000(c.at_saturation(self.limit_ms)?)?)));
        if let Some((c, at, cost)) = priced.min_by(|a, b| a.2.total_cmp(&b.2)) {
            let reason = format!("cheapest{limit}: {cost:.5} for 1000 items");
            return Some(Recommended { devices: c.devices, concurrency: at.concurrency, reason });
        }
        let worth = |c: &Configuration| self.efficiency(c).is_some_and(|share| share >= WORTH);
        let (c, at) =
            candidates.into_iter().filter(|(c, _)| worth(c)).max_by_key(|(c, _)| c.devices)?;
        let share = self.efficiency(c)?;
        let reason = format!(
            "the most devices that each bring {WORTH} of the first ones' throughput or more{limit}: {share:.3}"
        );
        Some(Recommended { devices: c.devices, concurrency: at.concurrency, reason })
    }
}
