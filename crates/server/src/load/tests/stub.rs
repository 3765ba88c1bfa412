//! A server that does what a test asks, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::load::Address;

/// What the stub does with a request.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Answers after so long.
    Sleep(Duration),
    /// Answers at once, but not in the last part of each period.
    Stall { period: Duration, stall: Duration },
    /// Answers after so long; refuses one in so many.
    Refuse { sleep: Duration, every: u64 },
}

#[derive(Debug)]
struct Shared {
    manner: Manner,
    start: Instant,
    requests: AtomicU64,
    in_flight: AtomicU64,
    most: AtomicU64,
}

/// A running stub; it ends with its test's runtime.
#[derive(Debug)]
pub(crate) struct Stub {
    pub(crate) address: Address,
    shared: Arc<Shared>,
}

impl Stub {
    pub(crate) async fn sleeping(sleep: Duration) -> Self {
        Self::start(Manner::Sleep(sleep)).await
    }

    pub(crate) async fn stalling(period: Duration, stall: Duration) -> Self {
        Self::start(Manner::Stall { period, stall }).await
    }

    pub(crate) async fn refusing(sleep: Duration, every: u64) -> Self {
        Self::start(Manner::Refuse { sleep, every }).await
    }

    async fn start(manner: Manner) -> Self {
        let shared = Arc::new(Shared {
            manner,
            start: Instant::now(),
            requests: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            most: AtomicU64::new(0),
        });
        let routes = Router::new()
            .route("/v2/models/tile", get(|| async { Json(metadata()) }))
            .route("/v2/models/tile/config", get(|| async { Json(json!({"max_batch_size": 8})) }))
            .route("/v2/models/tile/stats", get(stats))
            .route("/v2/models/tile/infer", post(infer))
            .route("/v2/models/bare", get(|| async { Json(metadata()) }))
            .route("/v2/models/bare/infer", post(infer))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = Address::parse(&listener.local_addr().expect("a port").to_string());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address: address.expect("an address"), shared }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn most_in_flight(&self) -> u64 {
        self.shared.most.load(Ordering::SeqCst)
    }
}

fn metadata() -> Value {
    json!({
        "name": "tile", "versions": ["1"], "platform": "stub",
        "inputs": [{"name": "target", "datatype": "FP32", "shape": [-1, 1, -1, -1]}],
        "outputs": [{"name": "mask", "datatype": "FP32", "shape": [-1, 1, -1, -1]}],
    })
}

async fn stats(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let count = shared.requests.load(Ordering::SeqCst);
    let stage = |ns: u64| json!({"count": count, "ns": count * ns});
    Json(json!({"model_stats": [{
        "name": "tile", "version": "1", "inference_count": count, "execution_count": count,
        "inference_stats": {
            "success": stage(4_000_000), "fail": {"count": 0, "ns": 0}, "queue": stage(1_000_000),
            "compute_input": stage(0), "compute_infer": stage(3_000_000), "compute_output": stage(0),
        },
    }]}))
}

async fn infer(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let in_flight = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most.fetch_max(in_flight, Ordering::SeqCst);
    let number = shared.requests.fetch_add(1, Ordering::SeqCst);
    let refused = match shared.manner {
        Manner::Sleep(sleep) => {
            tokio::time::sleep(sleep).await;
            false
        }
        Manner::Stall { period, stall } => {
            let phase = shared.start.elapsed().as_nanos() % period.as_nanos();
            let left = period.as_nanos() - phase;
            if left < stall.as_nanos() {
                tokio::time::sleep(Duration::from_nanos(left as u64)).await;
            }
            false
        }
        Manner::Refuse { sleep, every } => {
            tokio::time::sleep(sleep).await;
            number % every == every - 1
        }
    };
    shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    match refused {
        true => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"error": "the queue is full"})))
            .into_response(),
        false => mask(&body),
    }
}

/// The raw input, as the output.
fn mask(body: &Bytes) -> Response {
    let begin = body.windows(2).position(|pair| pair == b"]}").map_or(0, |place| place + 2);
    let raw = &body[begin.min(body.len() - 1)..];
    let head = json!({"model_name": "tile", "outputs": [{"name": "mask"}]}).to_string();
    let whole = [head.as_bytes(), raw].concat();
    ([("Inference-Header-Content-Length", head.len().to_string())], whole).into_response()
}
