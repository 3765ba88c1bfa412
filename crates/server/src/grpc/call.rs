//! `ModelInfer` as it travels: a request's tensors stay in the pieces in which they came, and an answer's are sent from where they lie.
//!
//! tonic, which answers all other calls, gathers a message into one buffer before it is read, and writes an answer into one that grows. For a tensor of some
//! MiB that is most of what a call costs. Here the fields of a message are told apart piece by piece; all but the tensors, some hundred bytes, are read by prost.

use std::fmt::Display;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::{Buf, BufMut, BytesMut};
use prost::Message;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint,
    encoded_len_varint, skip_field,
};
use tonic::Status;
use tower::ServiceExt;

use super::infer;
use super::service::{Inference, infer};
use super::wire::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::wire::inference::{ModelInferRequest, ModelInferResponse};
use crate::body::{PATIENCE, Parts, Pieces, gather};
use crate::protocol::{Kind, Problem, Service};
use crate::tensor::Data;

/// Where the call comes in.
pub(super) const PATH: &str = "/inference.GRPCInferenceService/ModelInfer";
/// A message's flag and length come before it.
const PREFIX: usize = 5;
/// The fields of the tensors' bytes: the last ones of a request and of an answer.
const RAW_INPUTS: u32 = 7;
const RAW_OUTPUTS: u32 = 6;
/// Bytes of their keys, alone and with the longest length.
const KEY: usize = 1;
const LONGEST_KEY: usize = 11;

/// Who answers.
#[derive(Clone)]
pub(super) struct Calls {
    pub service: Arc<Service>,
    /// Answers messages that are packed.
    pub packed: GrpcInferenceServiceServer<Inference>,
}

pub(super) async fn answer(State(calls): State<Calls>, request: Request) -> Response {
    let packing = request.headers().get("grpc-encoding");
    if packing.is_some_and(|packing| packing != "identity") {
        return match calls.packed.oneshot(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        };
    }
    let answered = answered(&calls.service, request).await;
    let response = answered.and_then(|(head, raw)| response(&head, &raw));
    response.unwrap_or_else(Status::into_http)
}

async fn answered(
    service: &Service,
    request: Request,
) -> Result<(ModelInferResponse, Vec<Data>), Status> {
    let patience = request.headers().get("grpc-timeout").and_then(|said| said.to_str().ok());
    let timeout = patience.and_then(infer::timeout);
    let limit = service.settings.body_limit;
    let pieces = gather(request.into_body(), limit.saturating_add(PREFIX), PATIENCE).await;
    let mut pieces = pieces.map_err(|problem| match problem.kind {
        Kind::TooLarge => Status::out_of_range(problem.text),
        _ => problem.into(),
    })?;
    unframed(&mut pieces, limit)?;
    let (head, raw) = message(&mut pieces)?;
    Ok(infer(service, head, raw, timeout).await?)
}

/// Takes off what comes before a message, and leaves that alone.
fn unframed(pieces: &mut Pieces, limit: usize) -> Result<(), Status> {
    if pieces.remaining() < PREFIX {
        return Err(Status::internal("Missing request message."));
    }
    let (flag, len) = (pieces.get_u8(), pieces.get_u32() as usize);
    if flag != 0 {
        let text = "a message is flagged as compressed, but no grpc-encoding says how";
        return Err(Status::internal(text));
    }
    if len > limit {
        let text =
            format!("decoded message length too large: found {len} bytes, the limit is: {limit}");
        return Err(Status::out_of_range(text));
    }
    match pieces.remaining() == len {
        true => Ok(()),
        false => Err(Status::internal(format!(
            "expected one message of {len} bytes, got {} bytes",
            pieces.remaining()
        ))),
    }
}

/// A request without its tensors' bytes, and these.
fn message(pieces: &mut Pieces) -> Result<(ModelInferRequest, Vec<Data>), Status> {
    let (mut head, mut raw) = (BytesMut::new(), Vec::new());
    while pieces.has_remaining() {
        let (field, kind) = decode_key(pieces).map_err(malformed)?;
        if kind != WireType::LengthDelimited {
            unknown(field, kind, pieces)?;
            continue;
        }
        let len = decode_varint(pieces).map_err(malformed)?;
        let data = usize::try_from(len).ok().and_then(|len| pieces.cut(len));
        let data = data.ok_or_else(|| malformed("a field is longer than its message"))?;
        if field == RAW_INPUTS {
            raw.push(data);
        } else {
            encode_key(field, kind, &mut head);
            encode_varint(len, &mut head);
            data.parts().into_iter().flatten().for_each(|part| head.put_slice(part));
        }
    }
    Ok((ModelInferRequest::decode(head).map_err(malformed)?, raw))
}

/// A field of a later version of the protocol is passed over; all that we know are texts and messages.
fn unknown(field: u32, kind: WireType, pieces: &mut Pieces) -> Result<(), Status> {
    if field <= RAW_INPUTS {
        return Err(malformed(format_args!("field {field} is of another type")));
    }
    skip_field(kind, field, pieces, DecodeContext::default()).map_err(malformed)
}

fn malformed(problem: impl Display) -> Status {
    Status::internal(format!("the message is malformed: {problem}"))
}

/// The answer in pieces: first its length, what is no tensor, and what stands before the bytes of the first one; then these.
fn response(head: &ModelInferResponse, raw: &[Data]) -> Result<Response, Status> {
    let tensors = raw.iter().map(|data| KEY + encoded_len_varint(data.len() as u64) + data.len());
    let len = u32::try_from(head.encoded_len() + tensors.sum::<usize>())
        .map_err(|_| Status::resource_exhausted("an answer of 4 GiB or more cannot be sent"))?;
    let mut between = BytesMut::with_capacity(PREFIX + head.encoded_len() + LONGEST_KEY);
    between.put_u8(0);
    between.put_u32(len);
    head.encode(&mut between).map_err(|error| Status::internal(error.to_string()))?;
    let mut parts = Vec::new();
    for data in raw {
        encode_key(RAW_OUTPUTS, WireType::LengthDelimited, &mut between);
        encode_varint(data.len() as u64, &mut between);
        parts.push(between.split().freeze());
        match data.parts() {
            Some(pieces) => parts.extend(pieces.iter().cloned()),
            None => parts.push(data.contiguous().map_err(Problem::from)?),
        }
    }
    parts.push(between.freeze());
    let trailers = HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]);
    let mut response = Response::new(Body::new(Parts::new(parts).with_trailers(trailers)));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    Ok(response)
}

#[cfg(test)]
mod tests;
