//! Metrics of the edge beside rate, errors and duration, which the server's layer keeps for every route.

use coreloop_service::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

/// Labels of a route. The template, never the path: a path holds ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    rpc: String,
    method: String,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProtocolLabels {
    protocol: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SocketLabels {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: u32,
}

/// The families, registered once a process.
#[derive(Clone, Default)]
pub(crate) struct Families {
    deprecated: Family<RouteLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
    passed: Family<ProtocolLabels, Counter>,
    sockets: Family<SocketLabels, Gauge>,
    closed: Family<CodeLabels, Counter>,
}

impl Families {
    /// Registers the families.
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let f = Self::default();
        metrics.with(|registry| {
            registry.register("coreloop_edge_deprecated_requests", "Calls of what is deprecated", f.deprecated.clone());
            registry.register("coreloop_edge_refused", "Requests the edge refused without a call", f.refused.clone());
            registry.register("coreloop_edge_passed", "gRPC and gRPC-Web calls handed on", f.passed.clone());
            registry.register("cc_ws_active_connections", "WebSockets that are open", f.sockets.clone());
            registry.register("coreloop_edge_sockets_closed", "WebSockets closed, by our code", f.closed.clone());
        });
        f
    }

    /// The counter of a deprecated binding or RPC, looked up at start.
    pub(crate) fn deprecated(&self, rpc: &str, method: &str, route: &str) -> Counter {
        let labels = RouteLabels { rpc: rpc.into(), method: method.into(), route: route.into() };
        self.deprecated.get_or_create_owned(&labels)
    }

    /// Counts a request refused before any service was called.
    pub(crate) fn refused(&self, reason: &str) {
        self.refused.get_or_create(&ReasonLabels { reason: reason.into() }).inc();
    }

    /// The gauge of the open sockets of a route.
    pub(crate) fn open_sockets(&self, route: &str) -> Gauge {
        self.sockets.get_or_create_owned(&SocketLabels { route: route.into() })
    }

    /// Counts a socket that was closed with `code`; 1005 when the client went or closed by itself.
    pub(crate) fn socket_closed(&self, code: u16) {
        self.closed.get_or_create(&CodeLabels { code: code.into() }).inc();
    }

    /// Counts a call handed on.
    pub(crate) fn passed(&self, protocol: &'static str) {
        self.passed.get_or_create(&ProtocolLabels { protocol }).inc();
    }
}
