//! Every RPC, asked by everybody. What is expected is written down here apart from the gate.

use coreloop_core::Reason;
use coreloop_transcode::{descriptor, options, pb::option::Level};

use super::{ISSUER, World, outcome};
use crate::{Decision, HeaderView, Policy, Role};

/// Somebody who asks.
struct Asker {
    name: &'static str,
    token: Option<String>,
    /// Levels (by number) that admit.
    admitted: &'static [Level],
    /// The refusal elsewhere.
    refusal: Reason,
}

const ANY: [Level; 2] = [Level::Public, Level::Optional];

fn askers(world: &World, target: &str) -> Vec<Asker> {
    let now = world.now();
    let sign = |claims| Some(ISSUER.sign(&claims).unwrap());
    let user = |name, roles: &[Role], admitted| Asker {
        name,
        token: sign(ISSUER.access(now, roles)),
        admitted,
        refusal: Reason::RoleRequired,
    };
    vec![
        Asker { name: "nobody", token: None, admitted: &ANY, refusal: Reason::TokenMissing },
        user("standard", &[Role::Standard], &[Level::Public, Level::Optional, Level::Standard]),
        user("premium", &[Role::Premium], &[Level::Public, Level::Optional, Level::Standard, Level::Premium]),
        user("vip", &[Role::Vip], &[Level::Public, Level::Optional, Level::Standard, Level::Premium, Level::Vip]),
        // The role alone, without the second factor's token, opens nothing of the administrators'.
        user(
            "user with role admin",
            &[Role::Standard, Role::Admin],
            &[Level::Public, Level::Optional, Level::Standard],
        ),
        Asker {
            name: "administrator",
            token: sign(ISSUER.admin(now)),
            admitted: &[Level::Public, Level::Optional, Level::Admin],
            refusal: Reason::RoleRequired,
        },
        Asker {
            name: "machine",
            token: sign(ISSUER.internal(now, "edge", target)),
            admitted: &[Level::Public, Level::Optional, Level::Internal],
            refusal: Reason::RoleRequired,
        },
        Asker {
            name: "machine with another service's token",
            token: sign(ISSUER.internal(now, "edge", "elsewhere")),
            admitted: &[Level::Public],
            refusal: Reason::TokenInvalid,
        },
        Asker {
            name: "refresh token",
            token: sign(ISSUER.refresh(now)),
            admitted: &[Level::Public],
            refusal: Reason::TokenInvalid,
        },
        Asker {
            name: "garbage",
            token: Some("x.y.z".into()),
            admitted: &[Level::Public],
            refusal: Reason::TokenInvalid,
        },
    ]
}

#[tokio::test]
async fn every_rpc_admits_whom_its_option_names_and_nobody_else() {
    let world = World::new();
    let (mut cells, mut beside) = (0, 0);
    for rpc in world.gate.policy().rpcs() {
        for asker in askers(&world, &rpc.target) {
            for from_edge in [false, true] {
                let decision =
                    world.gate.decide_rpc(&rpc.path, &HeaderView::Token(asker.token.as_deref()), from_edge).await;
                let got = outcome(decision).map_err(|denied| denied.reason());
                let expected = if rpc.mesh_only && from_edge {
                    Err(Reason::AccessDenied)
                } else if asker.admitted.contains(&rpc.level) {
                    Ok(())
                } else if asker.name == "administrator" && rpc.admins {
                    beside += 1;
                    Ok(())
                } else {
                    Err(asker.refusal)
                };
                assert_eq!(got, expected, "{} by {} (from edge: {from_edge})", rpc.path, asker.name);
                cells += 1;
            }
        }
    }
    assert!(cells >= 20 * 35 && beside >= 2, "{cells}, {beside} of administrators beside users");
}

#[test]
fn the_policy_is_what_the_descriptors_say() {
    let policy = Policy::committed().unwrap();
    let mut count = 0;
    for service in descriptor::pool().services().filter(|service| service.full_name().starts_with("coreloop.")) {
        for method in service.methods() {
            let option = options::access(&method).unwrap();
            let rpc = policy.rpc(&format!("/{}/{}", service.full_name(), method.name())).unwrap();
            assert_eq!((rpc.level as i32, rpc.fresh, rpc.mesh_only), (option.level, option.fresh, option.mesh_only));
            assert_eq!(rpc.admins, option.admins);
            count += 1;
        }
    }
    assert_eq!(policy.rpcs().count(), count);
    assert_eq!(policy.rpc("/coreloop.auth.v1.AuthService/GetMe").unwrap().target.as_ref(), "auth");
}

#[test]
fn foreign_services_have_the_access_that_is_written_and_others_none() {
    let policy = Policy::committed().unwrap();
    for path in [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/envoy.service.auth.v3.Authorization/Check",
    ] {
        assert_eq!(policy.rpc(path).unwrap().level, Level::Public, "{path}");
    }
    assert!(policy.rpc("/envoy.service.auth.v3.Authorization/Check").unwrap().mesh_only);
    for path in [
        "/grpc.health.v1.Health",
        "/grpc.health.v1.Health/",
        "/grpc.health.v1.Health/a/b",
        "/other.v1.Service/Do",
        "",
        "/",
        "//",
    ] {
        assert!(policy.rpc(path).is_none(), "{path}");
    }
}

#[tokio::test]
async fn public_looks_at_no_token_and_optional_knows_the_caller() {
    let world = World::new();
    let token = world.token(&[Role::Standard]);
    let headers = HeaderView::Token(Some(&token));
    let Decision::Allow(public) = world.gate.decide_rpc("/coreloop.auth.v1.AuthService/Login", &headers, true).await
    else {
        panic!("refused")
    };
    assert!(public.caller.user().is_none());
    let Decision::Allow(optional) = world.gate.decide_rpc(super::AUTHORIZE, &headers, true).await else {
        panic!("refused")
    };
    assert!(optional.caller.user().is_some());
}
