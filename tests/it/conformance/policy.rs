//! Every RPC states what its contract needs (A9).

use coreloop_transcode::{descriptor, options, pb::option::Level};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use prost_types::method_options::IdempotencyLevel;

/// Every RPC of ours.
pub fn methods() -> impl Iterator<Item = MethodDescriptor> {
    let ours = |service: &prost_reflect::ServiceDescriptor| service.full_name().starts_with("coreloop.");
    descriptor::pool().services().filter(ours).flat_map(|service| service.methods().collect::<Vec<_>>())
}

/// The lines of an RPC's comment.
pub fn lines(method: &MethodDescriptor) -> Vec<String> {
    let file = method.parent_file();
    let path = method.path();
    let locations = &file.file_descriptor_proto().source_code_info.as_ref().unwrap().location;
    let comment = locations.iter().find(|location| location.path == path).map(|l| l.leading_comments()).unwrap_or("");
    comment.trim_end().lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn every_rpc_states_who_may_call_it() {
    let mut seen = 0;
    for method in methods() {
        let access = options::access(&method).unwrap_or_else(|| panic!("{} has no access option", method.full_name()));
        let level = Level::try_from(access.level).unwrap();
        assert_ne!(level, Level::Unspecified, "{}", method.full_name());
        seen += 1;
    }
    assert!(seen >= 35, "only {seen} RPCs were looked at");
}

#[test]
fn every_rpc_has_the_five_lines() {
    for method in methods() {
        let lines = lines(&method);
        assert_eq!(lines.len(), 5, "{}: {lines:?}", method.full_name());
        for (line, begins) in lines[1..].iter().zip(["Permission:", "Idempotency:", "Emits:", "Reasons:"]) {
            assert!(line.starts_with(begins), "{}: {line}", method.full_name());
        }
    }
}

/// RPCs that change something and may be called as often as somebody likes: they end what there is of the caller's, once; mint for
/// machines that have the mesh's secret; or read.
const UNLIMITED: [&str; 6] = ["Logout", "LogoutAll", "RevokeToken", "MintInternalToken", "GetOpenApi", "GetDocs"];

#[test]
fn every_rpc_that_people_change_something_by_states_how_often() {
    for method in methods() {
        let level = Level::try_from(options::access(&method).unwrap().level).unwrap();
        let people = !matches!(level, Level::Admin | Level::Internal);
        let described = method.method_descriptor_proto().options.as_ref();
        let reads = described.is_some_and(|options| options.idempotency_level() == IdempotencyLevel::NoSideEffects);
        let free = reads || UNLIMITED.contains(&method.name());
        let limited = options::rate_limit(&method).is_some();
        assert!(!people || free || limited, "{}", method.full_name());
    }
}

#[test]
fn every_foreign_service_that_is_served_has_a_policy() {
    let foreign = options::foreign_access(descriptor::pool());
    for service in
        ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "envoy.service.auth.v3.Authorization"]
    {
        assert!(foreign.iter().any(|entry| entry.service == service), "{service}");
    }
}

#[test]
fn an_rpc_without_an_option_is_denied_to_everybody() {
    let mut set =
        prost_types::FileDescriptorSet { file: descriptor::pool().file_descriptor_protos().cloned().collect() };
    let mut stripped = 0;
    for file in &mut set.file {
        for service in file.service.iter_mut().filter(|_| file.package.as_deref() == Some("coreloop.auth.v1")) {
            for method in &mut service.method {
                method.options = None;
                stripped += 1;
            }
        }
    }
    assert!(stripped > 20);
    let pool = DescriptorPool::from_file_descriptor_set(set).unwrap();
    let policy = coreloop_access::Policy::of_pool(&pool).unwrap();
    let denied = policy.rpcs().filter(|rpc| &*rpc.target == "auth").all(|rpc| rpc.level == Level::Unspecified);
    assert!(denied);
}
