//! One connection, and one exchange on it with the times of its parts.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Address, LoadError};

/// Header with the length of the JSON part of a body.
pub(crate) const HEADER_LENGTH: &str = "Inference-Header-Content-Length";
/// Bytes handed to the socket at a time.
const PIECE: usize = 256 << 10;

/// A request that is sent again and again.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Length of the JSON part, if raw tensors follow.
    pub(crate) header_length: Option<usize>,
    pub(crate) body: Bytes,
}

impl Message {
    /// Asks for a page.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        let body = Bytes::new();
        Self { method: Method::GET, path: path.into(), header_length: None, body }
    }

    /// Sends JSON.
    pub(crate) fn post(path: impl Into<String>, json: &serde_json::Value) -> Self {
        let body = Bytes::from(json.to_string());
        Self { method: Method::POST, path: path.into(), header_length: None, body }
    }
}

/// What came back, and how long each part took.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) status: StatusCode,
    /// Length of the JSON part, if the answer says that raw tensors follow it.
    pub(crate) header_length: Option<usize>,
    pub(crate) body: Bytes,
    /// Until the last byte of the request was handed to the socket.
    pub(crate) send: Duration,
    /// From the head of the answer to its end.
    pub(crate) receive: Duration,
}

/// A body that notes when its last piece was taken.
struct Noted {
    left: Bytes,
    start: Instant,
    taken: Arc<AtomicU64>,
}

impl Body for Noted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let most = self.left.len().min(PIECE);
        let piece = self.left.split_to(most);
        if self.left.is_empty() {
            self.taken.store(self.start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    address: Address,
    sender: SendRequest<Noted>,
}

impl std::fmt::Debug for Noted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Noted").field("left", &self.left.len()).finish_non_exhaustive()
    }
}

impl Connection {
    /// Opens a connection; the error says what the system says.
    pub(crate) async fn open(address: &Address) -> Result<Self, String> {
        let stream = TcpStream::connect(&address.authority).await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|e| e.to_string())?;
        // It ends when the sender is dropped; an error is told to whoever waits for an answer.
        tokio::spawn(connection);
        Ok(Self { address: address.clone(), sender })
    }

    /// Sends a message and reads the whole answer; the error is in the system's words.
    ///
    /// After an error the connection is of no more use.
    pub(crate) async fn exchange(&mut self, message: &Message) -> Result<Exchange, String> {
        let start = Instant::now();
        let taken = Arc::new(AtomicU64::new(0));
        let body = Noted { left: message.body.clone(), start, taken: taken.clone() };
        let request = self.request(message, body)?;
        self.sender.ready().await.map_err(|e| told(&e))?;
        let answer = self.sender.send_request(request).await.map_err(|e| told(&e))?;
        let head = Instant::now();
        let (status, header_length) = (answer.status(), header_length(&answer));
        let body = answer.into_body().collect().await.map_err(|e| told(&e))?.to_bytes();
        Ok(Exchange {
            status,
            header_length,
            body,
            send: Duration::from_nanos(taken.load(Ordering::Relaxed)),
            receive: head.elapsed(),
        })
    }

    fn request(&self, message: &Message, body: Noted) -> Result<Request<Noted>, String> {
        let mut request = Request::builder()
            .method(message.method.clone())
            .uri(&message.path)
            .header(HOST, &self.address.authority)
            .header(CONTENT_LENGTH, message.body.len());
        request = match message.header_length {
            Some(length) => request
                .header(HEADER_LENGTH, length)
                .header(CONTENT_TYPE, "application/octet-stream"),
            None => request.header(CONTENT_TYPE, "application/json"),
        };
        if let Some(token) = &self.address.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(body).map_err(|e| e.to_string())
    }
}

/// The innermost reason of an error: what the socket said.
fn told(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn header_length<B>(answer: &Response<B>) -> Option<usize> {
    answer.headers().get(HEADER_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Sends one message on a connection of its own; any answer but 200 is an error.
pub(crate) async fn ask(address: &Address, message: &Message) -> Result<Bytes, LoadError> {
    /// Longest that a page without inference may take.
    const PATIENCE: Duration = Duration::from_secs(20);
    let url = format!("{address}{}", message.path);
    let unreachable = |problem| LoadError::Unreachable { url: url.clone(), problem };
    let asked = async {
        let mut connection = Connection::open(address).await?;
        connection.exchange(message).await
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}")));
    let answer = answer.map_err(unreachable)?;
    if answer.status == StatusCode::OK {
        return Ok(answer.body);
    }
    let problem = format!("{}: {}", answer.status, reason(&answer.body));
    Err(LoadError::Answer { url, problem })
}

/// As [`ask`], for an answer in JSON.
pub(crate) async fn ask_json(
    address: &Address,
    message: &Message,
) -> Result<serde_json::Value, LoadError> {
    let body = ask(address, message).await?;
    serde_json::from_slice(&body).map_err(|e| LoadError::Answer {
        url: format!("{address}{}", message.path),
        problem: format!("what is not JSON: {e}"),
    })
}

/// What an answer says went wrong: the text of its `error`, or its beginning.
pub(crate) fn reason(body: &[u8]) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let text = json.as_ref().and_then(|json| json.get("error")?.as_str().map(String::from));
    let text = text.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    text.chars().take(200).collect()
}
