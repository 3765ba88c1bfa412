//! The loop that takes connections in, for HTTP and gRPC alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::Limits;
use super::gather::Gather;

/// Wait after the system had no connection to give, as when all its files are open.
const AGAIN: Duration = Duration::from_millis(50);
/// How often a quiet connection of HTTP/2 is asked whether it is still there.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// Most bytes that a connection of HTTP/1 reads ahead; of larger bodies less is copied.
const READ_AHEAD: usize = 400 << 10;
/// HTTP/2's window and frame, in bytes: a tensor of some MiB should not wait for its receipts.
const WINDOW: u32 = 16 << 20;
const FRAME: u32 = 1 << 20;
/// What a connection too many is told.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
    Content-Type: application/json\r\nContent-Length: 43\r\n\r\n{\"error\":\"too many connections at a time\"}\n";

/// How connections come in.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    /// A certificate and its key; without one, connections are not encrypted.
    pub tls: Option<Arc<ServerConfig>>,
    /// What they may bring, and how long they may take.
    pub limits: Limits,
}

/// How many threads serve connections best: a quarter of the cores. More of them wake each other for work that one does sooner alone, and take
/// from devices' threads what these need to lay batches out.
#[must_use]
pub fn threads() -> usize {
    const PART: usize = 4;
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(PART))
}

/// Serves a router's routes until `stop` is cancelled, and then what is in flight, for [`Limits::drain_time`] at most. HTTP/1 and
/// HTTP/2 are told apart by what a connection says first.
pub async fn serve(listener: TcpListener, routes: Router, doors: Doors, stop: CancellationToken) {
    let (in_flight, room) =
        (GracefulShutdown::new(), Arc::new(Semaphore::new(doors.limits.connections)));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else {
            sleep(AGAIN).await;
            continue;
        };
        let Ok(place) = room.clone().try_acquire_owned() else {
            tokio::spawn(turn_away(socket, doors.tls.is_some()));
            continue;
        };
        let (routes, doors, watcher) = (routes.clone(), doors.clone(), in_flight.watcher());
        tokio::spawn(async move {
            connection(socket, routes, doors, watcher).await;
            drop(place);
        });
    }
    drop(listener);
    let _ = timeout(doors.limits.drain_time, in_flight.shutdown()).await;
}

/// Tells a connection too many to come again.
async fn turn_away(mut socket: TcpStream, tls: bool) {
    if !tls {
        let _ = timeout(Duration::from_secs(1), socket.write_all(FULL)).await;
        let _ = socket.shutdown().await;
    }
}

async fn connection(socket: TcpStream, routes: Router, doors: Doors, watcher: Watcher) {
    // An answer's last bytes shall not wait for the client to confirm the first.
    let _ = socket.set_nodelay(true);
    let Some(config) = doors.tls else {
        return spoken(socket, routes, doors.limits, watcher).await;
    };
    let shaken =
        timeout(doors.limits.handshake_time, TlsAcceptor::from(config).accept(socket)).await;
    if let Ok(Ok(stream)) = shaken {
        spoken(stream, routes, doors.limits, watcher).await;
    }
}

/// Serves one connection until it ends, or says nothing whole in the time for a head.
async fn spoken<S>(stream: S, routes: Router, limits: Limits, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::new(AtomicBool::new(false));
    let heard = asked.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        heard.store(true, Ordering::Relaxed);
        routes.clone().oneshot(request)
    });
    let builder = builder(&limits);
    let served = watcher
        .watch(builder.serve_connection(TokioIo::new(Gather::new(stream)), service).into_owned());
    tokio::pin!(served);
    // The builder's own timer begins when the version is known, which a client need not tell.
    let silent = async {
        sleep(limits.header_time).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = &mut served => (),
        () = silent => (),
    }
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(READ_AHEAD.max(limits.header_bytes));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(ASK_EVERY)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
    builder
}

#[cfg(test)]
mod tests;
