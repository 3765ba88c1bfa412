//! One request at a time at any server of the protocol, by a client that does next to nothing: how long the way to it and back takes.
//!
//! ```text
//! cargo run --release -p lithoburn-server --example transport -- http 127.0.0.1:8000 tile FP32 1024 2
//! cargo run --release -p lithoburn-server --example transport -- grpc 127.0.0.1:8001 tile FP32 1024 2
//! cargo run --release -p lithoburn-server --example transport -- shm 127.0.0.1:8000 tile UINT8 1024 2
//! ```
//!
//! The way, the address, the model (`target` in, `mask` out, `[n, 1, height, width]`), the datatype, the side of its images in px, and seconds. Over HTTP the
//! client is a blocking socket, over gRPC one thread. Prints a line of JSON: requests, and their times in ms.

use std::error::Error;
use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lithoburn_server::grpc::wire::inference::ModelInferRequest;
use lithoburn_server::grpc::wire::inference::model_infer_request::InferInputTensor;
use prost::Message;
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "transport http|grpc|shm ADDRESS MODEL FP32|UINT8 SIDE SECONDS";
/// Requests before anything counts.
const WARM: usize = 20;
/// HTTP/2's windows and frames, in bytes: larger than any answer, and than most of them.
const WINDOW: u32 = 64 << 20;
const FRAME: u32 = 1 << 20;

/// What is asked.
struct Ask {
    model: String,
    datatype: String,
    side: usize,
    pixels: Bytes,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [way, address, model, datatype, side, seconds] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    let (side, seconds) = (side.parse()?, Duration::from_secs_f64(seconds.parse()?));
    let width = match datatype.as_str() {
        "FP32" => 4,
        "UINT8" => 1,
        _ => return Err(USAGE.into()),
    };
    let pixels = vec![0; side * side * width].into();
    let ask = Ask { model: model.clone(), datatype: datatype.clone(), side, pixels };
    let times = match way.as_str() {
        "http" => over_http(address, &ask, seconds)?,
        "shm" => through_memory(address, &ask, seconds)?,
        "grpc" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(over_grpc(address, &ask, seconds))?
        }
        _ => return Err(USAGE.into()),
    };
    println!("{}", told(times));
    Ok(())
}

/// Requests and quantiles of their times.
fn told(mut times: Vec<f64>) -> serde_json::Value {
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[(part * (times.len() - 1) as f64) as usize];
    json!({ "requests": times.len(), "p50_ms": at(0.5), "p99_ms": at(0.99) })
}

/// Times of one call after the other, in ms.
fn timed(seconds: Duration, mut call: impl FnMut() -> Outcome<()>) -> Outcome<Vec<f64>> {
    (0..WARM).try_for_each(|_| call())?;
    let (mut times, begin) = (Vec::new(), Instant::now());
    while begin.elapsed() < seconds || times.is_empty() {
        let start = Instant::now();
        call()?;
        times.push(1e3 * start.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// A connection of HTTP/1.1.
struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    fn open(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: vec![0; 8 << 20] })
    }

    /// Sends a message and reads the whole answer; returns the answer's body.
    fn exchange(&mut self, head: &[u8], body: &[u8]) -> Outcome<&[u8]> {
        let mut parts = [IoSlice::new(head), IoSlice::new(body)];
        let mut left = &mut parts[..];
        while !left.is_empty() {
            let sent = self.stream.write_vectored(left)?;
            IoSlice::advance_slices(&mut left, sent);
        }
        let (mut filled, mut range) = (0, None);
        while range.as_ref().is_none_or(|range: &std::ops::Range<usize>| filled < range.end) {
            let n = self.stream.read(&mut self.answer[filled..])?;
            if n == 0 {
                return Err("the server hung up".into());
            }
            filled += n;
            if range.is_none() {
                range = body_of(&self.answer[..filled])?;
            }
        }
        Ok(&self.answer[range.unwrap_or_default()])
    }
}

/// Where an answer's body is, once its head has come.
fn body_of(answer: &[u8]) -> Outcome<Option<std::ops::Range<usize>>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        return Err(head.lines().next().unwrap_or_default().into());
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.ok_or("an answer without its length")?.trim().parse()?;
    Ok(Some(end + 4..end + 4 + length))
}

