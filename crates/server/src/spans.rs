//! Finished calls, given to whoever exports them.

use std::{sync::Arc, time::Duration};

use coreloop_service::{Target, Trace};
use jiff::Timestamp;
use prometheus_client::registry::Registry;

/// A finished call, as a span of its trace.
#[derive(Debug, Clone)]
pub struct Span {
    /// Place in the trace.
    pub trace: Trace,
    /// What was called.
    pub target: Arc<Target>,
    /// When it ended.
    pub ended: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// gRPC code, or HTTP status for plain HTTP.
    pub code: i32,
    /// It failed by a fault of ours or of a part of ours.
    pub failed: bool,
    /// gRPC rather than plain HTTP.
    pub grpc: bool,
}

/// What a call answered, by protocol.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    Grpc(tonic::Code),
    Http(http::StatusCode),
}

/// Takes finished calls. Never waits.
pub trait Spans: Send + Sync + 'static {
    /// Whether a trace that begins here is to be recorded whatever comes of it.
    fn sample(&self, trace_id: [u8; 16]) -> bool;

    /// Takes a finished call: of a recorded trace, or failed.
    fn take(&self, span: Span);

    /// Registers its metrics with those of a server whose spans it takes.
    fn register(&self, registry: &mut Registry);
}
