//! A server at a glance: rates and percentiles between two looks at its page of metrics and its statistics.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{Page, Sample, names, process};

/// What a server says at one moment.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Its page of metrics.
    pub page: Page,
    /// Its jobs, as `/v1/jobs` has them; null if there is no such page.
    pub jobs: Value,
}

/// What happened between two looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Glance {
    /// Devices, by name.
    pub devices: Vec<DeviceGlance>,
    /// Models, by name and version.
    pub models: Vec<ModelGlance>,
    /// Jobs that are not over, the newest first.
    pub jobs: Vec<JobGlance>,
    /// Cores that the server keeps busy.
    pub cores: Option<f64>,
    /// Memory that the server holds, in bytes.
    pub resident: Option<f64>,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceGlance {
    /// Its name.
    pub name: String,
    /// Whether it takes work.
    pub up: bool,
    /// Share of the time that it computed.
    pub computing: Option<f64>,
    /// What the driver calls utilisation.
    pub utilization: Option<f64>,
    /// Memory in use, and that there is, in bytes.
    pub memory: [Option<f64>; 2],
    /// Power, in W.
    pub power: Option<f64>,
    /// Temperature, in °C.
    pub temperature: Option<f64>,
    /// Batches a second.
    pub batches: Option<f64>,
    /// Items a second.
    pub items: Option<f64>,
    /// Requests that it has.
    pub in_flight: Option<f64>,
}

/// A version of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelGlance {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Requests that were answered, a second.
    pub requests: Option<f64>,
    /// Requests that were refused or failed, a second.
    pub failures: Option<f64>,
    /// Mean time of a request, in ms.
    pub mean_ms: Option<f64>,
    /// Half of the requests took no longer, in ms; none if the server counts no times.
    pub p50_ms: Option<f64>,
    /// 99 of 100.
    pub p99_ms: Option<f64>,
    /// Items in a batch.
    pub batch: Option<f64>,
    /// Requests that wait.
    pub waiting: Option<f64>,
}

/// A job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobGlance {
    /// Its name.
    pub id: String,
    /// What it is at.
    pub state: String,
    /// Its layout.
    pub layout: String,
    /// Share that is done.
    pub done: Option<f64>,
}

/// Names of what is read of a model, of Triton's and our own.
const SUCCESS: &str = "nv_inference_request_success";
const FAILURE: &str = "nv_inference_request_failure";
const DURATION: &str = "nv_inference_request_duration_us";
const COUNT: &str = "nv_inference_count";
const EXECUTIONS: &str = "nv_inference_exec_count";
const PENDING: &str = "nv_inference_pending_request_count";
/// Times of requests ([`names::REQUEST_SECONDS`]), by bucket.
const BUCKETS: &str = "lithoburn_request_seconds_bucket";

/// Two pages, and how far apart they are.
struct Between<'a> {
    before: &'a Page,
    now: &'a Page,
    seconds: f64,
}

/// A label and its value.
type Label<'a> = (&'a str, &'a str);

fn has(sample: &Sample, labels: &[Label<'_>]) -> bool {
    labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|v| v == value))
}

