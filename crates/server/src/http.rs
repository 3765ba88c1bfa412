//! The Open Inference Protocol over HTTP, with Triton's extensions.
//!
//! Bodies, codes and odd corners are those of Triton 2.51, which the recorded probes hold (`tests/probes.rs`), but for what the table there lists.

mod body;
mod infer;
mod json;
mod memory;
mod reply;
mod repository;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::protocol::Service;

pub use reply::{error, wrong_method};

/// Answers the protocol's paths.
pub fn router(service: Arc<Service>) -> Router {
    let paths = Router::new()
        .route("/v2", get(repository::server))
        .route("/v2/health/live", get(repository::live))
        .route("/v2/health/ready", get(repository::ready))
        .route("/v2/models/stats", get(repository::all_statistics))
        .route("/v2/repository/index", post(repository::index))
        .route("/v2/repository/models/{model}/load", post(repository::not_by_clients))
        .route("/v2/repository/models/{model}/unload", post(repository::not_by_clients))
        .route("/v2/logging", get(repository::logging).post(repository::fixed_logging))
        .route("/v2/trace/setting", get(repository::tracing).post(repository::fixed_tracing));
    let paths = with_memory(with_models(paths, "/v2/models/{model}"));
    let paths = with_models(paths, "/v2/models/{model}/versions/{version}");
    paths
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(no_head))
        .fallback(|| async { reply::not_found() })
        .with_state(service)
}

/// What there is below a model, and below a version of it.
fn with_models(router: Router<Arc<Service>>, model: &str) -> Router<Arc<Service>> {
    router
        .route(model, get(repository::metadata))
        .route(&format!("{model}/ready"), get(repository::model_ready))
        .route(&format!("{model}/config"), get(repository::config))
        .route(&format!("{model}/stats"), get(repository::statistics))
        .route(
            &format!("{model}/trace/setting"),
            get(repository::tracing).post(repository::fixed_tracing),
        )
        .route(&format!("{model}/infer"), post(infer::infer))
}

fn with_memory(router: Router<Arc<Service>>) -> Router<Arc<Service>> {
    let (system, cuda) = ("/v2/systemsharedmemory", "/v2/cudasharedmemory");
    router
        .route(&format!("{system}/status"), get(memory::status))
        .route(&format!("{system}/region/{{name}}/status"), get(memory::region_status))
        .route(&format!("{system}/region/{{name}}/register"), post(memory::register))
        .route(&format!("{system}/region/{{name}}/unregister"), post(memory::unregister))
        .route(&format!("{system}/unregister"), post(memory::unregister_all))
        .route(&format!("{cuda}/status"), get(memory::no_regions))
        .route(&format!("{cuda}/region/{{name}}/status"), get(memory::no_regions))
        .route(&format!("{cuda}/region/{{name}}/register"), post(memory::no_cuda))
        .route(&format!("{cuda}/region/{{name}}/unregister"), post(memory::nothing))
        .route(&format!("{cuda}/unregister"), post(memory::nothing))
}

/// Triton has no HEAD, where axum would answer as GET does.
async fn no_head(request: Request, next: Next) -> Response {
    if request.method() == Method::HEAD {
        return wrong_method().await.into_response();
    }
    next.run(request).await
}
