use axum::Extension;
use axum::body::{Bytes, to_bytes};
use axum::routing::{get, post};
use tower::ServiceExt;

use super::*;

const TOKEN: &str = "0123456789abcdef0123";

fn tokens() -> Option<Tokens> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("fab:{TOKEN}\nlab:another-token-of-the-lab\n"))
        .expect("written");
    Some(Tokens::read(file.path()).expect("tokens"))
}

fn server(address: &str, tokens: Option<Tokens>) -> Router {
    let limits = Limits { body_bytes: 100, layout_bytes: 1000, ..Limits::default() };
    let length = |body: Bytes| async move { body.len().to_string() };
    let routes = Router::new()
        .route(
            "/who",
            get(|Extension(client): Extension<Client>| async move { client.name().to_string() }),
        )
        .route("/v2/health/live", get(|| async { "live" }))
        .route("/v2/infer", post(length))
        .route("/v1/masks", post(length));
    Guard::new(address.parse().expect("an address"), tokens, limits)
        .with_hosts(vec!["masks.fab".into()])
        .around(routes)
}

/// Status and text of an answer to a request with these headers.
async fn ask(
    server: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).expect("a request");
    let response = server.clone().oneshot(request).await.expect("infallible");
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 10_000).await.expect("a body");
    (status, String::from_utf8(bytes.to_vec()).expect("text"))
}

#[tokio::test]
async fn a_token_is_asked_for_everywhere_but_at_the_health_checks() {
    let server = server("0.0.0.0", tokens());
    let who = |value: String| {
        let server = server.clone();
        async move { ask(&server, "GET", "/who", &[("authorization", &value)], Body::empty()).await }
    };
    assert_eq!(who(format!("Bearer {TOKEN}")).await, (200, "fab".into()));
    assert_eq!(who(format!("bearer  {TOKEN}")).await, (200, "fab".into()));
    // user:another-token-of-the-lab, as a browser sends it
    let basic = "Basic dXNlcjphbm90aGVyLXRva2VuLW9mLXRoZS1sYWI=".to_string();
    assert_eq!(who(basic).await, (200, "lab".into()));
    for wrong in
        ["", "Bearer", "Bearer 0123456789abcdef0124", "Basic !!!", "Basic", "Digest x", TOKEN]
    {
        let (status, text) = who(wrong.to_string()).await;
        assert_eq!(status, 401, "{wrong}");
        assert!(text.contains("Authorization: Bearer"), "{text}");
    }
    assert_eq!(ask(&server, "GET", "/who", &[], Body::empty()).await.0, 401);
    assert_eq!(ask(&server, "GET", "/no/such/path", &[], Body::empty()).await.0, 401);
    assert_eq!(
        ask(&server, "GET", "/v2/health/live", &[], Body::empty()).await,
        (200, "live".into())
    );
}

#[tokio::test]
async fn a_grpc_client_is_told_in_its_own_way() {
    let server = server("0.0.0.0", tokens());
    let request = Request::post("/inference.GRPCInferenceService/ModelInfer");
    let request =
        request.header("content-type", "application/grpc").body(Body::empty()).expect("a request");
    let response = server.oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "16");
}

#[tokio::test]
async fn a_page_of_somebody_else_cannot_send_work() {
    let server = server("127.0.0.1", None);
    let post = |headers: Vec<(&'static str, &'static str)>| {
        let server = server.clone();
        async move { ask(&server, "POST", "/v2/infer", &headers, Body::from("12")).await.0 }
    };
    assert_eq!(post(vec![]).await, 200, "curl has no origin");
    let own = ("host", "127.0.0.1:8000");
    assert_eq!(
        post(vec![own, ("origin", "http://127.0.0.1:8000"), ("sec-fetch-site", "same-origin")])
            .await,
        200
    );
    assert_eq!(post(vec![own, ("origin", "http://evil.example")]).await, 403);
    assert_eq!(post(vec![own, ("origin", "null")]).await, 403);
    assert_eq!(post(vec![own, ("sec-fetch-site", "cross-site")]).await, 403);
    // The same machine, another program's page.
    assert_eq!(
        post(vec![own, ("origin", "http://127.0.0.1:3000"), ("sec-fetch-site", "same-site")]).await,
        403
    );
    // A name that was pointed here: to the browser its page is this server's.
    let moved = vec![
        ("host", "evil.example:8000"),
        ("origin", "http://evil.example:8000"),
        ("sec-fetch-site", "same-origin"),
    ];
    assert_eq!(post(moved).await, 403);
    assert_eq!(post(vec![("host", "masks.fab"), ("origin", "http://masks.fab")]).await, 200);
    assert_eq!(post(vec![("host", "[::1]:8000"), ("origin", "http://[::1]:8000")]).await, 200);
    let read = ask(
        &server,
        "GET",
        "/who",
        &[("host", "evil.example"), ("sec-fetch-site", "same-origin")],
        Body::empty(),
    );
    assert_eq!(read.await.0, 403, "nor read anything");
}

#[tokio::test]
async fn a_body_above_its_limit_is_refused_whether_it_says_its_length_or_not() {
    let server = server("127.0.0.1", None);
    let chunked = |bytes: usize| {
        Body::from_stream(futures_util::stream::iter(
            (0..bytes).map(|_| Ok::<_, std::io::Error>("x")),
        ))
    };
    for (path, most) in [("/v2/infer", 100), ("/v1/masks", 1000)] {
        let said = most.to_string();
        assert_eq!(
            ask(&server, "POST", path, &[], Body::from("x".repeat(most))).await,
            (200, said.clone())
        );
        assert_eq!(ask(&server, "POST", path, &[], chunked(most)).await, (200, said));
        let more = (most + 1).to_string();
        let lengths = [("content-length", more.as_str())];
        let (status, text) =
            ask(&server, "POST", path, &lengths, Body::from("x".repeat(most + 1))).await;
        assert_eq!(status, 413, "{text}");
        assert!(text.contains(&most.to_string()), "{text}");
        assert_eq!(ask(&server, "POST", path, &[], chunked(most + 1)).await.0, 413);
    }
}

#[test]
fn who_sees_whose_jobs_is_decided_by_tokens() {
    let client = |name: &str, is_known, is_alone| Client { name: name.into(), is_known, is_alone };
    let (fab, local, anonymous) = (
        client("fab", true, false),
        client("local", false, true),
        client("anonymous", false, false),
    );
    assert!(fab.may_see("fab") && fab.lists("fab"));
    assert!(!fab.may_see("lab") && !fab.lists("lab"));
    assert!(local.may_see("local") && local.lists("local"));
    assert!(anonymous.may_see("anonymous") && !anonymous.lists("anonymous"));
}

#[test]
fn base64_is_read_as_the_standard_writes_it() {
    // RFC 4648, section 10.
    for (text, bytes) in [
        ("", ""),
        ("Zg==", "f"),
        ("Zm8=", "fo"),
        ("Zm9v", "foo"),
        ("Zm9vYg==", "foob"),
        ("Zm9vYmFy", "foobar"),
    ] {
        assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()));
    }
    assert_eq!(base64("Zm9*"), None);
}
