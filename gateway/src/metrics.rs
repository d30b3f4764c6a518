//! Metrics of the edge: rate, errors and duration of every route, and what it refused itself.

use coreloop_service::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
};

/// Labels of a route. The template, never the path: a path holds ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    rpc: String,
    method: String,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    rpc: String,
    method: String,
    route: String,
    status: &'static str,
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
#[derive(Clone)]
pub(crate) struct Families {
    requests: Family<StatusLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    deprecated: Family<RouteLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
    passed: Family<ProtocolLabels, Counter>,
}

/// The meters of one route, looked up at start so that a request touches no map.
pub(crate) struct Meters {
    classes: [Counter; 5],
    seconds: Histogram,
    /// Calls of a deprecated binding; none for one that is not.
    pub(crate) deprecated: Option<Counter>,
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Families {
    /// Registers the families.
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let families = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_5, 2.0, 15))),
            deprecated: Family::default(),
            refused: Family::default(),
            passed: Family::default(),
        };
        metrics.with(|registry| {
            let f = &families;
            registry.register("coreloop_edge_requests", "REST requests by route and status class", f.requests.clone());
            registry.register("coreloop_edge_seconds", "Time of REST requests by route", f.seconds.clone());
            registry.register("coreloop_edge_deprecated_requests", "Calls of deprecated routes", f.deprecated.clone());
            registry.register("coreloop_edge_refused", "Requests the edge refused without a call", f.refused.clone());
            registry.register("coreloop_edge_passed", "gRPC and gRPC-Web calls handed on", f.passed.clone());
        });
        families
    }

    /// The meters of a route.
    pub(crate) fn meters(&self, rpc: &str, method: &str, route: &str, deprecated: bool) -> Meters {
        let labels = RouteLabels { rpc: rpc.into(), method: method.into(), route: route.into() };
        let class = |status| {
            let RouteLabels { rpc, method, route } = labels.clone();
            self.requests.get_or_create(&StatusLabels { rpc, method, route, status }).clone()
        };
        Meters {
            classes: CLASSES.map(class),
            seconds: self.seconds.get_or_create(&labels).clone(),
            deprecated: deprecated.then(|| self.deprecated.get_or_create(&labels).clone()),
        }
    }

    /// Counts a request refused before any route was called.
    pub(crate) fn refused(&self, reason: &str) {
        self.refused.get_or_create(&ReasonLabels { reason: reason.into() }).inc();
    }

    /// Counts a call handed on.
    pub(crate) fn passed(&self, protocol: &'static str) {
        self.passed.get_or_create(&ProtocolLabels { protocol }).inc();
    }
}

impl Meters {
    /// Records one request.
    pub(crate) fn record(&self, status: http::StatusCode, elapsed: std::time::Duration) {
        if let Some(counter) = self.classes.get(usize::from(status.as_u16() / 100).saturating_sub(1)) {
            counter.inc();
        }
        self.seconds.observe(elapsed.as_secs_f64());
    }
}
