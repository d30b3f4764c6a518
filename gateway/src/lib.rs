//! The REST edge: JSON over HTTP in front of every gRPC service (chapter 07).
//!
//! **There is no code per RPC.** Which paths exist, what a body may hold, how large it may be, whether a reply carries
//! an ETag or a deprecation notice is read from the descriptors once, at start, into a table with one row a route
//! ([`table`]). A request is then a straight line: limits, the matcher of `coreloop-transcode` (the same that access
//! decides by, so what is authorised is what is routed), JSON to protobuf, one call over a [`Link`], protobuf to JSON.
//!
//! What else comes in on the same port: gRPC-Web from browsers and native gRPC (grpcurl), both handed to the links
//! by path; WebSockets, which are server streams by another transport ([`socket`]); CORS preflights, answered here. What the edge never does: decide who may call. Every service decides that for
//! itself from the forwarded token; headers that would speak as the mesh are dropped in any spelling ([`inbound`]).
//!
//! Two choices that look odd. Unary calls do not go through `tonic::client::Grpc`: a unary gRPC message is five bytes and
//! a payload, and writing them straight saves two 8 KiB buffers and a stream state machine on every request ([`call`]).
//! CORS and compression are not layers around everything but branches taken only by requests that ask for them.
//!
//! Errors are `google.rpc.Status` as JSON whatever failed, the edge's own refusals too; a status that no `Problem` made
//! (a transport's, a panic's) loses its text on the way out ([`fail`]).
//!
//! [`Link`]: coreloop_service::Link

mod body;
mod call;
mod compress;
mod cors;
mod describe;
mod edge;
pub mod envoy;
mod etag;
mod fail;
mod inbound;
mod linger;
mod metrics;
mod module;
mod notice;
mod options;
mod outbound;
mod passing;
mod request_id;
mod rest;
mod rpc;
mod service;
mod socket;
mod stream;
mod table;

pub use describe::openapi_json;
pub use edge::{Edge, Ground};
pub use module::{Gateway, module};
pub use options::{Cors, Options, Sockets};
pub use socket::heard;

/// Generated stubs of `coreloop.edge.v1`. Written by `cargo xtask codegen`; not edited.
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, unreachable_pub, reason = "generated")]
#[rustfmt::skip]
pub mod pb {
    include!("gen/coreloop.edge.v1.rs");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests;
