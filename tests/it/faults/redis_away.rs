//! What still works while Redis is away, and for how long (chapter 01, ext_authz; O3). The ten seconds and five minutes of
//! the chapter are settings, shortened here.

use std::time::Duration;

use coreloop_testkit::{
    Persona, TestMesh, figure, run,
    wait::{PATIENCE, wait_for},
    wait_until,
};
use serde_json::json;

/// Waits until the process judges by the revocations in its memory: from then on it may lose Redis.
pub async fn follows(mesh: &TestMesh, alice: &Persona) {
    let asked = || {
        let text = mesh.node(0, "auth").running().metrics.encode();
        text.lines().find_map(|line| line.strip_prefix("coreloop_access_redis_asked_total ").map(str::to_owned))
    };
    wait_until("the revocations are followed", PATIENCE, async || {
        let before = asked();
        alice.get("/api/v1/auth/me").await.status == 200 && before.is_some() && before == asked()
    })
    .await;
}

#[test]
fn without_redis_what_must_be_fresh_is_refused_first_and_all_else_later() {
    run(async {
        let mut mesh = TestMesh::builder()
            .toml("[access]\nblind_after_secs = 2\nblind_limit_secs = 20\nask_timeout_ms = 50\n[limit]\nredis_timeout_ms = 50\n")
            .start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        bob.logout().await;
        follows(&mesh, &alice).await;
        mesh.redis.kill();

        wait_until("the check notices", PATIENCE, async || {
            alice.get("/api/v1/auth/me").await.headers.contains_key("x-auth-degraded")
        })
        .await;
        alice.get("/api/v1/auth/me").await.expect(200);
        assert!(!bob.is_signed_in().await, "what is known to be revoked stays so");

        let fresh = wait_for("what must be fresh is refused", PATIENCE, async || {
            let fresh = alice.delete("/api/v1/auth/tokens/0192f0c4-7f5e-7000-8000-000000000000").await;
            (fresh.status != 404).then_some(fresh)
        })
        .await;
        fresh.refused(503, "REVOCATION_UNKNOWN");
        assert!(!fresh.header("retry-after").is_empty());
        let me = alice.get("/api/v1/auth/me").await;
        assert_eq!(me.status, 200, "what need not be fresh goes on: {}", me.text());
        assert!(me.headers.contains_key("x-auth-degraded"), "and is marked");
        mesh.rest().get("/api/v1/auth/me").bearer("nonsense").send().await.refused(401, "TOKEN_INVALID");

        let me = wait_for("everybody is refused", PATIENCE * 2, async || {
            let me = alice.get("/api/v1/auth/me").await;
            (me.status != 200).then_some(me)
        })
        .await;
        me.refused(503, "REVOCATION_UNKNOWN");
        assert_eq!(mesh.rest().get("/openapi.json").send().await.status, 200, "what is public goes on");

        mesh.redis.resurrect().await;
        wait_until("all is well again", PATIENCE, async || {
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
        let mut mesh = TestMesh::builder().stand_ins().start().await;
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
        let mesh = TestMesh::builder().toml("[access]\nask_timeout_ms = 50\n").start().await;
        let alice = mesh.persona("alice").await;
        follows(&mesh, &alice).await;
        mesh.redis.freeze();
        wait_until("calls are served", PATIENCE, async || {
            alice
                .rest()
                .get("/api/v1/auth/me")
                .within(figure(Duration::from_secs(1)))
                .try_send()
                .await
                .is_ok_and(|a| a.status == 200)
        })
        .await;
        mesh.redis.thaw();
        wait_until("all is well again", figure(Duration::from_secs(3)), async || {
            let me = alice.get("/api/v1/auth/me").await;
            me.status == 200 && !me.headers.contains_key("x-auth-degraded")
        })
        .await;
    });
}

#[test]
fn nothing_revoked_comes_back_with_a_redis_that_comes_back_with_what_it_saved() {
    run(async {
        let mut mesh = TestMesh::builder().start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        follows(&mesh, &alice).await;
        let mut connection = mesh.redis.connect().await;
        let () = redis::cmd("SAVE").query_async(&mut connection).await.unwrap();
        bob.logout().await;
        let unpublished = "select count(*) from auth.revocations where published_at is null";
        assert_eq!(mesh.db.count(unpublished).await, 0, "nobody would publish it again");
        // Redis comes back as of before; no process remembers more.
        mesh.redis.kill();
        mesh.node_mut(0, "auth").kill().await;
        mesh.redis.resurrect().await;
        mesh.node_mut(0, "auth").start().await;
        wait_until("alice is admitted", PATIENCE, async || alice.get("/api/v1/auth/me").await.status == 200).await;
        bob.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
    });
}
