//! The 67 HTTP requests that were recorded of Triton 2.51: the same status and the same keys, but for what [`DIFFERENT`] lists.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder, ZlibEncoder};
use serde_json::{Value, json};

use super::{Got, ask, models, started};

/// Probes that are answered otherwise, how, and why.
const DIFFERENT: [(&str, u16, &str); 4] = [
    ("bad json", 400, "it is the client's mistake, not the server's: 500 would wake somebody up"),
    ("no inputs", 400, "as above"),
    ("shape neg", 400, "as above"),
    ("count != shape", 400, "as above"),
];

/// A recorded probe.
struct Probe {
    name: String,
    method: String,
    path: String,
    status: u16,
    body: Vec<u8>,
}

impl Probe {
    /// Reads a line `name  METHOD path -> status {headers} | b'body'`.
    fn read(line: &str) -> Option<Self> {
        let (head, body) = line.split_once(" | b'")?;
        let (asked, got) = head.split_once(" -> ")?;
        let (name, asked) = asked.split_at_checked(35)?;
        let (method, path) = asked.trim().split_once(' ')?;
        Some(Self {
            name: name.trim().into(),
            method: method.into(),
            path: path.trim().into(),
            status: got.split(' ').next()?.parse().ok()?,
            body: unescaped(body.strip_suffix('\'').unwrap_or(body)),
        })
    }
}

/// Bytes of a Python literal.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, if byte == b'\\' { rest.next() } else { None }) {
            (b'\\', Some(b'x')) => {
                let digits =
                    [rest.next(), rest.next()].map(|digit| char::from(digit.unwrap_or(b'0')));
                u8::from_str_radix(&String::from_iter(digits), 16).expect("two digits")
            }
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(b't')) => b'\t',
            (b'\\', Some(b'r')) => b'\r',
            (b'\\', Some(other)) => other,
            (plain, _) => plain,
        });
    }
    bytes
}

/// An input of 4² pixels, 0 to 15, with changes.
fn input(change: impl FnOnce(&mut Value)) -> Value {
    let data: Vec<u8> = (0..16).collect();
    let mut input =
        json!({ "name": "target", "datatype": "FP32", "shape": [1, 1, 4, 4], "data": data });
    change(&mut input);
    input
}

fn inputs(inputs: &[Value]) -> Value {
    json!({ "inputs": inputs })
}

fn floats() -> Vec<u8> {
    (0..16_u8).flat_map(|value| f32::from(value).to_le_bytes()).collect()
}

/// Without `data`, but with this many bytes of binary.
fn binary(size: usize) -> Value {
    input(|input| {
        input.as_object_mut().expect("an object").remove("data");
        input["parameters"] = json!({ "binary_data_size": size });
    })
}

