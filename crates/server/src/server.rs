//! The server as a program assembles it: models, devices, and what is added to its ports.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;

use crate::grpc;
use crate::http;
use crate::metrics::{self, Source};
use crate::model::{Device, Model};
use crate::protocol::{Service, Settings};
use crate::schedule::{Readiness, Scheduler, Snapshot, Terms};
use crate::telemetry::Cards;

/// What a server is made of.
#[derive(Default)]
pub struct Builder {
    models: Vec<Arc<dyn Model>>,
    devices: Vec<Device>,
    terms: Terms,
    settings: Settings,
    cards: Option<Cards>,
    sources: Vec<Source>,
    routes: Router,
}

impl Builder {
    /// Serves this too.
    #[must_use]
    pub fn model(mut self, model: Arc<dyn Model>) -> Self {
        self.models.push(model);
        self
    }

    /// On this too.
    #[must_use]
    pub fn device(mut self, device: Device) -> Self {
        self.devices.push(device);
        self
    }

    /// On these too.
    #[must_use]
    pub fn devices(mut self, devices: impl IntoIterator<Item = Device>) -> Self {
        self.devices.extend(devices);
        self
    }

    /// With what the scheduler allows.
    #[must_use]
    pub fn terms(self, terms: Terms) -> Self {
        Self { terms, ..self }
    }

    /// With what clients are told and may send.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// With what NVIDIA's driver tells of its cards in `/metrics`.
    #[must_use]
    pub fn cards(self, cards: Option<Cards>) -> Self {
        Self { cards, ..self }
    }

    /// With this added to `/metrics`.
    #[must_use]
    pub fn metrics(mut self, source: Source) -> Self {
        self.sources.push(source);
        self
    }

    /// With these paths on the HTTP port too. They must have no fallback.
    #[must_use]
    pub fn routes(self, routes: Router) -> Self {
        Self { routes: self.routes.merge(routes), ..self }
    }

    /// Starts the devices' threads, which load the models. Sockets are opened by the caller.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started, or two models have the same name and version.
    pub fn start(self) -> io::Result<Server> {
        let scheduler = Scheduler::start(self.devices, self.terms)?;
        for model in self.models {
            let signature = model.signature();
            let (name, version) = (signature.name.clone(), signature.version);
            if !scheduler.add(model) {
                let text = format!("model '{name}' version {version} is there twice");
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
        }
        let service = Arc::new(Service::new(scheduler, self.settings));
        let Self { cards, sources, routes, .. } = self;
        Ok(Server { service, cards, sources, routes })
    }
}

/// A server whose devices run. Its routers are served by [`crate::security::serve`], on as many listeners as are wanted.
pub struct Server {
    service: Arc<Service>,
    cards: Option<Cards>,
    sources: Vec<Source>,
    routes: Router,
}

impl Server {
    /// What to make one of.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The scheduler, for requests in process, for loading and unloading.
    #[must_use]
    pub fn scheduler(&self) -> &Scheduler {
        &self.service.scheduler
    }

    /// The protocol without sockets.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Returns when all devices have loaded all models, or failed to.
    pub async fn settled(&self) -> Readiness {
        self.scheduler().settled().await;
        self.scheduler().readiness()
    }

    /// Everything at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.scheduler().snapshot()
    }

    /// HTTP: the protocol and the added paths.
    pub fn http(&self) -> Router {
        self.routes.clone().merge(http::router(self.service.clone()))
    }

    /// gRPC: the protocol and the health check.
    pub fn grpc(&self) -> Router {
        grpc::router(self.service.clone())
    }

    /// `/metrics`.
    pub fn metrics(&self) -> Router {
        metrics::router(self.scheduler().clone(), self.cards.clone(), self.sources.clone())
    }

    /// Takes no new work; returns whether what was taken was done within `grace`.
    pub async fn stop(&self, grace: Duration) -> bool {
        self.scheduler().stop(grace).await
    }
}
