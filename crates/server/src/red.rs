//! Rate, errors and duration of every RPC and route, and the saturation of pools.

use std::{fmt, sync::Mutex};

use coreloop_db::PoolGauge;
use coreloop_service::Metrics;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
};
use sqlx::PgPool;

/// Seconds. Fine below a millisecond, where the reads by memory are; chapter 08's targets are edges.
const BUCKETS: [f64; 14] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0, 2.5, 5.0, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    service: String,
    method: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcOutcome {
    service: String,
    method: String,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteOutcome {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModuleLabel {
    module: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkerLabel {
    worker: String,
}

/// The families. Clones share them.
#[derive(Clone)]
pub(crate) struct Red {
    rpc_requests: Family<RpcOutcome, Counter>,
    rpc_seconds: Family<RpcLabels, Histogram, fn() -> Histogram>,
    route_requests: Family<RouteOutcome, Counter>,
    route_seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_flight: Family<ModuleLabel, Gauge>,
    shed: Family<ModuleLabel, Counter>,
    open_streams: Family<ModuleLabel, Gauge>,
    restarts: Family<WorkerLabel, Counter>,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Red {
    pub(crate) fn register(metrics: &Metrics, pools: Pools) -> Self {
        let red = Self {
            rpc_requests: Family::default(),
            rpc_seconds: Family::new_with_constructor(histogram as fn() -> Histogram),
            route_requests: Family::default(),
            route_seconds: Family::new_with_constructor(histogram as fn() -> Histogram),
            in_flight: Family::default(),
            shed: Family::default(),
            open_streams: Family::default(),
            restarts: Family::default(),
        };
        metrics.with(|registry| {
            registry.register("coreloop_rpc_requests", "Calls answered, by gRPC code", red.rpc_requests.clone());
            registry.register("coreloop_rpc_duration_seconds", "Time to answer a call", red.rpc_seconds.clone());
            registry.register("coreloop_http_requests", "Requests answered, by status", red.route_requests.clone());
            registry.register("coreloop_http_duration_seconds", "Time to answer a request", red.route_seconds.clone());
            registry.register("coreloop_rpc_in_flight", "Calls that run now", red.in_flight.clone());
            registry.register("coreloop_rpc_shed", "Calls refused as OVERLOADED", red.shed.clone());
            registry.register("coreloop_rpc_open_streams", "Streams that are open", red.open_streams.clone());
            registry.register("coreloop_worker_restarts", "Workers that ended before their time", red.restarts.clone());
            registry.register_collector(Box::new(pools));
        });
        red
    }

    /// The handles of one RPC, looked up once.
    pub(crate) fn rpc(&self, service: &str, method: &str) -> RpcRed {
        let labels = RpcLabels { service: service.to_owned(), method: method.to_owned() };
        RpcRed {
            ok: self.rpc_requests.get_or_create_owned(&outcome(&labels, "OK")),
            seconds: self.rpc_seconds.get_or_create_owned(&labels),
            requests: self.rpc_requests.clone(),
            labels,
        }
    }

    pub(crate) fn route(&self, method: &str, route: &str, status: u16, seconds: f64) {
        let labels = RouteLabels { method: method.to_owned(), route: route.to_owned() };
        self.route_seconds.get_or_create(&labels).observe(seconds);
        let outcome = RouteOutcome { method: labels.method, route: labels.route, status };
        self.route_requests.get_or_create(&outcome).inc();
    }

    pub(crate) fn in_flight(&self, module: &str) -> Gauge {
        self.in_flight.get_or_create_owned(&ModuleLabel { module: module.to_owned() })
    }

    pub(crate) fn shed(&self, module: &str) -> Counter {
        self.shed.get_or_create_owned(&ModuleLabel { module: module.to_owned() })
    }

    pub(crate) fn open_streams(&self, module: &str) -> Gauge {
        self.open_streams.get_or_create_owned(&ModuleLabel { module: module.to_owned() })
    }

    pub(crate) fn restarted(&self, worker: &str) {
        self.restarts.get_or_create(&WorkerLabel { worker: worker.to_owned() }).inc();
    }
}

fn outcome(labels: &RpcLabels, code: &'static str) -> RpcOutcome {
    RpcOutcome { service: labels.service.clone(), method: labels.method.clone(), code }
}

/// Handles of one RPC.
pub(crate) struct RpcRed {
    ok: Counter,
    seconds: Histogram,
    requests: Family<RpcOutcome, Counter>,
    labels: RpcLabels,
}

impl RpcRed {
    pub(crate) fn record(&self, code: tonic::Code, seconds: f64) {
        self.seconds.observe(seconds);
        match code {
            tonic::Code::Ok => self.ok.inc(),
            code => self.requests.get_or_create(&outcome(&self.labels, name(code))).inc(),
        };
    }
}

/// The code as protobuf spells it.
pub(crate) fn name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Name, help and how a figure is read.
type Read = (&'static str, &'static str, fn(PoolGauge) -> u32);

/// The pools of the process, looked at when Prometheus asks.
#[derive(Default)]
pub(crate) struct Pools(Mutex<Vec<(String, PgPool)>>);

impl Pools {
    pub(crate) fn of(pools: Vec<(String, PgPool)>) -> Self {
        Self(Mutex::new(pools))
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools").finish_non_exhaustive()
    }
}

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let pools = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let read: [Read; 3] = [
            ("coreloop_db_connections_open", "Connections open", |gauge| gauge.open),
            ("coreloop_db_connections_idle", "Connections not in use", |gauge| gauge.idle),
            ("coreloop_db_connections_max", "Most connections", |gauge| gauge.most),
        ];
        for (name, help, value) in read {
            let mut family =
                encoder.encode_descriptor(name, help, None, prometheus_client::metrics::MetricType::Gauge)?;
            for (module, pool) in pools.iter() {
                let gauge = ConstGauge::new(i64::from(value(PoolGauge::of(pool))));
                let label = ModuleLabel { module: module.clone() };
                gauge.encode(family.encode_family(&label)?)?;
            }
        }
        Ok(())
    }
}
