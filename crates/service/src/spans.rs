//! Finished pieces of work, given to whoever exports them.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use prometheus_client::registry::Registry;

use crate::{Target, Trace};

/// What was done, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A gRPC call was answered with a code.
    Grpc(i32),
    /// A call of plain HTTP was answered with a status.
    Http(u16),
    /// An event or a command was handled; says what became of it, as `handled`.
    Event(&'static str),
    /// A step of a longer work was done, by the name of its target's path; says what became of it.
    Step(&'static str),
}

/// A finished piece of work, as a span of its trace.
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
    /// What it was, and how it ended.
    pub outcome: Ended,
    /// It failed by a fault of ours or of a part of ours.
    pub failed: bool,
}

/// Takes finished work. Never waits.
pub trait Spans: Send + Sync + 'static {
    /// Whether a trace that begins here is to be recorded whatever comes of it.
    fn sample(&self, trace_id: [u8; 16]) -> bool;

    /// Takes what has finished: of a recorded trace, or failed.
    fn take(&self, span: Span);

    /// Registers its metrics with those of a server whose spans it takes.
    fn register(&self, registry: &mut Registry);
}
