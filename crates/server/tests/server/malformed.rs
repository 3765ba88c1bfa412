//! What is malformed: each gets an answer that says so, and nothing panics or hangs.

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use lithoburn_server::grpc::wire::inference::ModelInferRequest;
use lithoburn_server::grpc::wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lithoburn_server::schedule::Reason;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Request as Call;

use super::{ask, listening, models, started};

const BODY: &str = r#"{"id":"1","inputs":[{"name":"target","datatype":"FP32","shape":[1,1,2,2],"parameters":{"binary_data_size":16}}],"outputs":[{"name":"mask","parameters":{"binary_data":true}}]}"#;

/// Words that hurt where numbers and names are expected.
const WORDS: [&str; 16] = [
    "-1",
    "0",
    "18446744073709551616",
    "1e308",
    "9223372036854775807",
    "null",
    "\"\"",
    "[]",
    "{}",
    "[[[[",
    "\"FP16\"",
    "\"BYTES\"",
    "NaN",
    "true",
    "\u{0}",
    "4294967295",
];

/// The request above, damaged in one to four places.
fn damaged(random: &mut StdRng) -> (Vec<u8>, String) {
    let mut body = [BODY.as_bytes(), &[0; 16]].concat();
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..body.len());
        match random.random_range(0..5) {
            0 => body[at] = random.random(),
            1 => body.truncate(at),
            2 => {
                let word = WORDS.choose(random).copied().unwrap_or_default();
                let end = (at + random.random_range(0..6)).min(body.len());
                body.splice(at..end, word.bytes());
            }
            3 => {
                let end = (at + random.random_range(1..30)).min(body.len());
                body.drain(at..end);
            }
            _ => {
                let piece = body[at..(at + 20).min(body.len())].to_vec();
                body.splice(at..at, piece);
            }
        }
        if body.is_empty() {
            break;
        }
    }
    let length = match random.random_range(0..4) {
        0 => random.random_range(0..400_usize).to_string(),
        1 => WORDS.choose(random).copied().unwrap_or_default().replace('\u{0}', "x"),
        _ => BODY.len().to_string(),
    };
    (body, length)
}

/// How many of each kind. A soak takes more, by `LITHOBURN_FUZZ`.
fn rounds() -> u64 {
    std::env::var("LITHOBURN_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000)
}

#[tokio::test]
async fn damaged_bodies_are_answered_with_an_error_or_the_right_answer() {
    let server = started(models(8)).await;
    let router = server.http();
    let (mut refused, mut answered) = (0_u64, 0_u64);
    for seed in 0..rounds() {
        let (body, length) = damaged(&mut StdRng::seed_from_u64(seed));
        let request = Request::post("/v2/models/tile/infer")
            .header("inference-header-content-length", length.clone())
            .body(Body::from(body.clone()))
            .expect("a request");
        let got = ask(&router, request).await;
        let text = String::from_utf8_lossy(&got.body);
        match got.status.as_u16() {
            200 => answered += 1,
            400..500 => {
                assert!(text.contains("\"error\""), "seed {seed}: {text}");
                refused += 1;
            }
            status => {
                panic!("seed {seed}: {status} {text} for {:?}", String::from_utf8_lossy(&body))
            }
        }
    }
    let snapshot = server.snapshot();
    let counts = &snapshot.models[0].counts;
    assert_eq!(counts.success.count, answered);
    assert_eq!(counts.refused[&Reason::Invalid], refused, "every one is counted");
    assert!(refused > answered, "{refused} of {}", rounds());
}

#[tokio::test]
async fn bytes_that_are_no_http_end_their_connection_and_nothing_else() {
    let server = started(models(8)).await;
    let address = listening(server.http()).await;
    for seed in 0..rounds() / 10 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let mut bytes =
            b"POST /v2/models/tile/infer HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"
                .to_vec();
        for _ in 0..random.random_range(1..20) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        bytes.truncate(random.random_range(1..=bytes.len()));
        // The server may have hung up already.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let head = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || !head.contains(" 500 "), "seed {seed}: {head}");
    }
    let request = Request::get("/v2/health/ready").body(Body::empty()).expect("a request");
    assert_eq!(ask(&server.http(), request).await.status, 200);
}

#[tokio::test]
async fn damaged_messages_are_refused_by_their_code() {
    let server = started(models(8)).await;
    let address = listening(server.grpc()).await;
    let channel = tonic::transport::Channel::from_shared(format!("http://{address}"));
    let channel = channel.expect("an address").connect().await.expect("connects");
    let mut client = GrpcInferenceServiceClient::new(channel);
    let whole = ModelInferRequest {
        model_name: "tile".into(),
        inputs: vec![
            lithoburn_server::grpc::wire::inference::model_infer_request::InferInputTensor {
                name: "target".into(),
                datatype: "FP32".into(),
                shape: vec![1, 1, 2, 2],
                ..Default::default()
            },
        ],
        raw_input_contents: vec![Bytes::from_static(&[0; 16])],
        ..Default::default()
    };
    for seed in 0..rounds() / 2 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut message = whole.clone();
        let axis = [0, 1, 2, 4, -1, i64::MIN, i64::MAX, 1 << 40];
        match random.random_range(0..6) {
            0 => {
                message.inputs[0].shape = (0..random.random_range(0..6))
                    .map(|_| *axis.choose(&mut random).expect("some"))
                    .collect()
            }
            1 => {
                message.raw_input_contents =
                    vec![vec![0; random.random_range(0..40)].into(); random.random_range(0..3)]
            }
            2 => {
                message.inputs[0].datatype = ["", "FP64", "BYTES", "fp32", "TYPE_FP32"]
                    .choose(&mut random)
                    .map_or(String::new(), |s| (*s).into())
            }
            3 => message.inputs = vec![message.inputs[0].clone(); random.random_range(0..3)],
            4 => {
                message.model_version = ["-1", "0", "1.0", "99999999999999999999", " "]
                    .choose(&mut random)
                    .map_or(String::new(), |s| (*s).into())
            }
            _ => {
                message.model_name = ["", "nope", "../tile", "tile\u{0}"]
                    .choose(&mut random)
                    .map_or(String::new(), |s| (*s).into())
            }
        }
        if let Err(status) = client.model_infer(Call::new(message.clone())).await {
            use tonic::Code::{InvalidArgument, NotFound};
            assert!(
                matches!(status.code(), InvalidArgument | NotFound),
                "seed {seed}: {status:?} for {message:?}"
            );
            assert!(!status.message().is_empty());
        }
    }
}
