//! `POST …/infer`: JSON, JSON and bytes after it, or bytes alone.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

use super::body::{self, HEADER_LENGTH, Packing};
use super::json::{InferJson, InputJson, number, parameters, span, truth};
use super::write;
use crate::body::Pieces;
use crate::model::{Port, Signature};
use crate::protocol::{Content, Inference, InputTensor, Kind, Problem, Service, version_of};

/// A model, and perhaps a version.
#[derive(Debug, Deserialize)]
pub(super) struct Target {
    pub model: String,
    pub version: Option<String>,
}

impl Target {
    /// The version that is named; no number is no path.
    pub(super) fn version(&self) -> Result<Option<u64>, Problem> {
        let version = version_of(self.version.as_deref().unwrap_or_default());
        version.map_err(|_| Problem::new(Kind::NotFound, "Not Found"))
    }
}

pub(super) async fn infer(
    State(service): State<Arc<Service>>,
    Path(target): Path<Target>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let version = match target.version() {
        Ok(version) => version,
        Err(problem) => return problem.into_response(),
    };
    let read = body::read(&headers, body, service.settings.body_limit).await;
    let parsed = read.and_then(|pieces| parse(&service, &target.model, version, &headers, pieces));
    let (inference, binary) = match parsed {
        Ok(parsed) => parsed,
        Err(problem) => return service.counted(&target.model, version, problem).into_response(),
    };
    let outcome = match service.infer(inference).await {
        Ok(outcome) => outcome,
        Err(problem) => return problem.into_response(),
    };
    let written = write::response(outcome, binary, Packing::asked(&headers)).await;
    written
        .unwrap_or_else(|problem| service.counted(&target.model, version, problem).into_response())
}

/// The request, and whether outputs that do not say are wanted as bytes.
fn parse(
    service: &Service,
    model: &str,
    version: Option<u64>,
    headers: &HeaderMap,
    mut pieces: Pieces,
) -> Result<(Inference, bool), Problem> {
    let found = service.scheduler.model(model, version).map_err(|refusal| {
        // The scheduler counts what is submitted.
        Problem { counted: false, ..refusal.into() }
    })?;
    let length = header_length(headers, pieces.len())?;
    let inference = Inference { model: model.into(), version, ..Default::default() };
    if length == 0 {
        let input = raw_input(found.signature(), pieces)?;
        return Ok((Inference { inputs: vec![input], ..inference }, true));
    }
    let header = pieces.cut(length).ok_or_else(|| Problem::invalid("the body is too short"))?;
    let json: InferJson = serde_json::from_slice(&header.contiguous()?).map_err(|error| {
        Problem::invalid(format!("failed to parse the request JSON buffer: {error}"))
    })?;
    let binary = truth(&json.parameters, "binary_data_output")?.unwrap_or(false);
    let inputs = json.inputs.into_iter().map(|input| input_tensor(input, model, &mut pieces));
    let inputs = inputs.collect::<Result<_, _>>()?;
    if pieces.len() > 0 {
        let text =
            format!("unexpected additional input data for model '{model}': {} bytes", pieces.len());
        return Err(Problem::invalid(text));
    }
    let outputs = json.outputs.into_iter().map(super::json::OutputJson::into_output);
    let outputs = outputs.collect::<Result<_, _>>()?;
    let parameters = parameters(json.parameters)?;
    Ok((Inference { id: json.id, inputs, outputs, parameters, ..inference }, binary))
}

/// Bytes of JSON; all there are if it is not said, and none if the body is bytes alone.
fn header_length(headers: &HeaderMap, len: usize) -> Result<usize, Problem> {
    let Some(said) = headers.get(HEADER_LENGTH) else { return Ok(len) };
    let said = said.to_str().unwrap_or_default();
    let length = said.trim().parse::<usize>().ok().filter(|&length| length <= len);
    length.ok_or_else(|| {
        Problem::invalid(format!(
            "inference header size should be in range (0, {len}), got: {said}"
        ))
    })
}

