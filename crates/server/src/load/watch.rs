//! What a server's devices and process did during a level, from its page of metrics, read once a second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::Address;
use super::connection::{Message, ask, ask_json};
use crate::telemetry::{Page, Sample, names, process};

/// Port of the metrics, by custom.
const PORT: u16 = 8002;
/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Where pages are.
const PATH: &str = "/metrics";

/// What the server's machine did. What it does not tell is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Its devices, by name.
    pub devices: BTreeMap<String, Device>,
    /// Cores that the server's process kept busy.
    pub cores: Option<f64>,
    /// Most memory that the server's process held, in bytes.
    pub resident_bytes: Option<f64>,
}

/// What a device did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Share of the time that it computed, by the server's own clock.
    pub computing: Option<f64>,
    /// Share of the time that it received inputs or gave outputs.
    pub copying: Option<f64>,
    /// Items, a second.
    pub items_per_second: Option<f64>,
    /// Items in a batch.
    pub batch: Option<f64>,
    /// Mean of what the driver calls utilisation: the share of the time that any kernel ran.
    pub utilization: Option<f64>,
    /// Mean share of multiprocessors that had work.
    pub sm_activity: Option<f64>,
    /// Most memory in use, in bytes.
    pub memory_bytes: Option<f64>,
    /// Mean power, in W.
    pub power_watts: Option<f64>,
    /// Energy, in J.
    pub energy_joules: Option<f64>,
}

/// A page and when it was read.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    at: Instant,
    page: Page,
}

/// A server's page of metrics, which is read in the background until this is dropped.
#[derive(Debug)]
pub(crate) struct Watched {
    looks: Arc<Mutex<Vec<Look>>>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Where a server's page of metrics is: at the address that was given, where the server says, at port 8002, or beside everything else.
pub async fn find(server: &Address, given: Option<&Address>) -> Option<Address> {
    let places = match given {
        Some(given) => vec![given.clone()],
        None => {
            let status = json(server, "/v1/status").await.ok();
            let told = status.as_ref().and_then(|status| status["metrics_port"].as_u64());
            let told = told.and_then(|port| u16::try_from(port).ok());
            [told.unwrap_or(PORT), PORT]
                .map(|port| server.at_port(port))
                .into_iter()
                .chain([server.clone()])
                .collect()
        }
    };
    for place in places {
        if ask(&place, &Message::get(PATH)).await.is_ok() {
            return Some(place);
        }
    }
    None
}

/// Reads a page of metrics.
///
/// # Errors
///
/// [`super::LoadError`] if there is none.
pub async fn page(metrics: &Address) -> Result<(Page, String), super::LoadError> {
    let body = ask(metrics, &Message::get(PATH)).await?;
    let text = String::from_utf8_lossy(&body).into_owned();
    Ok((Page::parse(&text), text))
}

/// Reads a page of JSON.
///
/// # Errors
///
/// [`super::LoadError`] if there is none.
pub async fn json(server: &Address, path: &str) -> Result<serde_json::Value, super::LoadError> {
    ask_json(server, &Message::get(path)).await
}

impl Watched {
    /// Watches a page; without one, nothing is told.
    pub(crate) fn start(metrics: Option<Address>) -> Self {
        let looks: Arc<Mutex<Vec<Look>>> = Arc::default();
        let kept = looks.clone();
        let watch = |metrics: Address| async move {
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                ticks.tick().await;
                if let Ok((page, _)) = page(&metrics).await {
                    let look = Look { at: Instant::now(), page };
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(look);
                }
            }
        };
        Self { looks, task: metrics.map(|metrics| tokio::spawn(watch(metrics))) }
    }

    /// What was seen from one moment to another.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Machine {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|look| look.at >= from);
        let until = looks.iter().filter(|look| look.at <= to);
        Machine::over(&until.collect::<Vec<_>>())
    }
}

