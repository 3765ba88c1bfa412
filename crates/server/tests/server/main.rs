//! The server from outside: what was recorded of the real Triton, its real clients, and what is malformed.

mod clients;
mod grpc_probes;
mod http_probes;
mod malformed;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use lithoburn_server::model::Device;
use lithoburn_server::protocol::Settings;
use lithoburn_server::security::{self, Doors};
use lithoburn_server::sleeping::Sleeping;
use lithoburn_server::{Builder, Server};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// The models of the recordings: `tile` takes up to `batch` images of any size, `tile_nobatch` one of 64² pixels; both answer with
/// their input.
fn models(batch: usize) -> Builder {
    let fixed = vec![Some(1), Some(1), Some(64), Some(64)];
    let quick = |name| Sleeping::new(name, Duration::from_millis(1), Duration::ZERO, batch);
    Server::builder()
        .devices((0..2).map(|at| Device::new(format!("sleeping:{at}"))))
        .model(Arc::new(quick("tile")))
        .model(Arc::new(quick("tile_nobatch").unbatched(fixed)))
        .settings(Settings { body_limit: 64 << 20, ..Settings::default() })
}

async fn started(builder: Builder) -> Server {
    let server = builder.start().expect("starts");
    assert!(server.settled().await.is_ready());
    server
}

/// What an HTTP request got.
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Asks without a socket.
async fn ask(router: &Router, request: Request<Body>) -> Got {
    let response = router.clone().oneshot(request).await.expect("a router always answers");
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    Got { status, headers, body }
}

/// Serves on a port of the system's choice until the runtime ends.
async fn listening(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let serving = security::serve(listener, router, Doors::default(), CancellationToken::new());
    tokio::spawn(serving);
    address
}
