//! The page at `/`: drop a layout, watch it, see target, mask, print and metrics, and take the mask away.
//!
//! It is written by the server with what is known then, and kept up to date by events; plain HTML, CSS and JavaScript without a build
//! step. Without JavaScript the form still sends a layout.

mod html;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::HeaderName;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::stream::{Stream, unfold};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::jobs::{Jobs, counts};
use crate::security::Client;

/// How often the load is told.
const EVERY: Duration = Duration::from_secs(1);

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Whether it takes requests.
    pub ready: bool,
    /// What corrects layouts; the first unless asked otherwise.
    pub methods: Vec<String>,
    /// What is served by the inference protocol.
    pub models: Vec<ModelStatus>,
    /// What computes.
    pub devices: Vec<DeviceStatus>,
    /// The port of its page of metrics.
    pub metrics_port: u16,
}

/// A served model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// Whether it takes requests.
    pub ready: bool,
    /// Requests answered.
    pub answered: u64,
    /// Requests that wait.
    pub waiting: u64,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DeviceStatus {
    /// Its name.
    pub name: String,
    /// The card.
    pub card: String,
    /// What it does: warming, ready, lost.
    pub state: String,
    /// Fields computed.
    pub items: u64,
    /// Seconds in which it computed since it started.
    pub busy_seconds: f64,
}

/// Paths and what answers them.
pub type Routes = Router;

/// Tells a server's state.
pub type Source = Arc<dyn Fn() -> Status + Send + Sync>;

#[derive(Clone)]
struct Door {
    source: Source,
    jobs: Jobs,
    stop: CancellationToken,
}

/// The page's routes, with `/v1/status` and its events. They end when the server stops.
pub fn routes(source: Source, jobs: Jobs, stop: CancellationToken) -> Router {
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text) })
    };
    Router::new()
        .route("/", get(page))
        .route("/page.css", file("text/css; charset=utf-8", include_str!("page/page.css")))
        .route("/page.js", file("text/javascript; charset=utf-8", include_str!("page/page.js")))
        .route("/v1/status", get(status))
        .route("/v1/status/events", get(events))
        .with_state(Door { source, jobs, stop })
}

/// What a browser may do with the page: nothing but what the server itself gives.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

async fn page(State(door): State<Door>, Extension(client): Extension<Client>) -> impl IntoResponse {
    let jobs = door.jobs.all();
    let own: Vec<_> = jobs.into_iter().filter(|job| client.lists(&job.owner)).collect();
    (HEADERS, Html(html::page(&(door.source)(), &own)))
}

async fn status(State(door): State<Door>) -> Json<serde_json::Value> {
    Json(door.told())
}

async fn events(State(door): State<Door>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stream = unfold((door, false), |(door, waits)| async move {
        if waits {
            tokio::select! {
                () = door.stop.cancelled() => return None,
                () = tokio::time::sleep(EVERY) => (),
            }
        }
        let event = Event::default().event("status").json_data(door.told());
        Some((Ok(event.unwrap_or_default()), (door, true)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

impl Door {
    /// The state, with how many jobs there are; whose they are is nobody's business.
    fn told(&self) -> serde_json::Value {
        let mut status = serde_json::to_value((self.source)()).unwrap_or_default();
        status["jobs"] = counts(&self.jobs);
        status
    }
}

#[cfg(test)]
mod tests;
