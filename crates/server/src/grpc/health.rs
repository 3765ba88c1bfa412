//! `grpc.health.v1`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::wire::health::health_check_response::ServingStatus;
use super::wire::health::health_server::Health as Calls;
use super::wire::health::{HealthCheckRequest, HealthCheckResponse};
use crate::protocol::Service;
use crate::schedule::VersionState;

/// Answers health checks: of the server if no service is named, of the protocol's, or of a model.
pub(super) struct Health(pub Arc<Service>);

/// How often a watched service is looked at.
const LOOK: Duration = Duration::from_millis(500);

impl Health {
    fn status(service: &Service, name: &str) -> Option<ServingStatus> {
        let serving = match name {
            "" | "inference.GRPCInferenceService" | "grpc.health.v1.Health" => {
                service.scheduler.readiness().is_ready()
            }
            model => service.scheduler.state(model, None).ok()? == VersionState::Ready,
        };
        Some(if serving { ServingStatus::Serving } else { ServingStatus::NotServing })
    }
}

#[tonic::async_trait]
impl Calls for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        let status = Self::status(&self.0, &name)
            .ok_or_else(|| Status::not_found(format!("unknown service '{name}'")))?;
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (service, name) = (self.0.clone(), request.into_inner().service);
        let looks = futures_util::stream::unfold(None, move |last: Option<ServingStatus>| {
            let (service, name) = (service.clone(), name.clone());
            async move {
                loop {
                    let status = Self::status(&service, &name);
                    let status = status.unwrap_or(ServingStatus::ServiceUnknown);
                    if last != Some(status) {
                        return Some((status, Some(status)));
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
        });
        let news = looks.map(|status| Ok(HealthCheckResponse { status: status.into() }));
        Ok(Response::new(Box::pin(news)))
    }
}
