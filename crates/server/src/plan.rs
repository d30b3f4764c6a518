//! What is known of each RPC before any call: its names, its rules, its metrics. Read once from the descriptors.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use coreloop_service::Target;
use coreloop_transcode::{descriptor, options, pb::option::Level};
use prost_protovalidate::Validator;
use prost_reflect::{MethodDescriptor, ServiceDescriptor};

use crate::{
    red::{Red, RpcRed},
    rules::Rules,
};

/// Served by every module, whatever its package.
const HEALTH: [&str; 2] = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"];
const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// One RPC.
pub(crate) struct Plan {
    pub(crate) target: Arc<Target>,
    pub(crate) red: RpcRed,
    pub(crate) rules: Option<Rules>,
    /// The request is one message, which is read and checked before the handler.
    pub(crate) unary_request: bool,
    /// The answer is one message; a call that streams has no deadline unless its caller states one.
    pub(crate) unary_response: bool,
    /// For a caller that states none; none is the process's.
    pub(crate) deadline: Option<Duration>,
    /// Asked so often, or by machines only, that an answer is no news: decisions (Envoy logs each), health, reflection.
    pub(crate) quiet: bool,
    /// Largest message of a request, in bytes; none is the process's.
    pub(crate) max_bytes: Option<usize>,
    /// Whose places the call takes.
    pub(crate) places: Places,
}

/// The places that a call needs one of while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// None: it is answered also by a service that is full (health, and RPCs that no limit applies to).
    None,
    /// Those of services that are not ours, as Envoy's `Authorization`: the whole mesh waits for its decisions, so no call
    /// of a client may stand in front of one.
    Foreign,
    /// Those of RPCs that need no token, as sign-in: a crowd of strangers takes nothing from who is signed in.
    Public,
    /// Those that all other calls share.
    Shared,
}

/// What checks the rules of messages. One for all of a process: to read `buf.validate`'s own descriptors was most of a start,
/// and rules that one module's calls have compiled are there for others.
static VALIDATOR: LazyLock<Arc<Validator>> = LazyLock::new(|| Arc::new(Validator::new()));

/// The RPCs of one module.
pub(crate) struct Plans {
    by_path: HashMap<String, Arc<Plan>>,
    unknown: Arc<Plan>,
}

impl Plans {
    pub(crate) fn of(module: &str, foreign: &[&str], red: &Red) -> Self {
        let package = format!("coreloop.{module}.");
        let mut by_path = HashMap::new();
        let own = |service: &ServiceDescriptor| {
            service.full_name().starts_with(&package) || foreign.contains(&service.full_name())
        };
        for service in descriptor::pool().services().filter(own) {
            for method in service.methods() {
                let plan = Plan::of(module, &service, &method, red);
                by_path.insert(plan.target.path.clone(), Arc::new(plan));
            }
        }
        for path in HEALTH.into_iter().chain(REFLECTION) {
            by_path.insert(path.to_owned(), Arc::new(Plan::named(module, path, red)));
        }
        // One series for all paths that nobody has: they are the callers' to invent.
        let unknown = Arc::new(Plan::named(module, "/unknown/unknown", red));
        Self { by_path, unknown }
    }

    pub(crate) fn find(&self, path: &str) -> &Arc<Plan> {
        self.by_path.get(path).unwrap_or(&self.unknown)
    }
}

impl Plan {
    fn of(module: &str, service: &ServiceDescriptor, method: &MethodDescriptor, red: &Red) -> Self {
        let edge = options::edge(method).unwrap_or_default();
        let foreign = !service.full_name().starts_with("coreloop.");
        let exempt = options::rate_limit(method).is_some_and(|limit| limit.exempt);
        let public = options::access(method).is_some_and(|access| access.level() == Level::Public && !access.mesh_only);
        Self {
            target: target(module, service.full_name(), method.name()),
            red: red.rpc(service.full_name(), method.name()),
            // What is not ours is read by who serves it.
            rules: Rules::of(method.input(), &VALIDATOR).filter(|_| !method.is_client_streaming() && !foreign),
            unary_request: !method.is_client_streaming(),
            unary_response: !method.is_server_streaming(),
            deadline: edge.default_deadline.and_then(|time| time.try_into().ok()),
            quiet: foreign,
            max_bytes: usize::try_from(edge.max_body_bytes).ok().filter(|most| *most > 0),
            places: match (foreign, exempt, public) {
                (true, ..) => Places::Foreign,
                (_, true, _) => Places::None,
                (.., true) => Places::Public,
                _ => Places::Shared,
            },
        }
    }

    /// An RPC without a descriptor of ours. Its bodies are passed on as they come.
    fn named(module: &str, path: &str, red: &Red) -> Self {
        let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
        Self {
            target: target(module, service, method),
            red: red.rpc(service, method),
            rules: None,
            unary_request: false,
            unary_response: path == HEALTH[0],
            deadline: None,
            quiet: HEALTH.contains(&path) || REFLECTION.contains(&path),
            max_bytes: None,
            // A watch is a stream like others: it is counted, and does not open in a full house.
            places: if path == HEALTH[0] { Places::None } else { Places::Public },
        }
    }
}

fn target(module: &str, service: &str, method: &str) -> Arc<Target> {
    Arc::new(Target {
        domain: module.to_owned(),
        service: service.to_owned(),
        method: method.to_owned(),
        path: format!("/{service}/{method}"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use coreloop_service::Metrics;

    use super::*;
    use crate::red::Pools;

    #[test]
    fn a_module_serves_its_packages_its_foreign_services_and_health() {
        let red = Red::register(&Metrics::default(), Pools::default());
        let plans = Plans::of("auth", &["envoy.service.auth.v3.Authorization"], &red);
        for path in ["/coreloop.auth.v1.AuthService/Login", "/envoy.service.auth.v3.Authorization/Check", HEALTH[0]] {
            assert_eq!(plans.find(path).target.path, path);
        }
        assert_eq!(plans.find("/coreloop.edge.v1.EdgeService/GetLiveness").target.path, "/unknown/unknown");
        assert!(plans.find("/coreloop.auth.v1.AuthService/Login").rules.is_some());
    }

    #[test]
    fn decisions_and_probes_do_not_wait_behind_calls() {
        let red = Red::register(&Metrics::default(), Pools::default());
        let auth = Plans::of("auth", &["envoy.service.auth.v3.Authorization"], &red);
        let edge = Plans::of("edge", &[], &red);
        for (plans, path, places) in [
            (&auth, "/coreloop.auth.v1.AuthService/Login", Places::Public),
            (&auth, "/coreloop.auth.v1.AuthService/GetMe", Places::Shared),
            (&auth, "/coreloop.auth.v1.AuthInternalService/MintInternalToken", Places::Shared),
            (&auth, "/envoy.service.auth.v3.Authorization/Check", Places::Foreign),
            (&auth, HEALTH[0], Places::None),
            (&auth, HEALTH[1], Places::Public),
            (&auth, REFLECTION[0], Places::Public),
            (&auth, "/no.such/Thing", Places::Public),
            (&edge, "/coreloop.edge.v1.EdgeService/GetLiveness", Places::None),
            (&edge, "/coreloop.edge.v1.EdgeService/GetReadiness", Places::None),
        ] {
            assert_eq!(plans.find(path).places, places, "{path}");
        }
    }
}
