//! The answer to `POST …/infer`.

use axum::body::Body;
use axum::http::{HeaderValue, Response as Builder, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Map, Number, Value, json};

use super::body::{HEADER_LENGTH, Packing};
use crate::body::Parts;
use crate::protocol::{Delivered, Kind, Outcome, Problem, Produced};
use crate::tensor::{Data, Datatype, Tensor};

/// Writes an answer; `binary` says whether outputs that do not say are wanted as bytes.
pub(super) async fn response(
    outcome: Outcome,
    binary: bool,
    packing: Option<Packing>,
) -> Result<Response, Problem> {
    let mut tails = Vec::new();
    let outputs = outcome.outputs.into_iter().map(|output| written(output, binary, &mut tails));
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    let mut head = Map::new();
    if !outcome.id.is_empty() {
        head.insert("id".into(), outcome.id.into());
    }
    head.insert("model_name".into(), outcome.model.into());
    head.insert("model_version".into(), outcome.version.to_string().into());
    head.insert("outputs".into(), outputs.into());
    let head = Bytes::from(Value::from(head).to_string());
    let length = (!tails.is_empty()).then_some(head.len());
    let mut parts = vec![head];
    for tail in tails {
        match tail.parts() {
            Some(pieces) => parts.extend(pieces.iter().cloned()),
            None => parts.push(tail.contiguous()?),
        }
    }
    sent(parts, length, packing).await
}

async fn sent(
    parts: Vec<Bytes>,
    length: Option<usize>,
    packing: Option<Packing>,
) -> Result<Response, Problem> {
    let kind = if length.is_some() { "application/octet-stream" } else { "application/json" };
    let mut response = Builder::builder().header(header::CONTENT_TYPE, kind);
    if let Some(length) = length {
        response = response.header(HEADER_LENGTH, length);
    }
    let body = match packing {
        None => Body::new(Parts::new(parts)),
        Some(packing) => {
            response =
                response.header(header::CONTENT_ENCODING, HeaderValue::from_static(packing.name()));
            Body::from(packing.pack(parts).await?)
        }
    };
    response.body(body).map_err(|error| Problem::new(Kind::Internal, error.to_string()))
}

/// An output's JSON; its bytes, if they are wanted as such, come after all JSON.
fn written(output: Produced, binary: bool, tails: &mut Vec<Data>) -> Result<Value, Problem> {
    let Produced { name, datatype, shape, delivered, binary: own } = output;
    let mut json = Map::new();
    json.insert("name".into(), name.clone().into());
    json.insert("datatype".into(), datatype.name().into());
    json.insert("shape".into(), shape.clone().into());
    match delivered {
        // The client knows where it asked for it. Triton says nothing more either, and its C++ client takes any parameters for those of bytes that follow.
        Delivered::Shared(_) => {}
        Delivered::Data(data) if own.unwrap_or(binary) => {
            json.insert("parameters".into(), json!({ "binary_data_size": data.len() }));
            tails.push(data);
        }
        Delivered::Data(data) => {
            json.insert("data".into(), numbers(&name, datatype, shape, data)?);
        }
    }
    Ok(json.into())
}

/// Values as JSON has them.
fn numbers(
    name: &str,
    datatype: Datatype,
    shape: Vec<usize>,
    data: Data,
) -> Result<Value, Problem> {
    let number: fn(f32) -> Value = match datatype {
        Datatype::Bool => |value| (value != 0.0).into(),
        Datatype::Uint8 => |value| (value as u8).into(),
        // Through its shortest text, so that 0.1 is not 0.10000000149011612. JSON has no NaN.
        Datatype::Fp32 => |value| {
            let shortest = value.to_string().parse::<f64>().ok();
            shortest.and_then(Number::from_f64).map_or(Value::Null, Value::Number)
        },
        other => {
            let text = format!(
                "sending {other} data via JSON is not supported. Please ask for output '{name}' with 'binary_data'"
            );
            return Err(Problem::invalid(text));
        }
    };
    let values = Tensor::new(datatype, shape, data)?.to_f32()?;
    Ok(values.into_iter().map(number).collect())
}
