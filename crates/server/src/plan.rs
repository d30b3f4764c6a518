//! What is known of each RPC before any call: its names, its rules, its metrics. Read once from the descriptors.

use std::{collections::HashMap, sync::Arc, time::Duration};

use coreloop_service::Target;
use coreloop_transcode::{descriptor, options};
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
    /// Health is answered also by a service that is full.
    pub(crate) always: bool,
}

/// The RPCs of one module.
pub(crate) struct Plans {
    by_path: HashMap<String, Arc<Plan>>,
    unknown: Arc<Plan>,
}

impl Plans {
    pub(crate) fn of(module: &str, foreign: &[&str], red: &Red) -> Self {
        let package = format!("coreloop.{module}.");
        let validator = Arc::new(Validator::new());
        let mut by_path = HashMap::new();
        let own = |service: &ServiceDescriptor| {
            service.full_name().starts_with(&package) || foreign.contains(&service.full_name())
        };
        for service in descriptor::pool().services().filter(own) {
            for method in service.methods() {
                let plan = Plan::of(module, &service, &method, &validator, red);
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
    fn of(
        module: &str,
        service: &ServiceDescriptor,
        method: &MethodDescriptor,
        validator: &Arc<Validator>,
        red: &Red,
    ) -> Self {
        let deadline =
            options::edge(method).and_then(|edge| edge.default_deadline).and_then(|time| time.try_into().ok());
        Self {
            target: target(module, service.full_name(), method.name()),
            red: red.rpc(service.full_name(), method.name()),
            rules: Rules::of(method.input(), validator).filter(|_| !method.is_client_streaming()),
            unary_request: !method.is_client_streaming(),
            unary_response: !method.is_server_streaming(),
            deadline,
            quiet: !service.full_name().starts_with("coreloop."),
            always: false,
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
            unary_response: path == "/grpc.health.v1.Health/Check",
            deadline: None,
            quiet: HEALTH.contains(&path) || REFLECTION.contains(&path),
            always: HEALTH.contains(&path),
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
}
