//! Where a server says its requests' time went, from the difference of two looks at its statistics.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Target;
use super::connection::{Message, ask_json};

/// A model's counters: durations in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    requests: u64,
    failures: u64,
    items: u64,
    batches: u64,
    whole: u64,
    queue: u64,
    input: u64,
    infer: u64,
    output: u64,
}

/// Mean times of a request on the server, in µs, and its batches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stages {
    /// Requests that succeeded.
    pub requests: u64,
    /// Requests that did not.
    pub failures: u64,
    /// Batches that were computed.
    pub batches: u64,
    /// Items in a batch; none without batches.
    pub batch: Option<f64>,
    /// From its arrival to its answer.
    pub request_us: f64,
    /// Waiting for a device.
    pub queue_us: f64,
    /// Going to the device.
    pub compute_input_us: f64,
    /// Computing.
    pub compute_infer_us: f64,
    /// Coming from the device.
    pub compute_output_us: f64,
}

impl Counters {
    /// A model's counters now; none if the server does not tell.
    pub(crate) async fn read(target: &Target) -> Option<Self> {
        let path = format!("{}/stats", target.path());
        let json = ask_json(&target.address, &Message::get(path)).await.ok()?;
        Some(Self::of(&json["model_stats"]))
    }

    /// The sum over the versions of a model.
    fn of(models: &Value) -> Self {
        let mut sum = Self::default();
        for model in models.as_array().into_iter().flatten() {
            let stage = |name: &str, what: &str| number(&model["inference_stats"][name][what]);
            sum.requests += stage("success", "count");
            sum.failures += stage("fail", "count");
            sum.whole += stage("success", "ns");
            sum.queue += stage("queue", "ns");
            sum.input += stage("compute_input", "ns");
            sum.infer += stage("compute_infer", "ns");
            sum.output += stage("compute_output", "ns");
            sum.items += number(&model["inference_count"]);
            sum.batches += number(&model["execution_count"]);
        }
        sum
    }

    /// What happened since another look; none if no request ended.
    pub(crate) fn since(&self, before: &Self) -> Option<Stages> {
        let requests = self.requests.saturating_sub(before.requests);
        let mean = |now: u64, then: u64| 1e-3 * now.saturating_sub(then) as f64 / requests as f64;
        let batches = self.batches.saturating_sub(before.batches);
        let items = self.items.saturating_sub(before.items);
        (requests > 0).then(|| Stages {
            requests,
            failures: self.failures.saturating_sub(before.failures),
            batches,
            batch: (batches > 0).then(|| items as f64 / batches as f64),
            request_us: mean(self.whole, before.whole),
            queue_us: mean(self.queue, before.queue),
            compute_input_us: mean(self.input, before.input),
            compute_infer_us: mean(self.infer, before.infer),
            compute_output_us: mean(self.output, before.output),
        })
    }
}

/// A count, which the protocol's JSON has as a number or, by protobuf's rules, as text.
fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn look(requests: u64, ns: u64) -> Counters {
        let stage = |ns: u64| json!({"count": requests, "ns": ns});
        Counters::of(&json!([{
            "inference_count": 4 * requests, "execution_count": requests.to_string(),
            "inference_stats": {
                "success": stage(ns), "fail": {"count": 1, "ns": 5}, "queue": stage(ns / 2),
                "compute_input": stage(ns / 10), "compute_infer": stage(ns / 4), "compute_output": stage(0),
            },
        }]))
    }

    #[test]
    fn stages_are_means_of_what_happened_between_two_looks() {
        let found = look(30, 50_000_000).since(&look(10, 10_000_000)).expect("requests");
        assert_eq!((found.requests, found.failures, found.batches), (20, 0, 20));
        assert_eq!((found.batch, found.request_us), (Some(4.0), 2000.0));
        assert_eq!((found.queue_us, found.compute_infer_us), (1000.0, 500.0));
        assert_eq!(look(10, 5).since(&look(10, 5)), None);
    }
}