fn input_tensor(
    input: InputJson,
    model: &str,
    pieces: &mut Pieces,
) -> Result<InputTensor, Problem> {
    let InputJson { name, datatype, shape, parameters, data } = input;
    let size = number(&parameters, "binary_data_size")?;
    let span = span(&parameters)?;
    if usize::from(data.is_some()) + usize::from(size.is_some()) + usize::from(span.is_some()) != 1
    {
        return Err(Problem::invalid(format!(
            "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', 'shared_memory_region' in 'parameters', for input '{name}'"
        )));
    }
    let content = match (data, size, span) {
        (Some(numbers), ..) => Content::Numbers(numbers.0),
        (_, _, Some(span)) => Content::Shared(span),
        (_, size, _) => {
            let size = usize::try_from(size.unwrap_or_default()).unwrap_or(usize::MAX);
            let left = pieces.len();
            Content::Raw(pieces.cut(size).ok_or_else(|| {
                let lacks = size - left;
                Problem::invalid(format!(
                    "unexpected size for input '{name}', expecting {lacks} additional bytes for model '{model}'"
                ))
            })?)
        }
    };
    Ok(InputTensor { name, datatype, shape, content })
}

/// A body that is nothing but the bytes of the only input, whose shape has to follow from their number.
fn raw_input(signature: &Signature, mut pieces: Pieces) -> Result<InputTensor, Problem> {
    let model = &signature.name;
    let [port] = signature.inputs.as_slice() else {
        let n = signature.inputs.len();
        let text =
            format!("a request of bytes alone needs a model with one input; '{model}' has {n}");
        return Err(Problem::invalid(text));
    };
    let len = pieces.len();
    let shape = raw_shape(signature, port, len)?;
    let data = pieces.cut(len).unwrap_or_else(|| Vec::<u8>::new().into());
    let (name, datatype) = (port.name.clone(), port.datatype.to_string());
    Ok(InputTensor { name, datatype, shape, content: Content::Raw(data) })
}

fn raw_shape(signature: &Signature, port: &Port, len: usize) -> Result<Vec<usize>, Problem> {
    let wrong = |text: &str| {
        let name = &port.name;
        Problem::invalid(format!(
            "The shape of the raw input '{name}' can not be deduced because {text}"
        ))
    };
    let axes = signature.batched().then_some(None).into_iter().chain(port.shape.iter().copied());
    let mut axes: Vec<Option<usize>> = axes.collect();
    // As in Triton, a batch of one, if there is a batch.
    if axes.iter().filter(|axis| axis.is_none()).count() > 1 {
        return Err(wrong("there are more than one variable-sized dimension"));
    }
    let known: usize = axes.iter().flatten().product();
    let bytes = port.datatype.width().map_or(0, |width| width * known);
    if let Some(free) = axes.iter_mut().find(|axis| axis.is_none()) {
        if bytes == 0 || !len.is_multiple_of(bytes) {
            return Err(wrong(&format!("{len} bytes are no multiple of {bytes}")));
        }
        *free = Some(len / bytes);
    }
    Ok(axes.into_iter().flatten().collect())
}

/// A JSON body of a few fields, or nothing.
pub(super) async fn small(headers: &HeaderMap, body: Body) -> Result<Value, Problem> {
    const SMALL: usize = 1 << 20;
    let mut pieces = body::read(headers, body, SMALL).await?;
    let len = pieces.len();
    let whole = pieces.cut(len).filter(|data| !data.is_empty());
    let Some(whole) = whole else { return Ok(Value::Null) };
    serde_json::from_slice(&whole.contiguous()?).map_err(|error| {
        Problem::invalid(format!("failed to parse the request JSON buffer: {error}"))
    })
}

/// A status and nothing else.
pub(super) fn ok() -> Response {
    StatusCode::OK.into_response()
}
