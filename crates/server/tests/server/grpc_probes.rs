//! The 33 gRPC calls that were recorded of Triton 2.51: the same code, but for what [`DIFFERENT`] lists.

use std::time::Duration;

use bytes::Bytes;
use lithoburn_server::grpc::wire::health::HealthCheckRequest;
use lithoburn_server::grpc::wire::health::health_client::HealthClient;
use lithoburn_server::grpc::wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lithoburn_server::grpc::wire::inference::infer_parameter::ParameterChoice;
use lithoburn_server::grpc::wire::inference::model_infer_request::{
    InferInputTensor, InferRequestedOutputTensor,
};
use lithoburn_server::grpc::wire::inference::{
    InferParameter, InferTensorContents, LogSettingsRequest, ModelConfigRequest, ModelInferRequest,
    ModelMetadataRequest, ModelReadyRequest, ModelStatisticsRequest, RepositoryIndexRequest,
    RepositoryModelLoadRequest, ServerLiveRequest, ServerMetadataRequest, ServerReadyRequest,
    SystemSharedMemoryStatusRequest, TraceSettingRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::{listening, models, started};

/// Calls that end otherwise, how, and why.
const DIFFERENT: [(&str, Code, &str); 3] = [
    ("TraceSetting", Code::Unimplemented, "traces are set where the server is started"),
    ("LogSettings", Code::Unimplemented, "so are logs"),
    (
        "timeout 1us",
        Code::DeadlineExceeded,
        "a timeout is kept over gRPC as it is over HTTP, where Triton keeps it too",
    ),
];

fn request() -> ModelInferRequest {
    let raw: Vec<u8> = (0..16_u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
    ModelInferRequest {
        model_name: "tile".into(),
        inputs: vec![input([1, 1, 4, 4].into())],
        raw_input_contents: vec![raw.into()],
        ..Default::default()
    }
}

fn input(shape: Vec<i64>) -> InferInputTensor {
    InferInputTensor { name: "target".into(), datatype: "FP32".into(), shape, ..Default::default() }
}

fn changed(change: impl FnOnce(&mut ModelInferRequest)) -> ModelInferRequest {
    let mut request = request();
    change(&mut request);
    request
}

fn contents() -> InferTensorContents {
    InferTensorContents { fp32_contents: (0..16_u8).map(f32::from).collect(), ..Default::default() }
}

/// The request of a probe that infers.
fn inference(name: &str) -> Option<ModelInferRequest> {
    Some(match name {
        "infer raw" => changed(|request| request.id = "abc".into()),
        "infer contents" => changed(|request| {
            request.raw_input_contents.clear();
            request.inputs[0].contents = Some(contents());
        }),
        "infer raw+contents" => changed(|request| request.inputs[0].contents = Some(contents())),
        "unknown model" => changed(|request| request.model_name = "nope".into()),
        "bad version" => changed(|request| request.model_version = "7".into()),
        "nan version" => changed(|request| request.model_version = "x".into()),
        "unknown input" => changed(|request| request.inputs[0].name = "zz".into()),
        "dtype mismatch" => changed(|request| request.inputs[0].datatype = "INT32".into()),
        "dtype unknown" => changed(|request| request.inputs[0].datatype = "FP31".into()),
        "shape rank" => changed(|request| request.inputs[0].shape = vec![4, 4]),
        "bytes short" => {
            changed(|request| request.raw_input_contents = vec![Bytes::from_static(b"abc")])
        }
        "unknown output" => changed(|request| {
            request.outputs =
                vec![InferRequestedOutputTensor { name: "zz".into(), ..Default::default() }];
        }),
        "batch 33" => changed(|request| {
            request.inputs[0].shape[0] = 33;
            request.raw_input_contents = vec![vec![0; 33 * 64].into()];
        }),
        "no inputs" => changed(|request| {
            request.inputs.clear();
            request.raw_input_contents.clear();
        }),
        "timeout 1us" => changed(|request| {
            let timeout = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(1)) };
            request.parameters.insert("timeout".into(), timeout);
        }),
        "16MB" => changed(|request| {
            request.inputs[0].shape = vec![1, 1, 2048, 2048];
            request.raw_input_contents = vec![vec![0; 16 << 20].into()];
        }),
        _ => return None,
    })
}

type Client = GrpcInferenceServiceClient<Channel>;

fn client(channel: Channel) -> Client {
    GrpcInferenceServiceClient::new(channel)
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX)
}

/// Calls as a probe's name says.
async fn call(channel: &Channel, name: &str) -> Option<Result<(), Status>> {
    let client = || client(channel.clone());
    if let Some(request) = inference(name) {
        return Some(infer(client(), request).await);
    }
    if let Some(answer) = ask(client(), name).await {
        return Some(answer);
    }
    if let Some(answer) = ask_of_a_model(client(), name).await {
        return Some(answer);
    }
    Some(match name {
        "deadline 1ms" => hurried(client()).await,
        "stream ok/bad/ok" => stream(client()).await,
        "grpc.health.v1 Check" => {
            let check =
                HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
            check.map(|answer| assert_eq!(answer.into_inner().status, 1))
        }
        _ => return None,
    })
}

async fn infer(mut client: Client, request: ModelInferRequest) -> Result<(), Status> {
    let answer = client.model_infer(request.clone()).await?.into_inner();
    assert_eq!(answer.id, request.id);
    let raw = &answer.raw_output_contents[0];
    assert_eq!(raw.len(), request.raw_input_contents.first().map_or(64, Bytes::len));
    Ok(())
}

