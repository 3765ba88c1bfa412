use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use axum::routing::{get, post};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsConnector;

use super::*;

fn routes() -> Router {
    Router::new()
        .route("/quick", get(|| async { "quick" }))
        .route("/length", post(|body: String| async move { body.len().to_string() }))
        .route(
            "/slow",
            get(|| async {
                sleep(Duration::from_millis(300)).await;
                "slow"
            }),
        )
}

/// A server on a port that the system chose, and what stops it.
async fn started(doors: Doors) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, stop) = (listener.local_addr().expect("an address"), CancellationToken::new());
    let serving = tokio::spawn(serve(listener, routes(), doors, stop.clone()));
    (address, stop, serving)
}

/// All that comes back for some bytes; the server must close.
async fn said(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(bytes).await.expect("written");
    let mut answer = Vec::new();
    let _ =
        timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await.expect("it closes");
    String::from_utf8_lossy(&answer).into_owned()
}

const QUICK: &[u8] = b"GET /quick HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn quick_limits() -> Limits {
    Limits { header_time: Duration::from_millis(200), ..Limits::default() }
}

#[tokio::test]
async fn whoever_says_nothing_or_half_a_head_is_left() {
    let (address, ..) = started(Doors { limits: quick_limits(), tls: None }).await;
    assert!(said(address, QUICK).await.ends_with("quick"));
    // Nothing; a head that does not end; the beginning of HTTP/2's greeting.
    for part in [&b""[..], b"GET /quick HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"PRI * HT"] {
        let answer = said(address, part).await;
        assert!(!answer.contains("quick"), "{answer}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (address, ..) = started(Doors::default()).await;
    let head =
        format!("GET /quick HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "x".repeat(1 << 20));
    let answer = said(address, head.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many: String = (0..200).map(|i| format!("X-{i}: x\r\n")).collect();
    let answer =
        said(address, format!("GET /quick HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_connection_too_many_is_told_to_come_again() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let (address, ..) = started(Doors { limits, tls: None }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        socket.write_all(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
        let mut head = [0; 15];
        socket.read_exact(&mut head).await.expect("an answer");
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        held.push(socket);
    }
    let answer = said(address, QUICK).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("Retry-After: 1"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
    drop(held);
    // The places are free once the server has seen it.
    let start = Instant::now();
    while !said(address, QUICK).await.ends_with("quick") {
        assert!(start.elapsed() < Duration::from_secs(20), "the places stay taken");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_server_that_stops_ends_what_is_in_flight_and_takes_nothing_new() {
    let (address, stop, serving) = started(Doors::default()).await;
    let asked =
        tokio::spawn(said_owned(address, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()));
    sleep(Duration::from_millis(100)).await;
    stop.cancel();
    assert!(asked.await.expect("no panic").ends_with("slow"));
    timeout(Duration::from_secs(20), serving).await.expect("it ends").expect("no panic");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
}

async fn said_owned(address: SocketAddr, bytes: Vec<u8>) -> String {
    said(address, &bytes).await
}

#[tokio::test]
async fn over_tls_the_certificate_is_the_servers_and_plain_text_is_no_request() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let (certificate, key) = (data.join("localhost.pem"), data.join("localhost.key"));
    let config =
        super::super::tls(&certificate, &key, &["http/1.1"]).expect("they belong together");
    let limits = Limits { handshake_time: Duration::from_millis(500), ..Limits::default() };
    let (address, ..) = started(Doors { tls: Some(config), limits }).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate).expect("PEM")).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));
    let socket = TcpStream::connect(address).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = connector.connect(name, socket).await.expect("the certificate is trusted");
    stream.write_all(QUICK).await.expect("written");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.ends_with("quick"), "{answer}");
    assert!(!said(address, QUICK).await.contains("quick"), "plain text is not answered");
    assert!(said(address, b"").await.is_empty(), "nor waited for");
}

#[tokio::test]
async fn a_body_that_stands_still_is_not_waited_for() {
    let limits = Limits { body_pause: Duration::from_millis(200), ..Limits::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let guarded = super::super::Guard::new(address.ip(), None, limits).around(routes());
    let doors = Doors { limits, tls: None };
    tokio::spawn(serve(listener, guarded, doors, CancellationToken::new()));
    let head =
        "POST /length HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n";
    assert!(said(address, format!("{head}0123456789").as_bytes()).await.ends_with("10"));
    let answer = said(address, format!("{head}01234").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}
