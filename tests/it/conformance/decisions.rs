//! Role × RPC over every gate (A9, O2): the expected decision is computed from the access option, not from our policy code.

use std::collections::BTreeSet;

use coreloop_testkit::{Admin, Answer, Persona, Rest, TestMesh, rest::Call, rpc, run, wait::wait_for};
use coreloop_transcode::{
    options,
    pb::option::{Access, Level},
    router::{self, Route},
};
use futures::future::join_all;
use http::Method;
use prost_reflect::MethodDescriptor;
use serde_json::json;
use tonic::transport::Channel;

use super::policy::methods;
use crate::{
    eco::stage::LONG,
    meshes::{APART, TOGETHER},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Anonymous,
    Standard,
    Premium,
    Vip,
    Admin,
    Internal,
}

const ROLES: [Role; 6] = [Role::Anonymous, Role::Standard, Role::Premium, Role::Vip, Role::Admin, Role::Internal];

/// What the gate says; what the handler says after it does not matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Passed,
    WhoAreYou,
    MayNot,
}

/// The decision by the words of the specification.
fn expected(access: &Access, role: Role, from_outside: bool) -> Said {
    if access.mesh_only && from_outside {
        return Said::MayNot;
    }
    let level = Level::try_from(access.level).unwrap();
    let enough: &[Role] = match level {
        Level::Unspecified => &[],
        Level::Public | Level::Optional => &ROLES,
        Level::Standard => &[Role::Standard, Role::Premium, Role::Vip],
        Level::Premium => &[Role::Premium, Role::Vip],
        Level::Vip => &[Role::Vip],
        Level::Admin => &[Role::Admin],
        Level::Internal => &[Role::Internal],
    };
    let of_users = [Level::Standard, Level::Premium, Level::Vip].contains(&level);
    if enough.contains(&role) || (access.admins && of_users && role == Role::Admin) {
        Said::Passed
    } else if role == Role::Anonymous {
        Said::WhoAreYou
    } else {
        Said::MayNot
    }
}

fn said(reason: &str) -> Said {
    match reason {
        "TOKEN_MISSING" | "TOKEN_INVALID" | "TOKEN_EXPIRED" | "TOKEN_REVOKED" => Said::WhoAreYou,
        "ROLE_REQUIRED" | "ACCESS_DENIED" => Said::MayNot,
        "ROUTE_NOT_FOUND" | "METHOD_NOT_ALLOWED" | "REVOCATION_UNKNOWN" | "DEPENDENCY_UNAVAILABLE" => {
            panic!("the gate could not decide: {reason}")
        }
        _ => Said::Passed,
    }
}

/// A caller that the gate of an RPC lets pass.
pub(super) fn good_enough(access: &Access) -> Role {
    ROLES.into_iter().find(|role| expected(access, *role, false) == Said::Passed).unwrap()
}

/// The callers of a mesh. Calls of auth that pass may end a session, so people sign in again where needed.
pub(super) struct Callers {
    /// Who has called auth since it was last known that they are signed in.
    doubted: BTreeSet<Role>,
    people: Vec<(Role, Persona)>,
    account: Admin,
    admin: Persona,
    machines: Vec<(String, String)>,
}

impl Callers {
    pub(super) async fn of(mesh: &TestMesh) -> Self {
        let mut people = vec![(Role::Standard, mesh.persona("standard").await)];
        people.push((Role::Premium, mesh.persona_with_role("premium", "PREMIUM").await));
        people.push((Role::Vip, mesh.persona_with_role("vip", "VIP").await));
        let mut machines = Vec::new();
        for target in mesh.modules() {
            machines.push(((*target).to_owned(), mesh.machine_token("tester", target).await));
        }
        let account = mesh.admin_account().await;
        let signed_in = account.try_login(&account.code_at(mesh.now())).await.expect(200);
        Self {
            doubted: BTreeSet::new(),
            people,
            admin: Persona::signed_in(account.visitor.clone(), &signed_in),
            account,
            machines,
        }
    }

    pub(super) async fn token(&mut self, role: Role, target: &str) -> String {
        let doubted = self.doubted.remove(&role);
        if target == "auth" {
            self.doubted.insert(role);
        }
        match role {
            Role::Anonymous => String::new(),
            Role::Admin => {
                if doubted && self.admin.get("/api/v1/auth/admin/invites").await.status == 401 {
                    // A code of the second factor is good once in its half minute; a recovery code whenever it is needed.
                    let (visitor, code) =
                        (self.account.visitor.elsewhere(), self.account.recovery_codes.pop().unwrap());
                    let signed_in = self.account.try_login_from(&visitor, &code).await.expect(200);
                    self.admin = Persona::signed_in(visitor, &signed_in);
                }
                self.admin.access_token.clone()
            }
            Role::Internal => self.machines.iter().find(|(name, _)| name == target).unwrap().1.clone(),
            person => {
                let (_, persona) = self.people.iter_mut().find(|(role, _)| *role == person).unwrap();
                if doubted && !persona.is_signed_in().await {
                    *persona = persona.visitor.elsewhere().login().await;
                }
                persona.access_token.clone()
            }
        }
    }
}

impl Callers {
    /// Has everybody call a method, side by side.
    async fn each(&mut self, method: &MethodDescriptor, call: impl AsyncFn(Role, String)) {
        let (target, mut tokens) = (target(method), Vec::new());
        for role in ROLES {
            tokens.push((role, self.token(role, &target).await));
        }
        join_all(tokens.into_iter().map(|(role, token)| call(role, token))).await;
    }
}

pub(super) fn target(method: &MethodDescriptor) -> String {
    method.parent_service().full_name().split('.').nth(1).unwrap().to_owned()
}

