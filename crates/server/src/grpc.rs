//! The Open Inference Protocol over gRPC, with Triton's calls, and gRPC's own health check.

mod call;
mod describe;
mod health;
mod infer;
mod service;

/// Messages, servers and clients, made of `proto/`.
pub mod wire {
    /// The protocol.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        reason = "generated; the messages are described in proto/inference.proto"
    )]
    pub mod inference {
        tonic::include_proto!("inference");
    }
    /// gRPC's health check.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        reason = "generated; the messages are described in proto/health.proto"
    )]
    pub mod health {
        tonic::include_proto!("grpc.health.v1");
    }
}

use std::sync::Arc;

use axum::Router;
use axum::routing::any;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;

use self::wire::health::health_server::HealthServer;
use self::wire::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use crate::protocol::Service;

/// Answers the calls.
pub fn router(service: Arc<Service>) -> Router {
    let limit = service.settings.body_limit;
    let health = HealthServer::new(health::Health(service.clone()));
    let mut inference = GrpcInferenceServiceServer::new(service::Inference(service.clone()))
        .max_decoding_message_size(limit)
        .max_encoding_message_size(usize::MAX);
    // Answers are not packed: every client says that it can unpack, and to pack an image takes longer than to send it.
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        inference = inference.accept_compressed(encoding);
    }
    let calls = call::Calls { service, packed: inference.clone() };
    let all = Routes::new(inference).add_service(health).prepare().into_axum_router();
    all.merge(Router::new().route(call::PATH, any(call::answer)).with_state(calls))
}
