//! What still works while Redis is away, and for how long (chapter 01, ext_authz; O3).

use std::time::Duration;

use coreloop_testkit::{TestMesh, run, wait_until};
use jiff::SignedDuration;
use serde_json::json;

#[test]
fn without_redis_what_must_be_fresh_is_refused_after_ten_seconds_and_all_else_after_five_minutes() {
    run(async {
        let mut mesh = TestMesh::builder().setting("auth.access_ttl_secs", 3_600).start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        bob.logout().await;
        mesh.redis.kill();

        wait_until("the check notices", Duration::from_secs(5), async || {
            alice.get("/api/v1/auth/me").await.headers.contains_key("x-auth-degraded")
        })
        .await;
        alice.get("/api/v1/auth/me").await.expect(200);
        assert!(!bob.is_signed_in().await, "what is known to be revoked stays so");

        mesh.clock.advance(SignedDuration::from_secs(11));
        let fresh = alice.post("/api/v1/auth/age", &json!({"birth_date": "1990-01-01"})).await;
        fresh.refused(503, "REVOCATION_UNKNOWN");
        assert!(!fresh.header("retry-after").is_empty());
        let me = alice.get("/api/v1/auth/me").await;
        assert_eq!(me.status, 200, "what need not be fresh goes on: {}", me.text());
        assert!(me.headers.contains_key("x-auth-degraded"), "and is marked");
        mesh.rest().get("/api/v1/auth/me").bearer("nonsense").send().await.refused(401, "TOKEN_INVALID");

        mesh.clock.advance(SignedDuration::from_secs(300));
        alice.get("/api/v1/auth/me").await.refused(503, "REVOCATION_UNKNOWN");
        assert_eq!(mesh.rest().get("/openapi.json").send().await.status, 200, "what is public goes on");

        mesh.redis.resurrect().await;
        wait_until("all is well again", Duration::from_secs(5), async || {
            let me = alice.get("/api/v1/auth/me").await;
            me.status == 200 && !me.headers.contains_key("x-auth-degraded")
        })
        .await;
        alice.post("/api/v1/auth/age", &json!({"birth_date": "1990-01-01"})).await.expect(200);
        assert!(!bob.is_signed_in().await, "nothing revoked came back");
    });
}

#[test]
fn people_sign_in_while_redis_is_away() {
    run(async {
        let mut mesh = TestMesh::start().await;
        let alice = mesh.persona("alice").await;
        mesh.redis.kill();
        assert_eq!(alice.visitor.elsewhere().try_login(coreloop_testkit::PASSWORD).await.status, 200);
        alice.visitor.elsewhere().try_login("not the password").await.refused(401, "INVALID_CREDENTIALS");
        assert_eq!(alice.try_refresh().await.status, 200);
        let social = alice.visitor.get("/api/v1/auth/authorize/google").await;
        assert_eq!(social.status, 503, "a state cannot be kept: {}", social.text());
    });
}

#[test]
fn a_frozen_redis_is_as_good_as_none() {
    run(async {
        let mesh = TestMesh::start().await;
        let alice = mesh.persona("alice").await;
        mesh.redis.freeze();
        wait_until("calls are served", Duration::from_secs(5), async || {
            alice.rest().get("/api/v1/auth/me").within(Duration::from_millis(500)).try_send().await.is_ok_and(|a| a.status == 200)
        })
        .await;
        mesh.redis.thaw();
        wait_until("all is well again", Duration::from_secs(3), async || {
            let me = alice.get("/api/v1/auth/me").await;
            me.status == 200 && !me.headers.contains_key("x-auth-degraded")
        })
        .await;
    });
}