/// A request's headers and body.
type Sent = (Vec<(&'static str, String)>, Vec<u8>);

fn plain(json: &Value) -> Sent {
    (Vec::new(), json.to_string().into_bytes())
}

fn with_bytes(json: &Value, bytes: &[u8]) -> Sent {
    let head = json.to_string();
    let length = vec![("inference-header-content-length", head.len().to_string())];
    (length, [head.as_bytes(), bytes].concat())
}

fn headed(name: &'static str, value: &str, body: Vec<u8>) -> Sent {
    (vec![(name, value.into())], body)
}

/// What a probe sends, as its name says.
fn sent(name: &str) -> Option<Sent> {
    with_json(name).or_else(|| with_binary(name)).or_else(|| with_input(name))
}

/// What probes send whose inputs are whole.
fn with_json(name: &str) -> Option<Sent> {
    let mut whole = inputs(&[input(|_| ())]);
    let mut with = |key: &str, value: Value| {
        whole[key] = value;
        plain(&whole)
    };
    let text = || inputs(&[input(|_| ())]).to_string().into_bytes();
    Some(match name {
        "get" | "head" | "post to GET" | "get infer" | "index" | "load (mode none)"
        | "empty body" => (Vec::new(), Vec::new()),
        "index ready" => plain(&json!({ "ready": true })),
        "json ok" | "explicit version" | "unknown model" | "bad version" | "nan version"
        | "json ints for fp32" => (Vec::new(), text()),
        "json ok id" => with("id", "abc".into()),
        "unknown output" => with("outputs", json!([{ "name": "zz" }])),
        "timeout 1us" => with("parameters", json!({ "timeout": 1 })),
        "priority" => with("parameters", json!({ "priority": 1 })),
        "bad json" => (Vec::new(), b"{\"inputs\": [}".to_vec()),
        "no inputs" => plain(&json!({})),
        "inputs []" => plain(&inputs(&[])),
        "gzip" => {
            let body = packed(GzEncoder::new(&text()[..], Compression::fast()));
            headed("content-encoding", "gzip", body)
        }
        "deflate" => {
            let body = packed(ZlibEncoder::new(&text()[..], Compression::fast()));
            headed("content-encoding", "deflate", body)
        }
        "accept gzip" => headed("accept-encoding", "gzip", text()),
        _ => return None,
    })
}

/// What probes of the binary extension send.
fn with_binary(name: &str) -> Option<Sent> {
    const LENGTH: &str = "inference-header-content-length";
    Some(match name {
        "bin ok" => {
            let mut json = inputs(&[binary(64)]);
            json["outputs"] = json!([{ "name": "mask", "parameters": { "binary_data": true } }]);
            with_bytes(&json, &floats())
        }
        "bin in, json out" => with_bytes(&inputs(&[binary(64)]), &floats()),
        "bin size != shape" => with_bytes(&inputs(&[binary(60)]), &floats()[..60]),
        "bin truncated" => with_bytes(&inputs(&[binary(64)]), &floats()[..32]),
        "bin extra bytes" => with_bytes(&inputs(&[binary(64)]), &[floats(), vec![0; 4]].concat()),
        "raw binary hl=0 (nobatch)" => headed(LENGTH, "0", vec![0; 64 * 64 * 4]),
        "hl bad" => headed(LENGTH, "abc", b"{}".to_vec()),
        "hl > len" => headed(LENGTH, "999", b"{}".to_vec()),
        _ => return None,
    })
}

/// What probes send whose input is changed.
fn with_input(name: &str) -> Option<Sent> {
    let changed = |key: &str, value: Value| inputs(&[input(|input| input[key] = value)]);
    let batch = |items: usize| {
        inputs(&[input(|input| {
            input["shape"] = json!([items, 1, 4, 4]);
            input["data"] = vec![0; items * 16].into();
        })])
    };
    Some(plain(&match name {
        "json nested data" => changed(
            "data",
            json!([[[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]]]),
        ),
        "unknown input" => changed("name", "zz".into()),
        "extra input" => inputs(&[input(|_| ()), input(|input| input["name"] = "zz".into())]),
        "dup input" => inputs(&[input(|_| ()), input(|_| ())]),
        "dtype mismatch" => changed("datatype", "INT32".into()),
        "dtype unknown" => changed("datatype", "FP31".into()),
        "FP16 json" => changed("datatype", "FP16".into()),
        "shape rank" => changed("shape", json!([4, 4])),
        "shape ch=2" => changed("shape", json!([1, 2, 4, 2])),
        "shape neg" => changed("shape", json!([1, 1, -4, -4])),
        "count != shape" => changed("shape", json!([1, 1, 4, 5])),
        "batch 33 > 32" => batch(33),
        "batch 0" => batch(0),
        "data + bin size" => changed("parameters", json!({ "binary_data_size": 64 })),
        _ => return None,
    }))
}

fn packed(mut packer: impl std::io::Read) -> Vec<u8> {
    let mut all = Vec::new();
    packer.read_to_end(&mut all).expect("packs");
    all
}

/// The JSON at a body's start: before bytes, if there are any.
fn json_of(body: &[u8]) -> Option<Value> {
    serde_json::Deserializer::from_slice(body).into_iter().next()?.ok()
}

#[tokio::test]
async fn recorded_http_probes_are_answered_as_triton_does_but_for_the_list() {
    let Some(path) = lithoburn_testing::reference("golden/triton/golden_triton251_http.txt") else {
        return;
    };
    let recorded = std::fs::read_to_string(path).expect("reads");
    let probes: Vec<Probe> = recorded.lines().filter_map(Probe::read).collect();
    assert_eq!(probes.len(), 67, "every line is a probe");
    let server = started(models(32)).await;
    let router = server.http();
    let mut wrong = Vec::new();
    for probe in &probes {
        let (headers, body) =
            sent(&probe.name).unwrap_or_else(|| panic!("what does {:?} send?", probe.name));
        let mut request = Request::builder().method(probe.method.as_str()).uri(&probe.path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let got = ask(&router, request.body(Body::from(body)).expect("a request")).await;
        if let Some(problem) = differs(probe, &got) {
            wrong.push(format!("{} {} {}: {problem}", probe.name, probe.method, probe.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How an answer differs from the recorded one, where it should not.
fn differs(probe: &Probe, got: &Got) -> Option<String> {
    let listed = DIFFERENT.iter().find(|(name, ..)| *name == probe.name);
    let expected = listed.map_or(probe.status, |(_, status, _)| *status);
    let body = match got.headers.get("content-encoding") {
        Some(_) => packed(GzDecoder::new(&got.body[..])).into(),
        None => got.body.clone(),
    };
    let text = String::from_utf8_lossy(&body).chars().take(200).collect::<String>();
    if got.status.as_u16() != expected {
        return Some(format!("expected {expected}, got {}: {text}", got.status));
    }
    let ours = json_of(&body).unwrap_or_default();
    if expected >= 400 && probe.method != "HEAD" && !ours["error"].is_string() {
        return Some(format!("no error in {text}"));
    }
    let theirs = json_of(&probe.body)?;
    if got.status == StatusCode::OK
        && theirs.get("outputs").is_some()
        && probe.path.ends_with("/infer")
        && ours != theirs
    {
        return Some(format!("expected {theirs}, got {text}"));
    }
    let same = keys(&theirs).iter().all(|key| ours.get(key).is_some() || *key == "error");
    let list = theirs.is_array() != ours.is_array();
    (!same || list).then(|| format!("expected the keys {:?}, got {text}", keys(&theirs)))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
}
