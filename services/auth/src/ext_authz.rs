//! `envoy.service.auth.v3.Authorization/Check`: Envoy asks about every request, the gate decides.
//!
//! The decision is [`Gate::decide_http`], the one that every service makes again for itself. What is particular here is
//! cost: each request of the mesh pays for this one. Envoy's `CheckRequest` carries every header in a map; decoding it into
//! owned maps costs more than the decision. So the message is scanned where it lies ([`request::Scan`]) for the six fields
//! that matter, and the reply is written as bytes ([`reply`]), its constant parts ready. A differential test holds both
//! against the generated types.
//!
//! On admission the client's own identity headers are removed in any spelling and ours are set; services do not believe them
//! either way, they are for logs and for backends that are not ours. On denial the client gets the very error that the edge
//! would give: `google.rpc.Status` as JSON, or for gRPC the status with its details.

mod reply;
mod request;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf as _, BufMut as _, Bytes};
use coreloop_access::{Cors, Decision, Denied, Gate, HeaderView};
use coreloop_auth_api::envoy::service::auth::v3::authorization_server;
use coreloop_core::{Problem, Reason};
use futures::future::BoxFuture;
use tonic::{
    Code, Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::UnaryService,
};

/// Largest `CheckRequest` read: Envoy bounds headers to 60 KiB and sends no body.
const LARGEST: usize = 256 * 1024;

/// First buffers of a message: the usual one fits. tonic's own 8 KiB for each leave the allocator's fast path.
const REPLY_BUFFER: usize = 1_000;
const REQUEST_BUFFER: usize = 2_048;
/// tonic's own: bytes gathered before they are handed on.
const YIELD: usize = 32 * 1024;

/// The service, to be added to the routes. Clones share the gate.
#[derive(Debug, Clone)]
pub struct ExtAuthz {
    gate: Arc<Gate>,
    cors: Arc<Cors>,
}

impl ExtAuthz {
    /// The service over the process's gate.
    #[must_use]
    pub fn new(gate: Arc<Gate>) -> Self {
        Self { gate, cors: Arc::default() }
    }

    /// Refusals can be read by the pages that `cors` admits, as those of the edge.
    #[must_use]
    pub fn with_cors(self, cors: Cors) -> Self {
        Self { cors: Arc::new(cors), ..self }
    }

    /// Decides an encoded `CheckRequest`; answers an encoded `CheckResponse`.
    ///
    /// # Errors
    /// When the message cannot be read; Envoy then refuses the request (fail closed).
    pub async fn check(&self, message: &[u8]) -> Result<Bytes, Status> {
        let Some(scan) = request::Scan::of(message) else {
            return Err(Problem::common(Reason::MalformedRequest, "the CheckRequest cannot be read").into());
        };
        let decision = match scan.path() {
            Some((method, path)) => self.gate.decide_http(method, path, &HeaderView::Picked(&scan.picked)).await,
            None => Decision::Deny(Denied::MalformedPath),
        };
        Ok(match decision {
            Decision::Allow(allowed) => reply::admitted(&allowed, &scan),
            Decision::Deny(denied) => reply::refused(denied, &scan, &self.cors),
        })
    }
}

impl tonic::server::NamedService for ExtAuthz {
    const NAME: &'static str = authorization_server::SERVICE_NAME;
}

impl tonic::codegen::Service<http::Request<tonic::body::Body>> for ExtAuthz {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        if request.uri().path() != "/envoy.service.auth.v3.Authorization/Check" {
            let unknown = Problem::common(Reason::Unimplemented, "the service has no such method");
            return Box::pin(async move { Ok(Status::from(unknown).into_http()) });
        }
        let check = Check(self.clone());
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Raw).max_decoding_message_size(LARGEST);
            Ok(grpc.unary(check, request).await)
        })
    }
}

struct Check(ExtAuthz);

impl UnaryService<Bytes> for Check {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move { service.check(request.get_ref()).await.map(tonic::Response::new) })
    }
}

/// Messages as the bytes they are.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(REPLY_BUFFER, YIELD)
    }

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(REQUEST_BUFFER, YIELD)
    }

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}

/// The gRPC code of a denial.
fn code_of(denied: &Denied) -> Code {
    coreloop_core::Kind::of(denied.reason()).code()
}
