//! What each device brings: a server is started with so many devices, loaded at every concurrency, and the next one is.
//!
//! How a study is read, its formulas, and what each verdict needs: `docs/study.md`.

mod charts;
mod report;
mod server;
#[cfg(test)]
mod tests;
mod verdict;

use serde::{Deserialize, Serialize};

pub use server::{Running, Starter};
pub use verdict::{Cause, Evidence, Recommended, Saturation};

use crate::load::{
    Arrivals, Cargo, Findings, Law, Level, Load, LoadError, Offered, Stop, Target, Terms, watch,
};

/// Shares of the greatest throughput at which requests arrive by a schedule.
const OPEN: [f64; 2] = [0.5, 0.8];

/// Hears what is known when a level or a configuration is over; an error of its own ends the study.
pub type Told<'a> = dyn FnMut(&Results, Option<&Level>) -> Result<(), LoadError> + Send + 'a;

/// A study that is to be made.
#[derive(Clone, Debug)]
pub struct Study {
    /// How servers are started.
    pub starter: Starter,
    /// Numbers of devices.
    pub devices: Vec<usize>,
    /// The model that is asked.
    pub model: String,
    /// What requests carry.
    pub cargo: Cargo,
    /// Requests in flight.
    pub concurrency: Vec<usize>,
    /// How long is measured.
    pub terms: Terms,
    /// Price of an hour with each number of devices.
    pub prices: Option<Vec<f64>>,
    /// Longest latency that 99 of 100 requests may have, in ms.
    pub limit_ms: Option<f64>,
}

/// What one number of devices did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Devices.
    pub devices: usize,
    /// Closed loop: every concurrency.
    pub closed: Findings,
    /// Open loop: requests that arrive at random, at shares of the greatest throughput.
    pub open: Findings,
    /// Price of an hour, if the user gave one.
    pub price_per_hour: Option<f64>,
    /// Most items in a batch, as the server declares; 0 if it makes none, or does not tell.
    pub most_batch: usize,
    /// The page of metrics when all was done.
    #[serde(skip)]
    pub metrics: Option<String>,
}

/// What a study found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// What the devices are, in a few words.
    pub what: String,
    /// The command line.
    pub command: String,
    /// Cores of the machine that load and server share.
    pub cores: usize,
    /// Longest latency that 99 of 100 requests may have, in ms.
    pub limit_ms: Option<f64>,
    /// By number of devices, as they were asked for.
    pub configurations: Vec<Configuration>,
}

