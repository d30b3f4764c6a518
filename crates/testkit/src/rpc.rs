//! gRPC calls without generated code: raw frames by path, and dynamic calls as grpcurl makes them.

use std::{net::IpAddr, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;
use tonic::{
    Code, Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue},
    transport::{Channel, Endpoint},
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt as _;

use crate::{persona::own_address, wait::PATIENCE};

/// A channel to `base` (`http://host:port`), from an address that nobody else calls from, with keepalive; it connects when
/// first used.
///
/// # Panics
/// When `base` is not an address.
#[must_use]
pub fn channel(base: &str) -> Channel {
    channel_from(own_address(), base)
}

/// A channel as [`channel`], from `source`.
///
/// # Panics
/// When `base` is not an address.
#[must_use]
pub fn channel_from(source: IpAddr, base: &str) -> Channel {
    Endpoint::from_shared(base.to_owned())
        .expect("an address")
        .local_address(Some(source))
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(1))
        // What does not run for that long on a busy machine is not dead.
        .keep_alive_timeout(Duration::from_secs(8))
        .keep_alive_while_idle(true)
        .connect_lazy()
}

/// Calls `/package.Service/Method` with the bytes of a message, as they are.
///
/// # Errors
/// The status of the failed call.
pub async fn call(channel: &Channel, path: &str, message: &[u8], metadata: &[(&str, &str)]) -> Result<Bytes, Status> {
    call_within(PATIENCE, channel, path, message, metadata).await
}

/// Calls as [`call`], with a deadline of `limit`, which the server is told.
///
/// # Errors
/// The status of the failed call.
pub async fn call_within(
    limit: Duration,
    channel: &Channel,
    path: &str,
    message: &[u8],
    metadata: &[(&str, &str)],
) -> Result<Bytes, Status> {
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(16 << 20);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(Bytes::copy_from_slice(message));
    request.set_timeout(limit);
    fill(request.metadata_mut(), metadata);
    let path = path.parse().map_err(|_| Status::invalid_argument("not a path"))?;
    Ok(grpc.unary(request, path, Frames).await?.into_inner())
}

/// Opens a call of `/package.Service/Method` whose answer is a stream of messages as bytes.
///
/// # Errors
/// The status of a call that was refused before it was opened.
pub async fn open(
    channel: &Channel,
    path: &str,
    message: &[u8],
    metadata: &[(&str, &str)],
) -> Result<Streaming<Bytes>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(Bytes::copy_from_slice(message));
    fill(request.metadata_mut(), metadata);
    let path = path.parse().map_err(|_| Status::invalid_argument("not a path"))?;
    Ok(grpc.server_streaming(request, path, Frames).await?.into_inner())
}

fn fill(map: &mut MetadataMap, metadata: &[(&str, &str)]) {
    for (name, value) in metadata {
        let name: MetadataKey<Ascii> = name.parse().expect("a metadata key");
        map.append(name, value.parse::<MetadataValue<Ascii>>().expect("a metadata value"));
    }
}

/// The reason of a status's ErrorInfo, empty when there is none.
#[must_use]
pub fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// A message as bytes, as they come.
#[derive(Debug, Clone, Copy)]
struct Frames;

impl Codec for Frames {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Frames {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Frames {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A client that learns everything from the server, as grpcurl does.
#[derive(Debug, Clone)]
pub struct Reflected {
    channel: Channel,
    /// The services the server told.
    pub services: Vec<String>,
    pool: DescriptorPool,
}

impl Reflected {
    /// Asks the server for its services and the descriptors of `wanted` (names of services).
    ///
    /// # Errors
    /// The status of the failed reflection call.
    pub async fn learn(channel: &Channel, wanted: &[&str]) -> Result<Self, Status> {
        let services = match ask(channel, MessageRequest::ListServices(String::new())).await? {
            MessageResponse::ListServicesResponse(list) => {
                list.service.into_iter().map(|service| service.name).collect()
            }
            other => return Err(Status::unknown(format!("unexpected answer {other:?}"))),
        };
        let mut pool = DescriptorPool::new();
        for name in wanted {
            learn_file(channel, &mut pool, MessageRequest::FileContainingSymbol((*name).to_owned())).await?;
        }
        Ok(Self { channel: channel.clone(), services, pool })
    }

    /// Calls `method` of `service` with JSON and answers JSON with proto field names.
    ///
    /// # Errors
    /// The status of the failed call.
    ///
    /// # Panics
    /// When the server did not describe the method or `json` is not its request.
    pub async fn call(
        &self,
        service: &str,
        method: &str,
        json: &Value,
        metadata: &[(&str, &str)],
    ) -> Result<Value, Status> {
        let described = self.pool.get_service_by_name(service).expect("the service is described");
        let method = described.methods().find(|m| m.name() == method).expect("the method is described");
        let request = DynamicMessage::deserialize(method.input(), json).expect("a request");
        let path = format!("/{service}/{}", method.name());
        let answer = call(&self.channel, &path, &request.encode_to_vec(), metadata).await?;
        let answer = DynamicMessage::decode(method.output(), answer).map_err(|e| Status::internal(e.to_string()))?;
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
        Ok(answer.serialize_with_options(serde_json::value::Serializer, &options).expect("JSON"))
    }
}

async fn learn_file(channel: &Channel, pool: &mut DescriptorPool, question: MessageRequest) -> Result<(), Status> {
    let mut waiting = vec![question];
    let mut files: Vec<prost_types::FileDescriptorProto> = Vec::new();
    while let Some(question) = waiting.pop() {
        let MessageResponse::FileDescriptorResponse(answer) = ask(channel, question).await? else {
            return Err(Status::new(Code::NotFound, "the server does not describe it"));
        };
        for bytes in answer.file_descriptor_proto {
            let file = prost_types::FileDescriptorProto::decode(bytes.as_slice())
                .map_err(|error| Status::internal(error.to_string()))?;
            if files.iter().any(|known| known.name == file.name) {
                continue;
            }
            waiting.extend(file.dependency.iter().cloned().map(MessageRequest::FileByFilename));
            files.push(file);
        }
    }
    pool.add_file_descriptor_protos(files).map_err(|error| Status::internal(error.to_string()))
}

async fn ask(channel: &Channel, question: MessageRequest) -> Result<MessageResponse, Status> {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut client = ServerReflectionClient::new(channel.clone());
    let answers = client.server_reflection_info(tokio_stream::once(request)).await?;
    let answer = answers.into_inner().message().await?.ok_or_else(|| Status::unknown("no answer"))?;
    answer.message_response.ok_or_else(|| Status::unknown("an empty answer"))
}

/// One gRPC frame: flag, length, message. For gRPC-Web and raw HTTP/2 bodies.
#[must_use]
pub fn frame(message: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(message.len() + 5);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    bytes.put_slice(message);
    bytes.into()
}
