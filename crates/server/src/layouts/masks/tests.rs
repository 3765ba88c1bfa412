use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use tower::ServiceExt;

use super::*;
use crate::security::{Guard, Limits};

/// Gives a layout's bytes back as its mask, after as long as it is told to.
struct Echo {
    wait: Duration,
    running: AtomicUsize,
    stopped: AtomicUsize,
}

impl Corrector for Echo {
    fn models(&self) -> Vec<String> {
        vec!["ilt".into(), "echo".into()]
    }

    fn correct(
        &self,
        order: &MaskOrder,
        stop: &(dyn Fn() -> bool + Sync),
        _: &mut dyn FnMut(Progress),
    ) -> Result<(), Wrong> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let bytes = std::fs::read(&order.layout).map_err(|e| Wrong::Failed(e.to_string()))?;
        if bytes == b"bad" {
            return Err(Wrong::Request("layout.gds: no GDSII".into()));
        }
        let start = std::time::Instant::now();
        while start.elapsed() < self.wait {
            if stop() {
                self.stopped.fetch_add(1, Ordering::SeqCst);
                return Err(Wrong::Stopped);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        std::fs::create_dir_all(&order.folder).expect("a folder");
        std::fs::write(order.mask(), bytes).expect("written");
        Ok(())
    }
}

fn echo(wait: Duration) -> Arc<Echo> {
    Arc::new(Echo { wait, running: AtomicUsize::new(0), stopped: AtomicUsize::new(0) })
}

fn server(echo: Arc<Echo>, folder: &Path) -> Router {
    let terms = Terms { bytes: 1000, at_once: 1, waiting: 0 };
    let local = "127.0.0.1".parse().expect("an address");
    Guard::new(local, None, Limits::default()).around(routes(echo, folder.into(), terms))
}

fn form(query: &str, bytes: &str) -> Request<Body> {
    let head = "Content-Disposition: form-data; name=\"layout\"; filename=\"a.gds\"";
    let body = format!("--x\r\n{head}\r\n\r\n{bytes}\r\n--x--\r\n");
    let request = Request::post(format!("/v1/masks?{query}"));
    let request = request.header("content-type", "multipart/form-data; boundary=x");
    request.body(Body::from(body)).expect("a request")
}

async fn ask(server: &Router, query: &str, bytes: &str) -> (u16, String) {
    let response = server.clone().oneshot(form(query, bytes)).await.expect("infallible");
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 10_000).await.expect("a body");
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("a folder").next().is_none()
}

#[tokio::test]
async fn a_layout_comes_back_as_its_mask_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(echo(Duration::ZERO), folder.path());
    for format in ["", "format=oas", "format=png", "format=json", "model=echo&tile=2048"] {
        assert_eq!(ask(&server, format, "shapes").await, (200, "shapes".into()), "{format}");
    }
    let (status, text) = ask(&server, "", "bad").await;
    assert_eq!((status, text.contains("no GDSII")), (400, true), "{text}");
    let (status, text) = ask(&server, "model=neural", "shapes").await;
    assert_eq!((status, text.contains("ilt, echo")), (404, true), "{text}");
    assert_eq!(ask(&server, "", &"x".repeat(1001)).await.0, 413);
    assert!(is_empty(folder.path()));
}

#[tokio::test]
async fn one_more_than_is_taken_is_told_to_come_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let echo = echo(Duration::from_millis(500));
    let server = server(echo.clone(), folder.path());
    let first = tokio::spawn({
        let server = server.clone();
        async move { ask(&server, "", "first").await }
    });
    while echo.running.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (status, text) = ask(&server, "", "second").await;
    assert_eq!((status, text.contains("/v1/jobs")), (503, true), "{text}");
    assert_eq!(first.await.expect("no panic"), (200, "first".into()));
    assert_eq!(ask(&server, "", "third").await.0, 200);
}

#[tokio::test]
async fn a_client_who_goes_ends_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let echo = echo(Duration::from_secs(60));
    let server = server(echo.clone(), folder.path());
    let asked = tokio::spawn(async move { ask(&server, "", "shapes").await });
    while echo.running.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    asked.abort();
    let start = std::time::Instant::now();
    while echo.stopped.load(Ordering::SeqCst) == 0 || !is_empty(folder.path()) {
        assert!(start.elapsed() < Duration::from_secs(20), "the run goes on");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
