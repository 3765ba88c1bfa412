//! What is asked of every request before a route sees it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http_body_util::Limited;
use tower_http::timeout::TimeoutBody;

use super::{Limits, Tokens};

/// Who sends a request. A server without tokens knows nobody: then whoever knows a job's number may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    name: Arc<str>,
    /// Whether a token told the name.
    is_known: bool,
    /// Whether everybody who comes is this one: of a server that only its own machine reaches.
    is_alone: bool,
}

impl Client {
    /// Name that the client's jobs are kept under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a job of `owner` may be shown to a client who knows its number.
    pub fn may_see(&self, owner: &str) -> bool {
        !self.is_known || *self.name == *owner
    }

    /// Whether a job of `owner` is named to the client unasked.
    pub fn lists(&self, owner: &str) -> bool {
        (self.is_known || self.is_alone) && *self.name == *owner
    }
}

/// What a door asks of requests: a token, an origin of its own, and a body of bounded size.
#[derive(Clone, Debug)]
pub struct Guard {
    tokens: Option<Tokens>,
    /// Whether only this machine reaches the server.
    is_local: bool,
    /// Names beside IP addresses and `localhost` that browsers may know a server without tokens by.
    hosts: Vec<String>,
    limits: Limits,
}

/// Paths that are open without a token: whoever watches over a server has none.
const OPEN: [&str; 5] = [
    "/v2/health/live",
    "/v2/health/ready",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
    "/grpc.health.v1.Health/Check",
];

impl Guard {
    /// A guard of a server that listens on `address`.
    pub fn new(address: IpAddr, tokens: Option<Tokens>, limits: Limits) -> Self {
        Self { tokens, is_local: super::bind::is_loopback(address), hosts: Vec::new(), limits }
    }

    /// Lets browsers call the server by these names too.
    #[must_use]
    pub fn with_hosts(mut self, hosts: Vec<String>) -> Self {
        self.hosts = hosts;
        self
    }

    /// A router whose every request is asked first. Its routes find the [`Client`] among a request's extensions.
    pub fn around(self, routes: Router) -> Router {
        routes.layer(DefaultBodyLimit::disable()).layer(from_fn_with_state(Arc::new(self), pass))
    }

    fn client(&self, headers: &HeaderMap, path: &str) -> Result<Client, Refusal> {
        let Some(tokens) = &self.tokens else {
            let name = if self.is_local { "local" } else { "anonymous" };
            return Ok(Client { name: name.into(), is_known: false, is_alone: self.is_local });
        };
        let named = token(headers).and_then(|token| tokens.client(&token).map(Arc::from));
        match named {
            Some(name) => Ok(Client { name, is_known: true, is_alone: false }),
            None if OPEN.contains(&path) => {
                Ok(Client { name: "".into(), is_known: true, is_alone: false })
            }
            None => Err(Refusal::Token),
        }
    }

    /// Whether a browser that sends this was told to by a page of this server, if it was one.
    fn origin(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (site, origin) = (text("sec-fetch-site"), text(ORIGIN.as_str()));
        if site.is_none() && origin.is_none() {
            return Ok(());
        }
        let host =
            text(HOST.as_str()).or_else(|| uri.authority().map(|a| a.as_str())).unwrap_or("");
        // A name that somebody else can point to this address makes his page one of this server's.
        if self.tokens.is_none() && !self.is_own(host) {
            return Err(Refusal::Host(host.into()));
        }
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let foreign = matches!(site, Some("cross-site" | "same-site"))
            || origin
                .is_some_and(|origin| origin.split_once("://").is_none_or(|(_, at)| at != host));
        match foreign && !reads {
            true => Err(Refusal::Origin(origin.or(site).unwrap_or("").into())),
            false => Ok(()),
        }
    }

    fn is_own(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    fn most(&self, path: &str) -> usize {
        match path.starts_with("/v1/") {
            true => self.limits.layout_bytes,
            false => self.limits.body_bytes,
        }
    }
}

/// Why a request does not reach its route.
enum Refusal {
    Token,
    Host(String),
    Origin(String),
    Size { most: usize },
}

async fn pass(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let (path, headers) = (request.uri().path(), request.headers());
    let most = guard.most(path);
    let asked = guard
        .client(headers, path)
        .and_then(|client| guard.origin(request.method(), request.uri(), headers).map(|()| client))
        .and_then(|client| sized(headers, most).map(|()| client));
    match asked {
        Ok(client) => {
            request.extensions_mut().insert(client);
            let pause = guard.limits.body_pause;
            let bounded = |body| Body::new(TimeoutBody::new(pause, Limited::new(body, most)));
            next.run(request.map(bounded)).await
        }
        Err(refusal) => refusal.answer(is_grpc(headers)),
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn sized(headers: &HeaderMap, most: usize) -> Result<(), Refusal> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.and_then(|text| text.parse::<u64>().ok()) {
        Some(bytes) if bytes > most as u64 => Err(Refusal::Size { most }),
        _ => Ok(()),
    }
}

/// The token that a request brings: `Bearer TOKEN`, or the password of `Basic`, which browsers ask for.
fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().into());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(base64(rest.trim())?).ok()?;
    text.split_once(':').map(|(_, password)| password.into())
}

/// Bytes of base64 (RFC 4648), or none if the text is not that.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Option<Vec<u8>> = text.trim_end_matches('=').bytes().map(digit).collect();
    let quads = digits?;
    let bytes = quads.chunks(4).flat_map(|quad| {
        let word = quad.iter().fold(0_u32, |word, &d| word << 6 | u32::from(d));
        let word = word << (6 * (4 - quad.len()));
        let [_, bytes @ ..] = word.to_be_bytes();
        bytes.into_iter().take(quad.len() * 6 / 8)
    });
    Some(bytes.collect())
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Host(_) | Self::Origin(_) => StatusCode::FORBIDDEN,
            Self::Size { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Token => "this server asks for a token: send Authorization: Bearer TOKEN".into(),
            Self::Host(host) => format!(
                "a page under the name {host:?} may not use this server: call it by its IP address, or start it with --host {host}"
            ),
            Self::Origin(origin) => {
                format!("a page of {origin:?} may not use this server: only its own page may")
            }
            Self::Size { most } => {
                format!("the body is larger than {most} bytes, the most that is taken")
            }
        }
    }

    fn answer(self, grpc: bool) -> Response {
        if grpc {
            return self.grpc();
        }
        let body = Json(serde_json::json!({"error": self.text()}));
        let mut response = (self.status(), body).into_response();
        if matches!(self, Self::Token) {
            for scheme in ["Bearer", "Basic realm=\"lithoburn\", charset=\"UTF-8\""] {
                response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
            }
        }
        response
    }

    /// As gRPC has it: an answer without messages.
    fn grpc(self) -> Response {
        let code = match self {
            Self::Token => "16",
            Self::Host(_) | Self::Origin(_) => "7",
            Self::Size { .. } => "8",
        };
        // Percent-encoded where a header could not hold it.
        let plain = |c: char| matches!(c, ' '..='~') && c != '%';
        let text: String = self.text().chars().map(|c| if plain(c) { c } else { '?' }).collect();
        let headers = [
            (CONTENT_TYPE.as_str(), "application/grpc"),
            ("grpc-status", code),
            ("grpc-message", &text),
        ];
        (StatusCode::OK, headers).into_response()
    }
}

#[cfg(test)]
mod tests;
