//! The calls.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::wire::inference as wire;
use super::wire::inference::grpc_inference_service_server::GrpcInferenceService;
use super::{describe, infer};
use crate::protocol::{EXTENSIONS, Kind, Problem, Service, version_of};
use crate::schedule::{ModelSnapshot, VersionState};
use crate::tensor::Data;

/// Answers the protocol's calls.
pub(super) struct Inference(pub Arc<Service>);

/// Most requests of one stream that are computed at a time; more wait in the stream.
const AT_A_TIME: usize = 256;

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(message: T) -> Answer<T> {
    Ok(Response::new(message))
}

fn unsupported(text: &str) -> Status {
    Problem::new(Kind::Unsupported, text).into()
}

const NOT_BY_CLIENTS: &str =
    "explicit model load / unload is not allowed: the server follows its repository";

/// Answers a request whose tensors' bytes are beside it, as those of the answer are.
pub(super) async fn infer(
    service: &Service,
    message: wire::ModelInferRequest,
    raw: Vec<Data>,
    timeout: Option<Duration>,
) -> Result<(wire::ModelInferResponse, Vec<Data>), Problem> {
    let model = message.model_name.clone();
    let version = version_of(&message.model_version).unwrap_or_default();
    let inference = infer::inference(message, raw)
        .map_err(|problem| service.counted(&model, version, problem))?;
    let outcome = service.infer(crate::protocol::Inference { timeout, ..inference }).await?;
    Ok(infer::response(outcome))
}

/// Answers a message that has its tensors' bytes in it.
async fn infer_whole(
    service: &Service,
    mut message: wire::ModelInferRequest,
    timeout: Option<Duration>,
) -> Result<wire::ModelInferResponse, Problem> {
    let raw = std::mem::take(&mut message.raw_input_contents).into_iter().map(Data::from);
    let (response, raw) = infer(service, message, raw.collect(), timeout).await?;
    let raw_output_contents = raw.iter().map(Data::contiguous).collect::<Result<_, _>>()?;
    Ok(wire::ModelInferResponse { raw_output_contents, ..response })
}

