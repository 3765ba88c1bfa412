//! The server, its models, and what they did.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::infer::{Target, small};
use super::reply::{self, error};
use crate::model::{Port, Signature};
use crate::protocol::{EXTENSIONS, Kind, Problem, Service};
use crate::schedule::{ModelSnapshot, Refusal, Stage, VersionState};

type Served = State<Arc<Service>>;

pub(super) async fn server(State(service): Served) -> Response {
    let settings = &service.settings;
    Json(json!({ "name": settings.name, "version": settings.version, "extensions": EXTENSIONS }))
        .into_response()
}

pub(super) async fn live() -> Response {
    Json(json!({ "live": true })).into_response()
}

pub(super) async fn ready(State(service): Served) -> Response {
    let readiness = service.scheduler.readiness();
    let ready = readiness.is_ready();
    let mut body = json!({ "ready": ready, "state": readiness.name() });
    if !readiness.problems().is_empty() {
        body["problems"] = readiness.problems().into();
    }
    if ready {
        return Json(body).into_response();
    }
    body["error"] = format!("the server is {}", readiness.name()).into();
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

/// The versions of a model that are asked for, or why there are none.
fn snapshots(service: &Service, target: &Target) -> Result<Vec<ModelSnapshot>, Problem> {
    let version = target.version()?;
    let models = service.scheduler.snapshot().models;
    let all: Vec<_> =
        models.into_iter().filter(|model| model.signature.name == target.model).collect();
    let known =
        all.iter().any(|model| version.is_none_or(|version| model.signature.version == version));
    if known {
        return Ok(all);
    }
    let version = version.map(|version| format!(" version {version}")).unwrap_or_default();
    Err(Refusal::Unknown(format!("'{}'{version}", target.model)).into())
}

/// The one that is asked for, else the newest that is ready, else the newest.
fn chosen<'a>(all: &'a [ModelSnapshot], target: &Target) -> Option<&'a ModelSnapshot> {
    match target.version() {
        Ok(Some(version)) => all.iter().find(|model| model.signature.version == version),
        _ => {
            let ready = all.iter().rev().find(|model| model.state == VersionState::Ready);
            ready.or_else(|| all.last())
        }
    }
}

/// Answers about a model.
fn about(
    service: &Service,
    target: &Target,
    say: impl FnOnce(&ModelSnapshot, &[ModelSnapshot]) -> Value,
) -> Response {
    match snapshots(service, target) {
        Ok(all) => match chosen(&all, target) {
            Some(model) => Json(say(model, &all)).into_response(),
            None => reply::not_found(),
        },
        Err(problem) => problem.into_response(),
    }
}

pub(super) async fn metadata(State(service): Served, Path(target): Path<Target>) -> Response {
    about(&service, &target, |model, all| {
        let signature = &model.signature;
        let ports = |ports: &[Port]| -> Vec<Value> {
            let described = ports.iter().map(|port| {
                let shape = signature.axes(port);
                json!({ "name": port.name, "datatype": port.datatype.name(), "shape": shape })
            });
            described.collect()
        };
        let served = all.iter().filter(|model| model.state == VersionState::Ready);
        let versions: Vec<_> = served.map(|model| model.signature.version.to_string()).collect();
        json!({
            "name": signature.name,
            "versions": versions,
            "platform": signature.platform,
            "inputs": ports(&signature.inputs),
            "outputs": ports(&signature.outputs),
        })
    })
}

pub(super) async fn model_ready(State(service): Served, Path(target): Path<Target>) -> Response {
    let version = match target.version() {
        Ok(version) => version,
        Err(problem) => return problem.into_response(),
    };
    let name = &target.model;
    match service.scheduler.state(name, version) {
        Ok(VersionState::Ready) => Json(json!({ "name": name, "ready": true })).into_response(),
        Ok(state) => not_ready(name, &format!("{state:?}")),
        Err(refusal) => not_ready(name, &refusal.to_string()),
    }
}

/// Triton's code is that of a wrong request, also for a model that there is not.
fn not_ready(name: &str, why: &str) -> Response {
    let text = format!("Model version not ready: {why}");
    (StatusCode::BAD_REQUEST, Json(json!({ "name": name, "ready": false, "error": text })))
        .into_response()
}

pub(super) async fn config(State(service): Served, Path(target): Path<Target>) -> Response {
    let devices = service.scheduler.snapshot().devices.len();
    about(&service, &target, |model, _| configuration(&model.signature, devices))
}

