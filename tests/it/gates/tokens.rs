//! Bad tokens never pass, good ones always do, at every gate (A1). The table is the access crate's own.

use std::sync::Arc;

use coreloop_access::testing::{Bad, Expect, Issuer, bad_tokens};
use coreloop_testkit::{Answer, Rest, Shared, TestMesh, rpc, run};
use http::header::AUTHORIZATION;

/// A mesh that also publishes the keys of an issuer of ours, so that we can sign what auth never would.
struct Stage {
    mesh: TestMesh,
    issuer: Arc<Issuer>,
}

static STAGE: Shared<Stage> = Shared::new(|| {
    Box::pin(async {
        let issuer = Arc::new(Issuer::new().unwrap());
        let mesh = TestMesh::builder().split().envoy().issuer(Arc::clone(&issuer)).start().await;
        Stage { mesh, issuer }
    })
});

fn name(expect: Expect) -> (u16, &'static str) {
    match expect {
        Expect::Invalid => (401, "TOKEN_INVALID"),
        Expect::Expired => (401, "TOKEN_EXPIRED"),
        Expect::RoleRequired => (403, "ROLE_REQUIRED"),
    }
}

/// White space around a value is not part of it (RFC 9110, 5.5), so such a token arrives as a good one. One that is
/// larger than any head may be never arrives.
fn fits_a_header(bad: &Bad) -> bool {
    let white = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
    !white(bad.token.last()) && bad.token.len() < 12 * 1024
}

async fn over_rest(rest: &Rest, bad: &Bad) -> Option<Answer> {
    if !fits_a_header(bad) {
        return None;
    }
    let mut call = rest.get("/api/v1/auth/me");
    call.headers_mut().insert(AUTHORIZATION, bad.as_header()?);
    Some(call.send().await)
}

/// Every bad token at a REST gate; answers how many could be sent there.
async fn at_rest(stage: &Stage, base: &str) -> usize {
    let rest = Rest::to(base);
    let mut sent = 0;
    for bad in bad_tokens(&stage.issuer, stage.mesh.now()).unwrap() {
        // Each from an address of its own: what is refused counts in the address's budget.
        let Some(answer) = over_rest(&Rest::to(base), &bad).await else { continue };
        let (status, reason) = name(bad.expect);
        let seen = (answer.status.as_u16(), answer.reason());
        assert_eq!(seen, (status, reason.to_owned()), "{}: {}", bad.name, answer.text());
        assert_eq!(answer.header("www-authenticate").is_empty(), status != 401, "{}", bad.name);
        sent += 1;
    }
    for (name, token) in stage.issuer.good_tokens(stage.mesh.now()).unwrap() {
        let answer = rest.get("/api/v1/auth/tokens").bearer(&token).send().await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }
    sent
}

async fn at_grpc(stage: &Stage, base: &str) -> usize {
    let mut sent = 0;
    for bad in bad_tokens(&stage.issuer, stage.mesh.now()).unwrap() {
        let Some(header) = bad.as_header().filter(|_| fits_a_header(&bad)) else { continue };
        let Ok(header) = header.to_str() else { continue };
        let refused =
            rpc::call(&rpc::channel(base), "/coreloop.auth.v1.AuthService/GetMe", &[], &[("authorization", header)])
                .await;
        let status = refused.expect_err(&bad.name);
        let code = if bad.expect == Expect::RoleRequired {
            tonic::Code::PermissionDenied
        } else {
            tonic::Code::Unauthenticated
        };
        assert_eq!(status.code(), code, "{}: {status}", bad.name);
        assert_eq!(rpc::reason(&status), name(bad.expect).1, "{}: {status}", bad.name);
        sent += 1;
    }
    for (name, token) in stage.issuer.good_tokens(stage.mesh.now()).unwrap() {
        let bearer = format!("Bearer {token}");
        let metadata = [("authorization", bearer.as_str())];
        rpc::call(&rpc::channel(base), "/coreloop.auth.v1.AuthService/ListTokens", &[], &metadata)
            .await
            .unwrap_or_else(|s| panic!("{name}: {s}"));
    }
    sent
}

#[test]
fn over_rest_through_envoy() {
    run(async {
        let stage = STAGE.get().await;
        assert!(at_rest(stage, &stage.mesh.front()).await >= 75);
    });
}

#[test]
fn over_rest_at_the_gateway() {
    run(async {
        let stage = STAGE.get().await;
        assert!(at_rest(stage, &stage.mesh.gateway()).await >= 75);
    });
}

#[test]
fn over_grpc_through_envoy() {
    run(async {
        let stage = STAGE.get().await;
        assert!(at_grpc(stage, &stage.mesh.front()).await >= 75);
    });
}

#[test]
fn over_grpc_straight_at_the_service() {
    run(async {
        let stage = STAGE.get().await;
        assert!(at_grpc(stage, &stage.mesh.address_on(0, "auth")).await >= 75);
    });
}

#[test]
fn the_table_has_more_than_eighty_rows() {
    run(async {
        let stage = STAGE.get().await;
        assert!(bad_tokens(&stage.issuer, stage.mesh.now()).unwrap().len() >= 80);
    });
}

#[test]
fn two_tokens_are_no_token() {
    run(async {
        let stage = STAGE.get().await;
        let alice = stage.mesh.persona("alice").await;
        for base in [stage.mesh.front(), stage.mesh.gateway()] {
            for other in [alice.access_token.as_str(), "nonsense", ""] {
                let call = Rest::to(&base).get("/api/v1/auth/me").bearer(&alice.access_token);
                call.header("authorization", &format!("Bearer {other}")).send().await.refused(401, "TOKEN_INVALID");
            }
            for scheme in ["bearer", "BEARER"] {
                let call = Rest::to(&base).get("/api/v1/auth/me");
                let answer = call.header("authorization", &format!("{scheme} {}", alice.access_token)).send().await;
                assert_eq!(answer.status, 200, "the scheme is case-insensitive (RFC 9110)");
            }
            for wrong in [
                alice.access_token.clone(),
                format!("Basic {}", alice.access_token),
                format!("Bearer  {}", alice.access_token),
            ] {
                let call = Rest::to(&base).get("/api/v1/auth/me").header("authorization", &wrong);
                call.send().await.refused(401, "TOKEN_INVALID");
            }
        }
    });
}
