//! How a request reaches a server: over HTTP, or over gRPC.

use std::error::Error;

use hyper::StatusCode;
use tonic::transport::{Channel, Endpoint};

use super::Address;
use super::connection::{Connection, Message, reason};
use super::tally::Parts;
use crate::grpc::wire::inference::ModelInferRequest;
use crate::grpc::wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;

/// A request that is sent again and again.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Http(Message),
    Grpc(Box<ModelInferRequest>),
}

/// An open connection.
#[derive(Debug)]
pub(crate) enum Link {
    Http(Connection),
    Grpc(Box<GrpcInferenceServiceClient<Channel>>),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The server said no; the connection is as good as before.
    Refused(String),
    /// The connection is of no more use.
    Broken(String),
}

impl Trouble {
    /// What was said.
    pub(crate) fn told(self) -> String {
        match self {
            Self::Refused(told) | Self::Broken(told) => told,
        }
    }
}

impl Link {
    /// Opens what a request needs.
    pub(crate) async fn open(address: &Address, ask: &Ask) -> Result<Self, Trouble> {
        match ask {
            Ask::Http(_) => {
                Connection::open(address).await.map(Self::Http).map_err(Trouble::Broken)
            }
            Ask::Grpc(_) => {
                let channel = channel(address).await.map_err(Trouble::Broken)?;
                let client = GrpcInferenceServiceClient::new(channel);
                let client = client.max_decoding_message_size(usize::MAX);
                Ok(Self::Grpc(Box::new(client.max_encoding_message_size(usize::MAX))))
            }
        }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, address: &Address, ask: &Ask) -> Result<Parts, Trouble> {
        match (self, ask) {
            (Self::Http(connection), Ask::Http(message)) => over_http(connection, message).await,
            (Self::Grpc(client), Ask::Grpc(request)) => over_grpc(client, address, request).await,
            _ => Err(Trouble::Broken("a connection of the other protocol".into())),
        }
    }
}

async fn over_http(connection: &mut Connection, message: &Message) -> Result<Parts, Trouble> {
    let answer = connection.exchange(message).await.map_err(Trouble::Broken)?;
    if answer.status != StatusCode::OK {
        let told = format!("{}: {}", answer.status.as_u16(), reason(&answer.body));
        return Err(Trouble::Refused(told));
    }
    let tensors = answer.header_length.is_some_and(|head| head < answer.body.len());
    match tensors || message.header_length.is_none() {
        true => Ok(Parts { send: answer.send, receive: answer.receive, ..Parts::default() }),
        false => Err(Trouble::Refused("200 without a tensor".into())),
    }
}

async fn over_grpc(
    client: &mut GrpcInferenceServiceClient<Channel>,
    address: &Address,
    request: &ModelInferRequest,
) -> Result<Parts, Trouble> {
    let mut request = tonic::Request::new(request.clone());
    if let Some(token) = &address.token
        && let Ok(value) = format!("Bearer {token}").parse()
    {
        request.metadata_mut().insert("authorization", value);
    }
    match client.model_infer(request).await {
        Ok(answer) if answer.get_ref().raw_output_contents.is_empty() => {
            Err(Trouble::Refused("OK without a tensor".into()))
        }
        Ok(_) => Ok(Parts::default()),
        Err(status) => {
            let told = format!("{:?}: {}", status.code(), status.message());
            // What the server says has no cause on this side.
            Err(match status.source() {
                Some(_) => Trouble::Broken(told),
                None => Trouble::Refused(told),
            })
        }
    }
}

/// A connection of its own, as each client would have.
async fn channel(address: &Address) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(address.to_string()).map_err(|e| e.to_string())?;
    let endpoint = endpoint.tcp_nodelay(true).initial_stream_window_size(16 << 20);
    let connected = endpoint.initial_connection_window_size(16 << 20).connect().await;
    connected.map_err(|error| {
        let mut cause: &dyn Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        cause.to_string()
    })
}