impl Machine {
    /// What happened from the first look to the last.
    fn over(looks: &[&Look]) -> Self {
        let [first, .., last] = looks else { return Self::default() };
        let seconds = (last.at - first.at).as_secs_f64();
        let growth = |name: &str, labels: &[(&str, &str)]| {
            let value = |look: &Look| selected(&look.page, name, labels).map(|s| s.value).next();
            Some(value(last)? - value(first)?)
        };
        let names_of = |name| last.page.of(name).filter_map(|s| s.labels.get("device"));
        let devices: BTreeSet<&String> =
            names_of(names::BATCHES).chain(names_of(names::MEMORY_USED)).collect();
        let device = |name: &String| {
            let own: &[(&str, &str)] = &[("device", name)];
            let stage = |stage| growth(names::STAGE_SECONDS, &[own[0], ("stage", stage)]);
            let gauge = |metric| {
                let values = looks.iter().filter_map(|l| selected(&l.page, metric, own).next());
                values.map(|sample| sample.value).collect::<Vec<f64>>()
            };
            let items = growth(names::ITEMS, own);
            let batches = growth(names::BATCHES, own).filter(|&batches| batches > 0.0);
            let copies = stage("input").zip(stage("output")).map(|(input, output)| input + output);
            let device = Device {
                computing: stage("infer").map(|busy| busy / seconds),
                copying: copies.map(|busy| busy / seconds),
                items_per_second: items.map(|items| items / seconds),
                batch: items.zip(batches).map(|(items, batches)| items / batches),
                utilization: mean(&gauge(names::UTILIZATION)),
                sm_activity: mean(&gauge(names::SM_ACTIVITY)),
                memory_bytes: gauge(names::MEMORY_USED).into_iter().reduce(f64::max),
                power_watts: mean(&gauge(names::POWER)),
                energy_joules: growth(names::ENERGY, own),
            };
            (name.clone(), device)
        };
        let resident = looks.iter().filter_map(|l| l.page.sum(process::RESIDENT));
        Self {
            devices: devices.into_iter().map(device).collect(),
            cores: growth(process::CPU, &[]).map(|busy| busy / seconds),
            resident_bytes: resident.reduce(f64::max),
        }
    }

    /// A value of all devices together; none if any does not tell.
    pub fn sum(&self, value: impl Fn(&Device) -> Option<f64>) -> Option<f64> {
        let all: Option<Vec<f64>> = self.devices.values().map(value).collect();
        all.filter(|all| !all.is_empty()).map(|all| all.iter().sum())
    }

    /// The mean of a value over the devices; none if any does not tell.
    pub fn mean(&self, value: impl Fn(&Device) -> Option<f64>) -> Option<f64> {
        self.sum(value).map(|sum| sum / self.devices.len() as f64)
    }
}

/// A metric's samples that have all these labels.
fn selected<'a>(
    page: &'a Page,
    name: &'a str,
    labels: &'a [(&'a str, &'a str)],
) -> impl Iterator<Item = &'a Sample> {
    page.of(name).filter(|sample| {
        labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|v| v == value))
    })
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: Instant, text: &str) -> Look {
        Look { at, page: Page::parse(text) }
    }

    /// By hand: in 4 s a device computes 3 s, copies 0.5 s, and does 80 items in 10 batches.
    #[test]
    fn a_machines_work_is_the_difference_of_its_counters() {
        let start = Instant::now();
        let text = |batches: u32, infer: f64, watts: u32| {
            format!(
                "lithoburn_device_batches_total{{device=\"a\"}} {batches}\n\
                 lithoburn_device_items_total{{device=\"a\"}} {}\n\
                 lithoburn_device_stage_seconds_total{{device=\"a\",stage=\"input\"}} {}\n\
                 lithoburn_device_stage_seconds_total{{device=\"a\",stage=\"infer\"}} {infer}\n\
                 lithoburn_device_stage_seconds_total{{device=\"a\",stage=\"output\"}} 1\n\
                 lithoburn_device_power_watts{{device=\"a\"}} {watts}\n\
                 process_cpu_seconds_total {infer}\n",
                8 * batches,
                f64::from(batches) / 20.0,
            )
        };
        let looks = [
            look(start, &text(5, 1.0, 100)),
            look(start + Duration::from_secs(1), &text(8, 2.0, 400)),
            look(start + Duration::from_secs(4), &text(15, 4.0, 400)),
        ];
        let machine = Machine::over(&looks.iter().collect::<Vec<_>>());
        let device = machine.devices["a"];
        assert_eq!((device.computing, device.copying), (Some(0.75), Some(0.125)));
        assert_eq!((device.items_per_second, device.batch), (Some(20.0), Some(8.0)));
        assert_eq!((device.power_watts, device.energy_joules), (Some(300.0), None));
        assert_eq!((machine.cores, machine.resident_bytes), (Some(0.75), None));
        assert_eq!(Machine::over(&[&looks[0]]), Machine::default());
    }
}
