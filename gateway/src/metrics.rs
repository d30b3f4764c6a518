//! Metrics of the edge beside rate, errors and duration, which the server's layer keeps for every route.

use coreloop_service::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
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

/// The families, registered once a process.
#[derive(Clone, Default)]
pub(crate) struct Families {
    deprecated: Family<RouteLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
    passed: Family<ProtocolLabels, Counter>,
}

impl Families {
    /// Registers the families.
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let f = Self::default();
        metrics.with(|registry| {
            registry.register("coreloop_edge_deprecated_requests", "Calls of what is deprecated", f.deprecated.clone());
            registry.register("coreloop_edge_refused", "Requests the edge refused without a call", f.refused.clone());
            registry.register("coreloop_edge_passed", "gRPC and gRPC-Web calls handed on", f.passed.clone());
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

    /// Counts a call handed on.
    pub(crate) fn passed(&self, protocol: &'static str) {
        self.passed.get_or_create(&ProtocolLabels { protocol }).inc();
    }
}
