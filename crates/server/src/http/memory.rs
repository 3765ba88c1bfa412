//! Shared memory: registering regions and forgetting them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::infer::{ok, small};
use super::json::number;
use crate::protocol::{Kind, Problem, Region, Service};

fn described((name, region): &(String, Arc<Region>)) -> Value {
    json!({
        "name": name,
        "key": region.key,
        "offset": region.offset,
        "byte_size": region.byte_size,
    })
}

pub(super) async fn status(State(service): State<Arc<Service>>) -> Response {
    let regions: Vec<_> = service.regions.all().iter().map(described).collect();
    Json(regions).into_response()
}

pub(super) async fn region_status(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
) -> Response {
    match service.regions.get(&name) {
        Ok(region) => Json([described(&(name, region))]).into_response(),
        Err(problem) => problem.into_response(),
    }
}

pub(super) async fn register(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let registered = small(&headers, body).await.and_then(|json| {
        let fields = json.as_object().cloned().unwrap_or_default();
        let key = fields.get("key").and_then(Value::as_str);
        let key = key.ok_or_else(|| Problem::invalid("'key' must be the name of the memory"))?;
        let byte_size = number(&fields, "byte_size")?;
        let byte_size = byte_size.ok_or_else(|| Problem::invalid("'byte_size' is missing"))?;
        let offset = number(&fields, "offset")?.unwrap_or(0);
        service.regions.register(&name, key, offset, byte_size)
    });
    registered.map_or_else(IntoResponse::into_response, |()| ok())
}

pub(super) async fn unregister(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
) -> Response {
    service.regions.unregister(Some(&name));
    ok()
}

pub(super) async fn unregister_all(State(service): State<Arc<Service>>) -> Response {
    service.regions.unregister(None);
    ok()
}

/// Clients ask before and after, also those that use none.
pub(super) async fn no_regions() -> Response {
    Json(Value::Array(Vec::new())).into_response()
}

pub(super) async fn nothing() -> Response {
    ok()
}

pub(super) async fn no_cuda() -> Problem {
    let text = "CUDA shared memory is not supported: use system shared memory, or UINT8 and bit-packed BYTES";
    Problem::new(Kind::Unsupported, text)
}