/// A model's configuration, in the form in which Triton gives it.
fn configuration(signature: &Signature, devices: usize) -> Value {
    let input = |port: &Port| {
        json!({
            "name": port.name,
            "data_type": port.datatype.config_name(),
            "format": "FORMAT_NONE",
            "dims": dims(port),
            "is_shape_tensor": false,
            "allow_ragged_batch": false,
            "optional": false,
        })
    };
    let output = |port: &Port| {
        json!({
            "name": port.name,
            "data_type": port.datatype.config_name(),
            "dims": dims(port),
            "label_filename": "",
            "is_shape_tensor": false,
        })
    };
    let mut config = json!({
        "name": signature.name,
        "platform": signature.platform,
        "backend": "lithoburn",
        "runtime": "",
        "version_policy": { "latest": { "num_versions": 1 } },
        "max_batch_size": signature.max_batch,
        "input": signature.inputs.iter().map(input).collect::<Vec<_>>(),
        "output": signature.outputs.iter().map(output).collect::<Vec<_>>(),
        "batch_input": [],
        "batch_output": [],
        "optimization": { "priority": "PRIORITY_DEFAULT" },
        "instance_group": [{ "name": signature.name, "kind": "KIND_MODEL", "count": devices, "gpus": [] }],
        "default_model_filename": "",
        "cc_model_filenames": {},
        "metric_tags": {},
        "parameters": accepted(signature),
        "model_warmup": [],
        "model_transaction_policy": { "decoupled": false },
    });
    if signature.batched() {
        config["dynamic_batching"] = json!({
            "preferred_batch_size": [],
            "max_queue_delay_microseconds": 0,
            "preserve_ordering": false,
        });
    }
    config
}

fn dims(port: &Port) -> Vec<i64> {
    port.shape.iter().map(|axis| axis.map_or(-1, |n| i64::try_from(n).unwrap_or(-1))).collect()
}

/// The datatypes that each port takes or gives beside the declared one.
fn accepted(signature: &Signature) -> Value {
    let ports = signature.inputs.iter().chain(&signature.outputs);
    let lists = ports.filter(|port| !port.also.is_empty()).map(|port| {
        let names: Vec<_> = port.also.iter().map(|datatype| datatype.name()).collect();
        (format!("also:{}", port.name), json!({ "string_value": names.join(",") }))
    });
    Value::Object(lists.collect())
}

pub(super) async fn statistics(State(service): Served, Path(target): Path<Target>) -> Response {
    let version = match target.version() {
        Ok(version) => version,
        Err(problem) => return problem.into_response(),
    };
    match snapshots(&service, &target) {
        Ok(all) => {
            let asked =
                |model: &&ModelSnapshot| version.is_none_or(|n| model.signature.version == n);
            let all: Vec<_> = all.iter().filter(asked).map(counted).collect();
            Json(json!({ "model_stats": all })).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

pub(super) async fn all_statistics(State(service): Served) -> Response {
    let all: Vec<_> = service.scheduler.snapshot().models.iter().map(counted).collect();
    Json(json!({ "model_stats": all })).into_response()
}

fn counted(model: &ModelSnapshot) -> Value {
    let counts = &model.counts;
    let stage = |stage: &Stage| json!({ "count": stage.count, "ns": stage.ns });
    let batches = counts.batches.iter().map(|(items, batch)| {
        json!({
            "batch_size": items,
            "compute_input": stage(&batch.input),
            "compute_infer": stage(&batch.infer),
            "compute_output": stage(&batch.output),
        })
    });
    let none = Stage::default();
    json!({
        "name": model.signature.name,
        "version": model.signature.version.to_string(),
        "last_inference": counts.last_inference_ms,
        "inference_count": counts.inferences,
        "execution_count": counts.executions,
        "inference_stats": {
            "success": stage(&counts.success),
            "fail": stage(&counts.fail),
            "queue": stage(&counts.queue),
            "compute_input": stage(&counts.input),
            "compute_infer": stage(&counts.infer),
            "compute_output": stage(&counts.output),
            "cache_hit": stage(&none),
            "cache_miss": stage(&none),
        },
        "response_stats": {},
        "batch_stats": batches.collect::<Vec<_>>(),
        "memory_usage": [],
    })
}

pub(super) async fn index(State(service): Served, headers: HeaderMap, body: Body) -> Response {
    let json = match small(&headers, body).await {
        Ok(json) => json,
        Err(problem) => return problem.into_response(),
    };
    let only_ready = json.get("ready").and_then(Value::as_bool).unwrap_or(false);
    let models = service.scheduler.snapshot().models;
    let asked = models.iter().filter(|model| !only_ready || model.state == VersionState::Ready);
    let all: Vec<_> = asked.map(indexed).collect();
    Json(all).into_response()
}

fn indexed(model: &ModelSnapshot) -> Value {
    let (state, reason) = model.state.words();
    let mut entry = json!({
        "name": model.signature.name,
        "version": model.signature.version.to_string(),
        "state": state,
    });
    if !reason.is_empty() {
        entry["reason"] = reason.into();
    }
    entry
}

/// What clients may not do.
pub(super) async fn not_by_clients() -> Problem {
    let text = "explicit model load / unload is not allowed: the server follows its repository";
    Problem::new(Kind::Unavailable, text)
}

pub(super) async fn tracing() -> Response {
    Json(json!({
        "trace_level": ["OFF"],
        "trace_rate": "0",
        "trace_count": "0",
        "log_frequency": "0",
        "trace_file": "",
        "trace_mode": "triton",
    }))
    .into_response()
}

pub(super) async fn fixed_tracing() -> Response {
    error(StatusCode::NOT_IMPLEMENTED, "traces are set where the server is started, not by clients")
}

pub(super) async fn logging() -> Response {
    Json(json!({
        "log_file": "",
        "log_info": true,
        "log_warning": true,
        "log_error": true,
        "log_verbose_level": 0,
        "log_format": "default",
    }))
    .into_response()
}

pub(super) async fn fixed_logging() -> Response {
    error(StatusCode::NOT_IMPLEMENTED, "logs are set where the server is started, not by clients")
}
