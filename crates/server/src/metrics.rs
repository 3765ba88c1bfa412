//! `/metrics` as Triton has it: the same families, labels and units, so that its dashboards and clients read them.
//!
//! Our own families follow, by device (`lithoburn_*`), and the process's. Others are added by whoever has them, as text, through [`Source`]. They come after these: clients of Triton look for their
//! families by a pattern that begins with the end of a line.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::http::{error, wrong_method};
use crate::schedule::{ModelSnapshot, Reason, Scheduler};
use crate::telemetry::{self, Cards, Work};

/// Adds families to the page.
pub type Source = Arc<dyn Fn(&mut String) + Send + Sync>;

/// Prometheus's text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers `/metrics`.
pub fn router(scheduler: Scheduler, cards: Option<Cards>, sources: Vec<Source>) -> Router {
    let page = move || {
        let mut text = String::new();
        let snapshot = scheduler.snapshot();
        let cards = cards.as_ref().map(Cards::now).unwrap_or_default();
        write(&mut text, &snapshot.models);
        telemetry::render_gpus(&mut text, &cards);
        telemetry::render(&mut text, &Work::from(&snapshot), &cards);
        sources.iter().for_each(|source| source(&mut text));
        async move { ([(header::CONTENT_TYPE, TEXT)], text).into_response() }
    };
    Router::new()
        .route("/metrics", get(page))
        .method_not_allowed_fallback(wrong_method)
        .fallback(|| async { error(axum::http::StatusCode::NOT_FOUND, "Not Found") })
}

/// A family of one value for each model.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    value: fn(&ModelSnapshot) -> u64,
}

const fn us(ns: u64) -> u64 {
    ns / 1000
}

const COUNTER: &str = "counter";

const FAMILIES: [Family; 9] = [
    Family {
        name: "nv_inference_request_success",
        help: "Number of successful inference requests, all batch sizes",
        kind: COUNTER,
        value: |model| model.counts.success.count,
    },
    Family {
        name: "nv_inference_count",
        help: "Number of inferences performed (does not include cached requests)",
        kind: COUNTER,
        value: |model| model.counts.inferences,
    },
    Family {
        name: "nv_inference_exec_count",
        help: "Number of model executions performed (does not include cached requests)",
        kind: COUNTER,
        value: |model| model.counts.executions,
    },
    Family {
        name: "nv_inference_request_duration_us",
        help: "Cumulative inference request duration in microseconds (includes cached requests)",
        kind: COUNTER,
        value: |model| us(model.counts.success.ns),
    },
    Family {
        name: "nv_inference_queue_duration_us",
        help: "Cumulative inference queuing duration in microseconds (includes cached requests)",
        kind: COUNTER,
        value: |model| us(model.counts.queue.ns),
    },
    Family {
        name: "nv_inference_compute_input_duration_us",
        help: "Cumulative compute input duration in microseconds (does not include cached requests)",
        kind: COUNTER,
        value: |model| us(model.counts.input.ns),
    },
    Family {
        name: "nv_inference_compute_infer_duration_us",
        help: "Cumulative compute inference duration in microseconds (does not include cached requests)",
        kind: COUNTER,
        value: |model| us(model.counts.infer.ns),
    },
    Family {
        name: "nv_inference_compute_output_duration_us",
        help: "Cumulative inference compute output duration in microseconds (does not include cached requests)",
        kind: COUNTER,
        value: |model| us(model.counts.output.ns),
    },
    Family {
        name: "nv_inference_pending_request_count",
        help: "Instantaneous number of pending requests awaiting execution per-model.",
        kind: "gauge",
        value: |model| model.waiting as u64,
    },
];

fn write(text: &mut String, models: &[ModelSnapshot]) {
    for family in FAMILIES {
        begin(text, family.name, family.help, family.kind);
        for model in models {
            let (labels, value) = (labels(model), (family.value)(model));
            line(text, format_args!("{}{{{labels}}} {value}", family.name));
        }
    }
    write_failures(text, models);
}

fn write_failures(text: &mut String, models: &[ModelSnapshot]) {
    const NAME: &str = "nv_inference_request_failure";
    begin(text, NAME, "Number of failed inference requests, all batch sizes", COUNTER);
    for model in models {
        let name = escaped(&model.signature.name);
        let version = model.signature.version;
        for word in ["OTHER", "BACKEND", "CANCELED", "REJECTED"] {
            let of = |reason: &&Reason| reason.triton() == word;
            let counts = &model.counts.refused;
            let value: u64 =
                Reason::ALL.iter().filter(of).filter_map(|reason| counts.get(reason)).sum();
            line(
                text,
                format_args!(
                    "{NAME}{{model=\"{name}\",reason=\"{word}\",version=\"{version}\"}} {value}"
                ),
            );
        }
    }
}

fn labels(model: &ModelSnapshot) -> String {
    let (name, version) = (escaped(&model.signature.name), model.signature.version);
    format!("model=\"{name}\",version=\"{version}\"")
}

/// A label's value as the text format wants it.
#[must_use]
pub fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Begins a family.
pub fn begin(text: &mut String, name: &str, help: &str, kind: &str) {
    line(text, format_args!("# HELP {name} {help}"));
    line(text, format_args!("# TYPE {name} {kind}"));
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // A string takes whatever is written.
    let _ = writeln!(text, "{content}");
}
