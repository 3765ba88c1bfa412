//! Counts of what was done, by model and by device.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::durations::Durations;
use super::refusal::Reason;
use super::stages::Stages;

/// How often, and how long together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// How often.
    pub count: u64,
    /// Nanoseconds of all.
    pub ns: u64,
}

impl Stage {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.ns += nanoseconds(took);
    }
}

/// Batches of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchCounts {
    /// Laying out.
    pub input: Stage,
    /// Computing.
    pub infer: Stage,
    /// Bringing back.
    pub output: Stage,
}

/// Requests of one version of a model. As in Triton, each request is charged the whole time of its batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelCounts {
    /// When the last one was answered, in milliseconds since 1970; 0 if none was.
    pub last_inference_ms: u64,
    /// Items that were computed.
    pub inferences: u64,
    /// Batches that were computed.
    pub executions: u64,
    /// Requests that were answered, from their coming to their answer.
    pub success: Stage,
    /// Requests that were refused, with their time until then.
    pub fail: Stage,
    /// Waiting.
    pub queue: Stage,
    /// Laying out.
    pub input: Stage,
    /// Computing.
    pub infer: Stage,
    /// Bringing back.
    pub output: Stage,
    /// Batches by their number of items.
    pub batches: BTreeMap<usize, BatchCounts>,
    /// Refused requests by reason.
    pub refused: BTreeMap<Reason, u64>,
    /// Requests that were answered, by how long they took.
    pub durations: Durations,
}

impl ModelCounts {
    /// A request was answered.
    pub(crate) fn answered(&mut self, stages: &Stages) {
        self.success.add(stages.total());
        self.durations.add(stages.total());
        self.queue.add(stages.queue);
        self.input.add(stages.input);
        self.infer.add(stages.infer);
        self.output.add(stages.output);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_inference_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    }

    /// A batch of `items` was computed.
    pub(crate) fn executed(&mut self, items: usize, stages: &Stages) {
        self.inferences += items as u64;
        self.executions += 1;
        let batch = self.batches.entry(items).or_default();
        batch.input.add(stages.input);
        batch.infer.add(stages.infer);
        batch.output.add(stages.output);
    }

    /// A request was refused after so long.
    pub(crate) fn refused(&mut self, reason: Reason, after: Duration) {
        *self.refused.entry(reason).or_default() += 1;
        self.fail.add(after);
    }

    /// The protocol's part of an answer, e.g. writing it to shared memory.
    pub(crate) fn delivered(&mut self, took: Duration) {
        self.output.ns += nanoseconds(took);
        self.success.ns += nanoseconds(took);
    }
}

/// What a device did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounts {
    /// Batches.
    pub batches: u64,
    /// Requests.
    pub requests: u64,
    /// Items.
    pub items: u64,
    /// Pixels.
    pub pixels: u64,
    /// Nanoseconds of laying out.
    pub input_ns: u64,
    /// Nanoseconds of computing.
    pub infer_ns: u64,
    /// Nanoseconds of bringing back.
    pub output_ns: u64,
    /// Batches that failed.
    pub faults: u64,
}

impl DeviceCounts {
    /// A batch was computed.
    pub(crate) fn did(&mut self, requests: usize, items: usize, pixels: usize, stages: &Stages) {
        self.batches += 1;
        self.requests += requests as u64;
        self.items += items as u64;
        self.pixels += pixels as u64;
        self.input_ns += nanoseconds(stages.input);
        self.infer_ns += nanoseconds(stages.infer);
        self.output_ns += nanoseconds(stages.output);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
