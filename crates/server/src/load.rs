//! Loads a server by the Open Inference Protocol and measures what it does.
//!
//! Any server of the protocol can be loaded: it is known by its address alone. A *closed loop* keeps a number of requests in
//! flight, as so many clients would that wait for their answers. An *open loop* sends by a schedule that knows nothing of the
//! answers, as a world of clients does; latencies count from the moment at which a request should have begun, so that a
//! server that stands still is charged for all who would have waited (no coordinated omission).
//!
//! A level is warmed up, then looked at in windows until three in a row agree; it is reported whether they do or not.

mod address;
mod charts;
mod connection;
mod drive;
mod error;
mod estimate;
mod law;
mod level;
mod link;
mod report;
mod request;
mod stages;
mod tally;
mod target;
#[cfg(test)]
mod tests;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use address::Address;
pub use error::LoadError;
pub use estimate::{Estimate, QUANTILES, TAIL, least_requests};
pub use law::Law;
pub use level::{Client, Latency, Level, Window};
pub use report::Findings;
pub use request::{Cargo, Source};
pub use stages::Stages;
pub use target::{Port, Target};

use drive::Sender;
use watch::Watched;

/// How requests of a schedule arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// At random, independently of each other.
    Poisson,
    /// At equal distances.
    Constant,
}

/// What is asked of a server at a level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Offered {
    /// So many requests in flight.
    Concurrency(usize),
    /// So many requests a second, whatever becomes of them.
    Rate {
        /// Requests a second.
        per_second: f64,
        /// How they arrive.
        arrivals: Arrivals,
    },
}

/// How long is measured, and what counts as stable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Time before anything counts.
    pub warm_up: Duration,
    /// Length of a window.
    pub window: Duration,
    /// Windows of a level at most.
    pub most_windows: usize,
    /// By how much of the least the last windows' rates and mean latencies may differ.
    pub within: f64,
    /// Longest that a request may take.
    pub timeout: Duration,
    /// Most requests of a schedule that are in flight; what arrives then waits on this side.
    pub most_in_flight: usize,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            warm_up: Duration::from_secs(2),
            window: Duration::from_secs(5),
            most_windows: 10,
            within: 0.1,
            timeout: Duration::from_secs(60),
            most_in_flight: 1024,
        }
    }
}

/// Asks a run to stop; what was measured until then is kept.
#[derive(Clone, Debug, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    /// Asks to stop.
    pub fn ask(&self) {
        self.0.cancel();
    }

    /// Whether it was asked.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Sleeps so long, or until it is asked.
    pub(crate) async fn sleep(&self, length: Duration) {
        tokio::select! {
            () = self.0.cancelled() => {}
            () = tokio::time::sleep(length) => {}
        }
    }
}

/// A run of load.
#[derive(Clone, Debug)]
pub struct Load {
    /// The model that is asked.
    pub target: Target,
    /// The page of metrics, if there is one.
    pub metrics: Option<Address>,
    /// The port of gRPC, if requests go there and not over HTTP.
    pub grpc: Option<Address>,
    /// What requests carry.
    pub cargo: Cargo,
    /// Levels, one after the other.
    pub levels: Vec<Offered>,
    /// How long is measured.
    pub terms: Terms,
}

impl Load {
    /// Measures all levels. `told` hears of each that is over, with those before it.
    ///
    /// A run that is asked to stop returns what it has, the level it was at included.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if an option cannot be meant, the server is not there, or the run stopped before anything was measured.
    pub async fn run(
        &self,
        stop: &Stop,
        told: &mut (dyn FnMut(&Findings) -> Result<(), LoadError> + Send),
    ) -> Result<Findings, LoadError> {
        self.check()?;
        let asks = self.cargo.asks(&self.target, self.grpc.is_some())?;
        let address = self.grpc.as_ref().unwrap_or(&self.target.address).clone();
        let sender = Arc::new(Sender::new(address, asks, self.terms.timeout));
        sender.try_one().await?;
        let watched = Watched::start(self.metrics.clone());
        let mut findings = Findings::new(self);
        for &offered in &self.levels {
            if stop.asked() {
                break;
            }
            match level::measure(self, &sender, offered, &watched, stop).await {
                Ok(level) => findings.levels.push(level),
                Err(LoadError::Stopped) => break,
                Err(error) => return Err(error),
            }
            told(&findings)?;
        }
        if findings.levels.is_empty() { Err(LoadError::Stopped) } else { Ok(findings) }
    }

    fn check(&self) -> Result<(), LoadError> {
        let wrong = |option, given: String, problem: &str| {
            Err(LoadError::Option { option, given, problem: problem.into() })
        };
        if self.levels.is_empty() {
            return wrong("--concurrency", "nothing".into(), "name a level, such as 1,2,4,8");
        }
        for offered in &self.levels {
            match offered {
                Offered::Concurrency(0) => {
                    return wrong("--concurrency", "0".into(), "1 or more requests are in flight");
                }
                Offered::Rate { per_second: rate, .. } if !(rate.is_finite() && *rate > 0.0) => {
                    return wrong("--rate", rate.to_string(), "requests a second, more than 0");
                }
                _ => {}
            }
        }
        let Terms { window, within, most_in_flight, .. } = self.terms;
        if window < Duration::from_millis(10) {
            return wrong("--window", format!("{window:?}"), "a window has at least 0.01 s");
        }
        if !(within.is_finite() && within > 0.0) {
            return wrong("--stability", within.to_string(), "a share of more than 0, such as 0.1");
        }
        if most_in_flight == 0 {
            return wrong("--max-in-flight", "0".into(), "1 or more requests are in flight");
        }
        Ok(())
    }
}