impl Study {
    /// Runs the study. `told` hears of each level and of each configuration that is over; what it is given is all that is
    /// known until then.
    ///
    /// A study that is asked to stop returns what it has.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if an option cannot be meant, a server does not start, or nothing was measured.
    pub async fn run(&self, stop: &Stop, told: &mut Told<'_>) -> Result<Results, LoadError> {
        self.check()?;
        let mut results = Results {
            what: self.starter.what.clone(),
            command: self.starter.shown.clone(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            limit_ms: self.limit_ms,
            configurations: Vec::new(),
        };
        for (index, &devices) in self.devices.iter().enumerate() {
            if stop.asked() {
                break;
            }
            let price = self.prices.as_ref().map(|prices| prices[index]);
            match self
                .configuration(devices, price, stop, &mut |level| told(&results, Some(level)))
                .await
            {
                Ok(found) => results.configurations.push(found),
                Err(LoadError::Stopped) => break,
                Err(error) => return Err(error),
            }
            told(&results, None)?;
        }
        if results.configurations.is_empty() { Err(LoadError::Stopped) } else { Ok(results) }
    }

    async fn configuration(
        &self,
        devices: usize,
        price_per_hour: Option<f64>,
        stop: &Stop,
        told: &mut (dyn FnMut(&Level) -> Result<(), LoadError> + Send),
    ) -> Result<Configuration, LoadError> {
        let running = self.starter.start(devices).await?;
        let target = Target::find(&running.address, &self.model, None).await?;
        let metrics = watch::find(&running.address, running.metrics.as_ref()).await;
        let most_batch = target.most_batch.filter(|_| target.batched).unwrap_or(0);
        let levels = self.concurrency.iter().map(|&count| Offered::Concurrency(count)).collect();
        let cargo = self.cargo.clone();
        let closed = Load { target, metrics, grpc: None, cargo, levels, terms: self.terms };
        let mut each = |findings: &Findings| findings.levels.last().map_or(Ok(()), &mut *told);
        let found = closed.run(stop, &mut each).await?;
        let rate = verdict::best(&found).map_or(0.0, |level| level.items_per_second.value);
        let levels = OPEN.map(|share| Offered::Rate {
            per_second: share * rate / self.cargo.batch as f64,
            arrivals: Arrivals::Poisson,
        });
        let open = Load { levels: levels.into(), ..closed.clone() };
        let open = match stop.asked() || rate <= 0.0 {
            true => Findings { levels: Vec::new(), ..found.clone() },
            false => match open.run(stop, &mut each).await {
                Err(LoadError::Stopped) => Findings { levels: Vec::new(), ..found.clone() },
                other => other?,
            },
        };
        let page = match &closed.metrics {
            Some(metrics) => watch::page(metrics).await.ok().map(|(_, text)| text),
            None => None,
        };
        running.stop().await;
        Ok(Configuration {
            devices,
            closed: found,
            open,
            price_per_hour,
            most_batch,
            metrics: page,
        })
    }

    fn check(&self) -> Result<(), LoadError> {
        let wrong = |option, given: String, problem: &str| {
            Err(LoadError::Option { option, given, problem: problem.into() })
        };
        if self.devices.is_empty() || self.devices.contains(&0) {
            return wrong("--gpus", format!("{:?}", self.devices), "name numbers of 1 or more");
        }
        if let Some(prices) = &self.prices {
            if prices.len() != self.devices.len() {
                let problem =
                    format!("expected {} prices, one for each of --gpus", self.devices.len());
                return wrong("--price-per-hour", format!("{prices:?}"), &problem);
            }
            if prices.iter().any(|price| !(price.is_finite() && *price > 0.0)) {
                return wrong("--price-per-hour", format!("{prices:?}"), "prices are more than 0");
            }
        }
        match self.limit_ms {
            Some(limit) if !(limit.is_finite() && limit > 0.0) => {
                wrong("--p99-limit", limit.to_string(), "milliseconds, more than 0")
            }
            _ => Ok(()),
        }
    }
}

impl Configuration {
    /// The level of the greatest throughput.
    #[must_use]
    pub fn best(&self) -> Option<&Level> {
        verdict::best(&self.closed)
    }

    /// The scalability law of its concurrencies; none with fewer than three.
    #[must_use]
    pub fn law(&self) -> Option<Law> {
        let point = |l: &Level| [l.offered.number(), l.items_per_second.value];
        Law::fit(&self.closed.levels.iter().map(point).collect::<Vec<_>>())
    }

    /// Cost of 1000 items at a level: price ÷ (items a second × 3600) × 1000; none without a price.
    #[must_use]
    pub fn cost_per_1000(&self, level: &Level) -> Option<f64> {
        let rate = level.items_per_second.value;
        self.price_per_hour.filter(|_| rate > 0.0).map(|price| price / (rate * 3.6))
    }
}

impl Results {
    /// The first configuration of the fewest devices, to which others are compared.
    #[must_use]
    pub fn base(&self) -> Option<&Configuration> {
        self.configurations.iter().min_by_key(|c| c.devices)
    }

    /// Greatest throughput as a multiple of the base's, for each device of the base.
    #[must_use]
    pub fn speedup(&self, configuration: &Configuration) -> Option<f64> {
        let (base, best) = (self.base()?, configuration.best()?);
        let one = base.best()?.items_per_second.value / base.devices as f64;
        (one > 0.0).then(|| best.items_per_second.value / one)
    }

    /// Speedup ÷ devices.
    #[must_use]
    pub fn efficiency(&self, configuration: &Configuration) -> Option<f64> {
        Some(self.speedup(configuration)? / configuration.devices as f64)
    }

    /// The scalability law over numbers of devices; none with fewer than three.
    #[must_use]
    pub fn law(&self) -> Option<Law> {
        let point = |c: &Configuration| Some([c.devices as f64, c.best()?.items_per_second.value]);
        Law::fit(&self.configurations.iter().filter_map(point).collect::<Vec<_>>())
    }
}