fn sum(page: &Page, name: &str, labels: &[Label<'_>]) -> Option<f64> {
    let values = page.of(name).filter(|sample| has(sample, labels)).map(|sample| sample.value);
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

impl Between<'_> {
    /// What a counter grew by. A counter that fell is one of a server that was started anew.
    fn growth(&self, name: &str, labels: &[Label<'_>]) -> Option<f64> {
        let (before, now) = (sum(self.before, name, labels)?, sum(self.now, name, labels)?);
        (now >= before).then_some(now - before)
    }

    fn rate(&self, name: &str, labels: &[Label<'_>]) -> Option<f64> {
        Some(self.growth(name, labels)? / self.seconds)
    }

    fn ratio(&self, top: &str, bottom: &str, labels: &[Label<'_>]) -> Option<f64> {
        let (top, bottom) = (self.growth(top, labels)?, self.growth(bottom, labels)?);
        (bottom > 0.0).then(|| top / bottom)
    }

    /// A percentile of what fell into buckets meanwhile, evenly within a bucket, as Prometheus' own `histogram_quantile`.
    fn quantile(&self, quantile: f64, labels: &[Label<'_>]) -> Option<f64> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in self.now.of(BUCKETS).filter(|sample| has(sample, labels)) {
            let bound = sample.labels.get("le")?;
            let value = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            let own: Vec<Label<'_>> =
                labels.iter().copied().chain([("le", bound.as_str())]).collect();
            buckets.push((value, self.growth(BUCKETS, &own)?));
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let rank = quantile * buckets.last()?.1;
        let index = buckets.iter().position(|(_, count)| *count >= rank && *count > 0.0)?;
        let (low, below) = if index == 0 { (0.0, 0.0) } else { buckets[index - 1] };
        let (high, count) = buckets[index];
        match high.is_finite() {
            true => Some(low + (high - low) * (rank - below) / (count - below)),
            false => Some(low),
        }
    }

    fn device(&self, name: &str) -> DeviceGlance {
        let own: &[Label<'_>] = &[("device", name)];
        let gauge = |metric| sum(self.now, metric, own);
        DeviceGlance {
            name: name.into(),
            up: gauge(names::UP) != Some(0.0),
            computing: self.rate(names::STAGE_SECONDS, &[own[0], ("stage", "infer")]),
            utilization: gauge(names::UTILIZATION),
            memory: [gauge(names::MEMORY_USED), gauge(names::MEMORY_SIZE)],
            power: gauge(names::POWER),
            temperature: gauge(names::TEMPERATURE),
            batches: self.rate(names::BATCHES, own),
            items: self.rate(names::ITEMS, own),
            in_flight: gauge(names::IN_FLIGHT),
        }
    }

    fn model(&self, name: &str, version: &str) -> ModelGlance {
        let own: &[Label<'_>] = &[("model", name), ("version", version)];
        let ms = |seconds: f64| 1e3 * seconds;
        ModelGlance {
            name: name.into(),
            version: version.into(),
            requests: self.rate(SUCCESS, own),
            failures: self.rate(FAILURE, own),
            mean_ms: self.ratio(DURATION, SUCCESS, own).map(|us| 1e-3 * us),
            p50_ms: self.quantile(0.5, own).map(ms),
            p99_ms: self.quantile(0.99, own).map(ms),
            batch: self.ratio(COUNT, EXECUTIONS, own),
            waiting: sum(self.now, PENDING, own),
        }
    }
}

impl Glance {
    /// What happened from one look to another, so long after it.
    #[must_use]
    pub fn between(before: &Look, now: &Look, apart: Duration) -> Self {
        let between = Between {
            before: &before.page,
            now: &now.page,
            seconds: apart.as_secs_f64().max(1e-9),
        };
        let mut devices: BTreeMap<&str, ()> = BTreeMap::new();
        let mut models: BTreeMap<(&str, &str), ()> = BTreeMap::new();
        for sample in now.page.of(names::UP) {
            devices.extend(sample.labels.get("device").map(|name| (name.as_str(), ())));
        }
        for sample in now.page.of(SUCCESS) {
            let labels = sample.labels.get("model").zip(sample.labels.get("version"));
            models.extend(labels.map(|(name, version)| ((name.as_str(), version.as_str()), ())));
        }
        Self {
            devices: devices.keys().map(|name| between.device(name)).collect(),
            models: models.keys().map(|(name, version)| between.model(name, version)).collect(),
            jobs: jobs(&now.jobs),
            cores: between.rate(process::CPU, &[]),
            resident: sum(&now.page, process::RESIDENT, &[]),
        }
    }
}

/// Jobs that are not over.
fn jobs(json: &Value) -> Vec<JobGlance> {
    const OVER: [&str; 3] = ["done", "failed", "cancelled"];
    let list = json.as_array();
    let job = |job: &Value| {
        let text = |key: &str| job[key].as_str().unwrap_or_default().to_string();
        let (done, total) = (job["progress"]["done"].as_f64(), job["progress"]["total"].as_f64());
        let share =
            done.zip(total).filter(|(_, total)| *total > 0.0).map(|(done, total)| done / total);
        JobGlance { id: text("id"), state: text("state"), layout: text("layout"), done: share }
    };
    let all = list.into_iter().flatten().map(job);
    all.filter(|job| !OVER.contains(&job.state.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(count: f64, fast: f64) -> Look {
        let text = format!(
            "nv_inference_request_success{{model=\"m\",version=\"1\"}} {count}\n\
             nv_inference_request_failure{{model=\"m\",version=\"1\",reason=\"REJECTED\"}} 3\n\
             nv_inference_request_failure{{model=\"m\",version=\"1\",reason=\"OTHER\"}} {}\n\
             nv_inference_request_duration_us{{model=\"m\",version=\"1\"}} {}\n\
             nv_inference_pending_request_count{{model=\"m\",version=\"1\"}} 9\n\
             lithoburn_request_seconds_bucket{{model=\"m\",version=\"1\",le=\"0.1\"}} {fast}\n\
             lithoburn_request_seconds_bucket{{model=\"m\",version=\"1\",le=\"0.2\"}} {count}\n\
             lithoburn_request_seconds_bucket{{model=\"m\",version=\"1\",le=\"+Inf\"}} {count}\n\
             lithoburn_device_up{{device=\"a\"}} 1\n\
             lithoburn_device_items_total{{device=\"a\"}} {}\n\
             lithoburn_device_stage_seconds_total{{device=\"a\",stage=\"infer\"}} {}\n",
            0.1 * count,
            1000.0 * count,
            4.0 * count,
            0.01 * count,
        );
        Look { page: Page::parse(&text), jobs: Value::Null }
    }

    /// In 2 s: 100 requests, 50 of them within 0.1 s and the rest within 0.2 s.
    #[test]
    fn rates_and_percentiles_are_those_between_two_looks() {
        let glance =
            Glance::between(&look(100.0, 90.0), &look(200.0, 140.0), Duration::from_secs(2));
        let model = &glance.models[0];
        assert_eq!(
            (model.requests, model.failures, model.waiting),
            (Some(50.0), Some(5.0), Some(9.0))
        );
        assert_eq!((model.mean_ms, model.p50_ms), (Some(1.0), Some(100.0)));
        // The 99th of 100 is 49/50 into the second bucket.
        assert!((model.p99_ms.expect("buckets") - 198.0).abs() < 1e-9);
        let device = &glance.devices[0];
        assert_eq!((device.items, device.computing, device.power), (Some(200.0), Some(0.5), None));
        assert!(device.up);
    }

    #[test]
    fn a_server_that_was_started_anew_has_no_rates() {
        let glance = Glance::between(&look(200.0, 10.0), &look(100.0, 5.0), Duration::from_secs(1));
        assert_eq!((glance.models[0].requests, glance.devices[0].items), (None, None));
    }

    #[test]
    fn jobs_that_are_over_are_left_out() {
        let jobs = jobs(&serde_json::json!([
            {"id": "1", "state": "running", "layout": "a.gds", "progress": {"done": 3, "total": 12}},
            {"id": "2", "state": "done", "layout": "b.gds", "progress": null},
        ]));
        assert_eq!((jobs.len(), jobs[0].done), (1, Some(0.25)));
    }
}
