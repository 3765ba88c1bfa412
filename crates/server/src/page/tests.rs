use axum::body::{Body, to_bytes};
use axum::http::Request;
use futures_util::StreamExt;
use tower::ServiceExt;

use super::*;
use crate::jobs::Terms;
use crate::security::{Guard, Limits};

fn server(data: &std::path::Path) -> Router {
    let terms = Terms::new(data.into(), "/bin/true".into(), Vec::new());
    let jobs = Jobs::open(terms, CancellationToken::new()).expect("a store");
    let device =
        DeviceStatus { name: "cpu".into(), card: "a processor".into(), ..DeviceStatus::default() };
    let status = Status {
        methods: vec!["ilt".into()],
        devices: vec![device],
        ready: true,
        ..Status::default()
    };
    let routes = routes(Arc::new(move || status.clone()), jobs, CancellationToken::new());
    Guard::new("127.0.0.1".parse().expect("an address"), None, Limits::default()).around(routes)
}

async fn get(server: &Router, path: &str) -> (String, String) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = server.clone().oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), 200, "{path}");
    let headers = format!("{:?}", response.headers());
    let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    (headers, String::from_utf8(bytes.to_vec()).expect("text"))
}

/// What a page names and a script asks for must be there.
#[tokio::test]
async fn the_page_is_whole_and_allows_nothing_from_elsewhere() {
    let data = tempfile::tempdir().expect("a folder");
    let server = server(data.path());
    let (headers, page) = get(&server, "/").await;
    assert!(headers.contains("default-src 'none'") && headers.contains("nosniff"), "{headers}");
    assert!(
        page.contains("<option>ilt</option>") && page.contains("data-device=\"cpu\""),
        "{page}"
    );
    assert!(
        !page.contains("{{") && !page.contains("<script>") && !page.contains(" style="),
        "{page}"
    );
    let (_, script) = get(&server, "/page.js").await;
    let ids = script.split("$(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut found = 0;
    for id in ids {
        assert!(page.contains(&format!("id=\"{id}\"")), "the script asks for {id:?}");
        found += 1;
    }
    assert!(found > 20);
    let (kind, _) = get(&server, "/page.css").await;
    assert!(kind.contains("text/css"), "{kind}");
}

#[tokio::test]
async fn the_load_is_told_again_and_again() {
    let data = tempfile::tempdir().expect("a folder");
    let server = server(data.path());
    let (_, status) = get(&server, "/v1/status").await;
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!((&status["ready"], &status["jobs"]["queued"]), (&true.into(), &0.into()));
    let request = Request::get("/v1/status/events").body(Body::empty()).expect("a request");
    let response = server.oneshot(request).await.expect("infallible");
    let pieces: Vec<_> = response.into_body().into_data_stream().take(2).collect().await;
    assert!(pieces.iter().all(|piece| {
        piece.as_ref().is_ok_and(|bytes| bytes.starts_with(b"event: status\ndata: {"))
    }));
}