/// What is asked of the server.
async fn ask(mut client: Client, name: &str) -> Option<Result<(), Status>> {
    Some(match name {
        "ServerLive" => client
            .server_live(ServerLiveRequest {})
            .await
            .map(|answer| assert!(answer.into_inner().live)),
        "ServerReady" => client
            .server_ready(ServerReadyRequest {})
            .await
            .map(|answer| assert!(answer.into_inner().ready)),
        "ServerMetadata" => client.server_metadata(ServerMetadataRequest {}).await.map(drop),
        "ModelStatistics all" => {
            client.model_statistics(ModelStatisticsRequest::default()).await.map(|answer| {
                assert_eq!(answer.into_inner().model_stats.len(), 2);
            })
        }
        "RepositoryIndex" => {
            client.repository_index(RepositoryIndexRequest::default()).await.map(|answer| {
                assert!(answer.into_inner().models.iter().all(|model| model.state == "READY"));
            })
        }
        "SystemSharedMemoryStatus" => client
            .system_shared_memory_status(SystemSharedMemoryStatusRequest::default())
            .await
            .map(drop),
        "TraceSetting" => client.trace_setting(TraceSettingRequest::default()).await.map(drop),
        "LogSettings" => client.log_settings(LogSettingsRequest::default()).await.map(drop),
        _ => return None,
    })
}

/// What is asked of a model that is there, or of none.
async fn ask_of_a_model(mut client: Client, name: &str) -> Option<Result<(), Status>> {
    let (what, known) = match name.split_once(' ') {
        Some((what, "nope")) => (what, false),
        _ => (name.trim_end_matches(" ok"), true),
    };
    let (name, version) = (String::from(if known { "tile" } else { "nope" }), String::new());
    Some(match what {
        "ModelReady" => client
            .model_ready(ModelReadyRequest { name, version })
            .await
            .map(|answer| assert_eq!(answer.into_inner().ready, known)),
        "ModelMetadata" => client
            .model_metadata(ModelMetadataRequest { name, version })
            .await
            .map(|answer| assert_eq!(answer.into_inner().inputs[0].shape, [-1, 1, -1, -1])),
        "ModelConfig" => {
            client.model_config(ModelConfigRequest { name, version }).await.map(|answer| {
                assert_eq!(answer.into_inner().config.expect("a configuration").max_batch_size, 32);
            })
        }
        "ModelStatistics" => {
            client.model_statistics(ModelStatisticsRequest { name, version }).await.map(drop)
        }
        "RepositoryModelLoad" => {
            let load = RepositoryModelLoadRequest { model_name: name, ..Default::default() };
            client.repository_model_load(load).await.map(drop)
        }
        _ => return None,
    })
}

/// A request whose client does not wait.
async fn hurried(mut client: Client) -> Result<(), Status> {
    let mut request = Request::new(request());
    request.set_timeout(Duration::from_micros(1));
    let answer = client.model_infer(request).await.map(drop);
    // Where tonic's client loses patience before it is answered, it calls that so.
    let impatient = |status: &Status| status.message() == "Timeout expired";
    answer.map_err(|status| match impatient(&status) {
        true => Status::deadline_exceeded(status.message()),
        false => status,
    })
}

/// Three requests of which the second is wrong.
async fn stream(mut client: Client) -> Result<(), Status> {
    let named = |id: &str| changed(|request| request.id = id.into());
    let mut bad = named("bad");
    bad.inputs[0].name = "zz".into();
    let requests = tokio_stream::iter([named("a"), bad, named("c")]);
    let mut answers = client.model_stream_infer(requests).await?.into_inner();
    let mut said = Vec::new();
    while let Some(answer) = answers.message().await? {
        let id = answer.infer_response.map(|response| response.id).unwrap_or_default();
        said.push((answer.error_message, id));
    }
    let error = "unexpected inference input 'zz' for model 'tile'";
    let expected =
        [("", "a"), (error, "bad"), ("", "c")].map(|(a, b)| (a.to_string(), b.to_string()));
    assert_eq!(said, expected);
    Ok(())
}

fn code(word: &str) -> Code {
    match word {
        "OK" => Code::Ok,
        "NOT_FOUND" => Code::NotFound,
        "INVALID_ARGUMENT" => Code::InvalidArgument,
        "UNAVAILABLE" => Code::Unavailable,
        "DEADLINE_EXCEEDED" => Code::DeadlineExceeded,
        other => panic!("what code is {other}?"),
    }
}

#[tokio::test]
async fn recorded_grpc_calls_end_as_tritons_do_but_for_the_list() {
    let Some(path) = lithoburn_testing::reference("golden/triton/golden_triton251_grpc.txt") else {
        return;
    };
    let recorded = std::fs::read_to_string(path).expect("reads");
    let probes = recorded.lines().filter_map(|line| line.split_at_checked(35));
    let server = started(models(32)).await;
    let address = listening(server.grpc()).await;
    let channel = Channel::from_shared(format!("http://{address}")).expect("an address");
    let channel = channel.connect().await.expect("connects");
    let (mut wrong, mut n) = (Vec::new(), 0);
    for (name, recorded) in probes {
        let name = name.trim();
        let got = call(&channel, name).await.unwrap_or_else(|| panic!("what does {name:?} call?"));
        let listed = DIFFERENT.iter().find(|(other, ..)| *other == name);
        let word = recorded.split_whitespace().next().unwrap_or_default();
        let expected = listed.map_or_else(|| code(word), |(_, code, _)| *code);
        let came = got.as_ref().err().map_or(Code::Ok, Status::code);
        if came != expected {
            wrong.push(format!("{name}: expected {expected:?}, got {got:?}"));
        }
        n += 1;
    }
    assert!(n >= 33, "only {n} probes");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