fn over_http(address: &str, ask: &Ask, seconds: Duration) -> Outcome<Vec<f64>> {
    let size = json!({ "binary_data_size": ask.pixels.len() });
    let json = ask.json(size, json!({ "binary_data": true }));
    let head = ask.head(json.len() + ask.pixels.len(), json.len()) + &json;
    let mut connection = Connection::open(address)?;
    timed(seconds, || {
        let answer = connection.exchange(head.as_bytes(), &ask.pixels)?;
        match answer.len() > ask.pixels.len() {
            true => Ok(()),
            false => Err("an answer without pixels".into()),
        }
    })
}

fn through_memory(address: &str, ask: &Ask, seconds: Duration) -> Outcome<Vec<f64>> {
    let (key, len) = (format!("transport-{}", std::process::id()), ask.pixels.len());
    let path = std::path::Path::new("/dev/shm").join(&key);
    std::fs::write(&path, vec![0; 2 * len])?;
    let mut connection = Connection::open(address)?;
    let register =
        json!({ "key": format!("/{key}"), "offset": 0, "byte_size": 2 * len }).to_string();
    let head = |path: &str, len: usize| {
        format!("POST /v2/{path} HTTP/1.1\r\nHost: server\r\nContent-Length: {len}\r\n\r\n")
    };
    let place = format!("systemsharedmemory/region/{key}");
    connection.exchange(
        head(&format!("{place}/register"), register.len()).as_bytes(),
        register.as_bytes(),
    )?;
    let span = |offset: usize| json!({ "shared_memory_region": key, "shared_memory_offset": offset, "shared_memory_byte_size": len });
    let json = ask.json(span(0), span(len));
    let request = head(&format!("models/{}/infer", ask.model), json.len()) + &json;
    let times = timed(seconds, || connection.exchange(request.as_bytes(), b"").map(drop));
    let forgotten =
        connection.exchange(head(&format!("{place}/unregister"), 0).as_bytes(), b"").map(drop);
    std::fs::remove_file(path)?;
    forgotten.and(times)
}

impl Ask {
    fn json(&self, input: serde_json::Value, output: serde_json::Value) -> String {
        json!({
            "inputs": [{
                "name": "target", "datatype": self.datatype, "shape": [1, 1, self.side, self.side], "parameters": input,
            }],
            "outputs": [{ "name": "mask", "parameters": output }],
        })
        .to_string()
    }

    fn head(&self, length: usize, json: usize) -> String {
        format!(
            "POST /v2/models/{}/infer HTTP/1.1\r\nHost: server\r\nContent-Length: {length}\r\nInference-Header-Content-Length: {json}\r\n\r\n",
            self.model
        )
    }

    /// A message of gRPC.
    fn message(&self) -> Bytes {
        let side = self.side as i64;
        let input = InferInputTensor {
            name: "target".into(),
            datatype: self.datatype.clone(),
            shape: vec![1, 1, side, side],
            ..InferInputTensor::default()
        };
        let message = ModelInferRequest {
            model_name: self.model.clone(),
            inputs: vec![input],
            raw_input_contents: vec![self.pixels.clone()],
            ..ModelInferRequest::default()
        };
        let mut framed = BytesMut::with_capacity(5 + message.encoded_len());
        framed.put_u8(0);
        framed.put_u32(message.encoded_len() as u32);
        framed.put(&message.encode_to_vec()[..]);
        framed.freeze()
    }
}

async fn over_grpc(address: &str, ask: &Ask, seconds: Duration) -> Outcome<Vec<f64>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut connection = http2::Builder::new(TokioExecutor::new());
    connection
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME);
    let (mut sender, connection) = connection.handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let message = ask.message();
    let uri = format!("http://{address}/inference.GRPCInferenceService/ModelInfer");
    let (mut times, mut begin) = (Vec::new(), Instant::now());
    for turn in 0.. {
        if turn == WARM {
            (times, begin) = (Vec::new(), Instant::now());
        }
        if turn > WARM && begin.elapsed() > seconds {
            break;
        }
        let request = hyper::Request::post(&uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let start = Instant::now();
        let answer = sender.send_request(request.body(Full::new(message.clone()))?).await?;
        let refused = answer.headers().get("grpc-message").cloned();
        let mut body = answer.into_body();
        let mut len = 0;
        while let Some(frame) = body.frame().await {
            len += frame?.into_data().map_or(0, |data| data.len());
        }
        times.push(1e3 * start.elapsed().as_secs_f64());
        if len <= ask.pixels.len() {
            return Err(format!("an answer without pixels: {refused:?}").into());
        }
    }
    Ok(times)
}