/// A call over gRPC with a message that is none, so that nothing is done by a call that passes.
async fn over_grpc(channel: &Channel, method: &MethodDescriptor, token: &str) -> Said {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let bearer = format!("Bearer {token}");
    let metadata: Vec<(&str, &str)> = if token.is_empty() { vec![] } else { vec![("authorization", &bearer)] };
    match rpc::call(channel, &path, &[0xff, 0xff], &metadata).await {
        Ok(_) => Said::Passed,
        Err(status) => {
            assert_ne!(status.code(), tonic::Code::Internal, "{path}: {status}");
            said(&rpc::reason(&status))
        }
    }
}

/// The words of a gate that cannot know anybody.
const KEYS_UNKNOWN: &str = "tokens cannot be verified now";

/// A path that the route's template admits.
pub fn sample_path(route: &Route) -> String {
    route.template.fill(|_| {
        let provider =
            route.template.variables().iter().any(|variable| format!("{:?}", variable.path).contains("provider"));
        if provider { "google".to_owned() } else { "0192f0c4-7f5e-7000-8000-000000000000".to_owned() }
    })
}

/// What is said for whoever is away for a moment: by a handler, by the edge, or by an Envoy whose gate did not answer in time. Which of
/// them it was nobody can tell, so it is asked again, as it says.
fn is_undecided(answer: &Answer) -> bool {
    answer.reason() == "DEPENDENCY_UNAVAILABLE" && answer.text().contains("a part that this call needs is away")
}

/// The answer to a call; of a stream, which may never end, what it is opened with.
async fn answered(call: &Call, is_stream: bool) -> Answer {
    let open = call.clone().open().await;
    let (status, headers) = (open.status, open.headers.clone());
    let body = if is_stream && status == 200 { Vec::new() } else { open.rest().await.unwrap() };
    Answer { status, headers, body: body.into() }
}

async fn over_rest(rest: &Rest, route: &Route, token: &str) -> Said {
    let method: Method = route.http_method.parse().unwrap();
    let mut call = rest.call(method.clone(), &sample_path(route)).bearer(token);
    if [Method::POST, Method::PUT, Method::PATCH].contains(&method) {
        call = call.json(&json!({}));
    }
    let answer = wait_for(format!("{} {} is decided", route.http_method, route.rpc_path), LONG, async || {
        Some(answered(&call, route.server_streaming).await).filter(|answer| !is_undecided(answer))
    })
    .await;
    assert_ne!(answer.status, 500, "{} {}: {}", route.http_method, route.rpc_path, answer.text());
    // What a handler does without the gate has let pass.
    let reason = answer.reason();
    let handled = reason == "DEPENDENCY_UNAVAILABLE" && !answer.text().contains(KEYS_UNKNOWN);
    let said = if handled { Said::Passed } else { said(&reason) };
    match said {
        Said::WhoAreYou => assert_eq!(answer.status, 401, "{}", answer.text()),
        Said::MayNot => assert_eq!(answer.status, 403, "{}", answer.text()),
        Said::Passed => {}
    }
    said
}

#[test]
fn every_role_at_every_rpc_straight_at_the_service() {
    run(async {
        let mesh = APART.get().await;
        let mut callers = Callers::of(mesh).await;
        for method in methods() {
            let access = options::access(&method).unwrap();
            let channel = mesh.grpc(&target(&method));
            callers
                .each(&method, async |role, token| {
                    let said = over_grpc(&channel, &method, &token).await;
                    assert_eq!(said, expected(&access, role, false), "{role:?} at {}", method.full_name());
                })
                .await;
        }
    });
}

#[test]
fn every_role_at_every_rpc_through_envoy() {
    run(async {
        let mesh = TOGETHER.get().await;
        let mut callers = Callers::of(mesh).await;
        for method in methods() {
            let access = options::access(&method).unwrap();
            callers
                .each(&method, async |role, token| {
                    let said = over_grpc(&rpc::channel(&mesh.front()), &method, &token).await;
                    assert_eq!(said, expected(&access, role, true), "{role:?} at {}", method.full_name());
                })
                .await;
        }
    });
}

async fn every_role_at_every_binding(mesh: &TestMesh, base: &str) {
    let mut callers = Callers::of(mesh).await;
    let mut seen = 0;
    for route in router::router().routes() {
        let access = route.access.unwrap();
        callers
            .each(&route.method, async |role, token| {
                // Every call from an address of its own, so that no limit by address answers instead of the gate.
                let rest = Rest::from(Some(mesh.visitor("caller").source), base);
                let said = over_rest(&rest, route, &token).await;
                assert_eq!(
                    said,
                    expected(&access, role, true),
                    "{role:?} at {} {}",
                    route.http_method,
                    sample_path(route)
                );
            })
            .await;
        seen += ROLES.len();
    }
    assert!(seen > 200, "only {seen} decisions were looked at");
}

#[test]
fn every_role_at_every_binding_through_envoy() {
    run(async {
        let mesh = APART.get().await;
        every_role_at_every_binding(mesh, &mesh.front()).await;
    });
}

#[test]
fn every_role_at_every_binding_at_the_gateway() {
    run(async {
        let mesh = TOGETHER.get().await;
        every_role_at_every_binding(mesh, &mesh.gateway()).await;
    });
}

#[test]
fn a_machine_token_for_one_service_is_refused_at_another() {
    run(async {
        let mesh = APART.get().await;
        let token = mesh.machine_token("tester", "edge").await;
        let method = methods().find(|method| method.name() == "CheckToken").unwrap();
        assert_eq!(over_grpc(&mesh.grpc("auth"), &method, &token).await, Said::WhoAreYou);
    });
}
