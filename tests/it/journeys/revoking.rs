//! Revoked is refused everywhere, at once, and stays so (A2).

use std::time::Duration;

use coreloop_testkit::{Persona, TestMesh, run, wait_until};
use serde_json::json;

in_both_topologies! {
    async fn a_person_sees_and_ends_their_sessions(mesh) {
        let phone = mesh.persona("alice").await;
        let tablet = phone.visitor.elsewhere().login().await;
        let sessions = tablet.get("/api/v1/auth/tokens").await.expect(200)["tokens"].clone();
        let sessions = sessions.as_array().unwrap();
        assert_eq!(sessions.len(), 2);
        assert_eq!(sessions[0]["current"], true, "newest first, and it is ours");
        assert_eq!(sessions[0]["device_name"], "test phone");
        assert_eq!(sessions[0]["ip"], tablet.visitor.source.to_string());

        let jti = sessions[1]["jti"].as_str().unwrap();
        tablet.delete(&format!("/api/v1/auth/tokens/{jti}")).await.expect(200);
        phone.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        assert!(tablet.is_signed_in().await);
        tablet.delete(&format!("/api/v1/auth/tokens/{jti}")).await.refused(404, "NOT_FOUND");
    }

    async fn a_person_cannot_end_the_session_of_another(mesh) {
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let sessions = alice.get("/api/v1/auth/tokens").await.expect(200);
        let jti = sessions["tokens"][0]["jti"].as_str().unwrap();
        bob.delete(&format!("/api/v1/auth/tokens/{jti}")).await.refused(404, "NOT_FOUND");
        assert!(alice.is_signed_in().await);
        bob.delete("/api/v1/auth/tokens/not-an-id").await.refused(400, "VALIDATION_FAILED");
    }

    async fn signing_out_everywhere_ends_every_session(mesh) {
        let phone = mesh.persona("alice").await;
        let tablet = phone.visitor.elsewhere().login().await;
        let bob = mesh.persona("bob").await;
        assert_eq!(phone.post("/api/v1/auth/logout-all", &json!({})).await.expect(200)["ended"], 2);
        for session in [&phone, &tablet] {
            session.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
            assert_eq!(session.try_refresh().await.status, 401);
        }
        assert!(bob.is_signed_in().await);
    }

    async fn withdrawal_erases_the_person_and_ends_the_sessions(mesh) {
        let alice = mesh.persona("alice").await;
        let wrong = json!({"password": "not the password"});
        alice.post("/api/v1/auth/withdraw", &wrong).await.refused(401, "INVALID_CREDENTIALS");
        assert!(alice.is_signed_in().await);
        alice.post("/api/v1/auth/withdraw", &json!({"password": coreloop_testkit::PASSWORD})).await.expect(200);
        alice.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        assert_eq!(alice.try_refresh().await.status, 401);
        alice.visitor.elsewhere().try_login(coreloop_testkit::PASSWORD).await.refused(401, "INVALID_CREDENTIALS");
        let left = format!("select count(*) from auth.users where email = '{}' or nickname = 'alice' and id = '{}'",
            alice.visitor.email, alice.user_id);
        assert_eq!(mesh.db.count(&left).await, 0, "personal data is erased");
        let again = alice.visitor.elsewhere().sign_up().await;
        assert_ne!(again.user_id, alice.user_id, "the address is free again");
    }
}

/// Asks both replicas, at the gateway and straight at the service, whether the token is accepted.
async fn accepted_anywhere(mesh: &TestMesh, persona: &Persona) -> bool {
    for replica in 0..2 {
        if persona.at(&mesh.gateway_on(replica)).is_signed_in().await {
            return true;
        }
        let token = format!("Bearer {}", persona.access_token);
        let channel = mesh.grpc_on(replica, "auth");
        let me = "/coreloop.auth.v1.AuthService/GetMe";
        if coreloop_testkit::rpc::call(&channel, me, &[], &[("authorization", &token)]).await.is_ok() {
            return true;
        }
    }
    false
}

#[test]
fn a_revocation_reaches_the_other_replica_within_a_second() {
    run(async {
        let mesh = TestMesh::builder().split().replicas(2).start().await;
        for _ in 0..5 {
            let alice = mesh.persona("alice").await;
            let other = alice.at(&mesh.gateway_on(1));
            assert!(other.is_signed_in().await);
            alice.logout().await;
            assert!(!alice.is_signed_in().await, "not once after the answer");
            wait_until("the other replica refuses", Duration::from_secs(1), async || !other.is_signed_in().await).await;
            assert!(!accepted_anywhere(&mesh, &alice).await);
        }
    });
}

#[test]
fn revoked_stays_revoked_after_redis_comes_back_empty() {
    run(async {
        let mut mesh = TestMesh::builder().replicas(2).start().await;
        let alice = mesh.persona("alice").await;
        alice.logout().await;
        mesh.redis.flush().await;
        assert!(!alice.is_signed_in().await);
        mesh.redis.kill();
        assert!(!alice.is_signed_in().await);
        mesh.redis.resurrect().await;
        let bob = wait_for_sign_in(&mesh).await;
        assert!(!accepted_anywhere(&mesh, &alice).await);
        wait_until("Redis is filled again", Duration::from_secs(5), async || bob.is_signed_in().await).await;
        assert!(!accepted_anywhere(&mesh, &alice).await);
        bob.logout().await;
        wait_until("both refuse", Duration::from_secs(5), async || !accepted_anywhere(&mesh, &bob).await).await;
        assert!(!accepted_anywhere(&mesh, &alice).await);
    });
}

#[test]
fn revoked_stays_revoked_in_a_replica_that_starts_on_an_empty_redis() {
    run(async {
        let mut mesh = TestMesh::builder().replicas(2).start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        alice.logout().await;
        mesh.node_mut(0, "auth").kill().await;
        mesh.node_mut(1, "auth").kill().await;
        mesh.redis.flush().await;
        mesh.node_mut(0, "auth").start().await;
        mesh.node_mut(1, "auth").start().await;
        assert!(!accepted_anywhere(&mesh, &alice).await);
        assert!(bob.is_signed_in().await, "others are not signed out by it");
    });
}

async fn wait_for_sign_in(mesh: &TestMesh) -> Persona {
    coreloop_testkit::wait::wait_for("somebody can sign up again", Duration::from_secs(5), async || {
        let bob = mesh.visitor("bob");
        let answer = bob.post("/api/v1/auth/signup", &bob.sign_up_body()).await;
        (answer.status == 201).then(|| Persona::signed_in(bob, &answer.json()))
    })
    .await
}