impl Inference {
    /// All versions of a model, those that are asked for first.
    fn models(&self, name: &str, version: &str) -> Result<Vec<ModelSnapshot>, Problem> {
        let asked = version_of(version)?;
        self.0.scheduler.model(name, asked)?;
        let models = self.0.scheduler.snapshot().models.into_iter();
        let mut models: Vec<_> = models.filter(|model| model.signature.name == name).collect();
        models.sort_by_key(|model| {
            let ready = model.state == VersionState::Ready;
            let wanted = asked.map_or(ready, |version| model.signature.version == version);
            std::cmp::Reverse((wanted, model.signature.version))
        });
        Ok(models)
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(
        &self,
        _request: Request<wire::ServerLiveRequest>,
    ) -> Answer<wire::ServerLiveResponse> {
        answer(wire::ServerLiveResponse { live: true })
    }

    async fn server_ready(
        &self,
        _request: Request<wire::ServerReadyRequest>,
    ) -> Answer<wire::ServerReadyResponse> {
        answer(wire::ServerReadyResponse { ready: self.0.scheduler.readiness().is_ready() })
    }

    async fn model_ready(
        &self,
        request: Request<wire::ModelReadyRequest>,
    ) -> Answer<wire::ModelReadyResponse> {
        let wire::ModelReadyRequest { name, version } = request.into_inner();
        let state = self.0.scheduler.state(&name, version_of(&version)?);
        answer(wire::ModelReadyResponse { ready: state == Ok(VersionState::Ready) })
    }

    async fn server_metadata(
        &self,
        _request: Request<wire::ServerMetadataRequest>,
    ) -> Answer<wire::ServerMetadataResponse> {
        let settings = &self.0.settings;
        answer(wire::ServerMetadataResponse {
            name: settings.name.clone(),
            version: settings.version.clone(),
            extensions: EXTENSIONS.map(String::from).to_vec(),
        })
    }

    async fn model_metadata(
        &self,
        request: Request<wire::ModelMetadataRequest>,
    ) -> Answer<wire::ModelMetadataResponse> {
        let wire::ModelMetadataRequest { name, version } = request.into_inner();
        let models = self.models(&name, &version)?;
        let ready = models.iter().filter(|model| model.state == VersionState::Ready);
        let mut versions: Vec<u64> = ready.map(|model| model.signature.version).collect();
        versions.sort_unstable();
        let versions = versions.iter().map(u64::to_string).collect();
        let model = models.first().ok_or_else(|| Status::not_found(name))?;
        answer(describe::metadata(&model.signature, versions))
    }

    async fn model_infer(
        &self,
        request: Request<wire::ModelInferRequest>,
    ) -> Answer<wire::ModelInferResponse> {
        let timeout = request.metadata().get("grpc-timeout").and_then(|said| said.to_str().ok());
        let timeout = timeout.and_then(infer::timeout);
        answer(infer_whole(&self.0, request.into_inner(), timeout).await?)
    }

    type ModelStreamInferStream =
        Pin<Box<dyn Stream<Item = Result<wire::ModelStreamInferResponse, Status>> + Send>>;

    /// Answers in the order of the requests; one that is wrong gets an error and the stream goes on.
    async fn model_stream_infer(
        &self,
        request: Request<Streaming<wire::ModelInferRequest>>,
    ) -> Answer<Self::ModelStreamInferStream> {
        let service = self.0.clone();
        let answers = request.into_inner().map(move |message| {
            let service = service.clone();
            async move {
                let message = message?;
                let (id, name) = (message.id.clone(), message.model_name.clone());
                Ok(match infer_whole(&service, message, None).await {
                    Ok(response) => wire::ModelStreamInferResponse {
                        error_message: String::new(),
                        infer_response: Some(response),
                    },
                    Err(problem) => wire::ModelStreamInferResponse {
                        error_message: problem.text,
                        // The client knows by its id which of its requests it was.
                        infer_response: Some(wire::ModelInferResponse {
                            id,
                            model_name: name,
                            ..Default::default()
                        }),
                    },
                })
            }
        });
        answer(Box::pin(answers.buffered(AT_A_TIME)))
    }

    async fn model_config(
        &self,
        request: Request<wire::ModelConfigRequest>,
    ) -> Answer<wire::ModelConfigResponse> {
        let wire::ModelConfigRequest { name, version } = request.into_inner();
        let models = self.models(&name, &version)?;
        let devices = self.0.scheduler.snapshot().devices.len();
        let config = models.first().map(|model| describe::config(&model.signature, devices));
        answer(wire::ModelConfigResponse { config })
    }

    async fn model_statistics(
        &self,
        request: Request<wire::ModelStatisticsRequest>,
    ) -> Answer<wire::ModelStatisticsResponse> {
        let wire::ModelStatisticsRequest { name, version } = request.into_inner();
        let asked = version_of(&version)?;
        let models = if name.is_empty() {
            self.0.scheduler.snapshot().models
        } else {
            // Triton's code for a model that it has no statistics of.
            let missing =
                |_| Problem::invalid(format!("requested model '{name}' is not available"));
            self.models(&name, &version).map_err(missing)?
        };
        let asked =
            models.iter().filter(|model| asked.is_none_or(|n| model.signature.version == n));
        answer(wire::ModelStatisticsResponse {
            model_stats: asked.map(describe::statistics).collect(),
        })
    }

    async fn repository_index(
        &self,
        request: Request<wire::RepositoryIndexRequest>,
    ) -> Answer<wire::RepositoryIndexResponse> {
        let only_ready = request.into_inner().ready;
        let models = self.0.scheduler.snapshot().models.into_iter();
        let asked = models.filter(|model| !only_ready || model.state == VersionState::Ready);
        let models = asked.map(|model| {
            let (state, reason) = model.state.words();
            wire::repository_index_response::ModelIndex {
                name: model.signature.name.clone(),
                version: model.signature.version.to_string(),
                state: state.into(),
                reason: reason.into(),
            }
        });
        answer(wire::RepositoryIndexResponse { models: models.collect() })
    }

    async fn repository_model_load(
        &self,
        _request: Request<wire::RepositoryModelLoadRequest>,
    ) -> Answer<wire::RepositoryModelLoadResponse> {
        Err(Status::unavailable(NOT_BY_CLIENTS))
    }

    async fn repository_model_unload(
        &self,
        _request: Request<wire::RepositoryModelUnloadRequest>,
    ) -> Answer<wire::RepositoryModelUnloadResponse> {
        Err(Status::unavailable(NOT_BY_CLIENTS))
    }

    async fn system_shared_memory_status(
        &self,
        request: Request<wire::SystemSharedMemoryStatusRequest>,
    ) -> Answer<wire::SystemSharedMemoryStatusResponse> {
        let asked = request.into_inner().name;
        let mut regions = self.0.regions.all();
        if !asked.is_empty() {
            regions = vec![(asked.clone(), self.0.regions.get(&asked)?)];
        }
        let regions = regions.into_iter().map(|(name, region)| {
            let status = wire::system_shared_memory_status_response::RegionStatus {
                name: name.clone(),
                key: region.key.clone(),
                offset: region.offset,
                byte_size: region.byte_size,
            };
            (name, status)
        });
        answer(wire::SystemSharedMemoryStatusResponse { regions: regions.collect() })
    }

    async fn system_shared_memory_register(
        &self,
        request: Request<wire::SystemSharedMemoryRegisterRequest>,
    ) -> Answer<wire::SystemSharedMemoryRegisterResponse> {
        let asked = request.into_inner();
        self.0.regions.register(&asked.name, &asked.key, asked.offset, asked.byte_size)?;
        answer(wire::SystemSharedMemoryRegisterResponse {})
    }

    async fn system_shared_memory_unregister(
        &self,
        request: Request<wire::SystemSharedMemoryUnregisterRequest>,
    ) -> Answer<wire::SystemSharedMemoryUnregisterResponse> {
        let name = request.into_inner().name;
        self.0.regions.unregister((!name.is_empty()).then_some(name.as_str()));
        answer(wire::SystemSharedMemoryUnregisterResponse {})
    }

    async fn cuda_shared_memory_status(
        &self,
        _request: Request<wire::CudaSharedMemoryStatusRequest>,
    ) -> Answer<wire::CudaSharedMemoryStatusResponse> {
        answer(wire::CudaSharedMemoryStatusResponse { regions: HashMap::new() })
    }

    async fn cuda_shared_memory_register(
        &self,
        _request: Request<wire::CudaSharedMemoryRegisterRequest>,
    ) -> Answer<wire::CudaSharedMemoryRegisterResponse> {
        Err(unsupported("CUDA shared memory is not supported: use system shared memory"))
    }

    async fn cuda_shared_memory_unregister(
        &self,
        _request: Request<wire::CudaSharedMemoryUnregisterRequest>,
    ) -> Answer<wire::CudaSharedMemoryUnregisterResponse> {
        answer(wire::CudaSharedMemoryUnregisterResponse {})
    }

    async fn trace_setting(
        &self,
        _request: Request<wire::TraceSettingRequest>,
    ) -> Answer<wire::TraceSettingResponse> {
        Err(unsupported("traces are set where the server is started, not by clients"))
    }

    async fn log_settings(
        &self,
        _request: Request<wire::LogSettingsRequest>,
    ) -> Answer<wire::LogSettingsResponse> {
        Err(unsupported("logs are set where the server is started, not by clients"))
    }
}
