//! Revoked is refused everywhere, at once, and stays so (A2).

use std::time::Duration;

use coreloop_testkit::{Persona, TestMesh, figure, rpc, run, wait::PATIENCE, wait_until};
use serde_json::json;
use tonic::Code;

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
        alice.post("/api/v1/auth/age", &json!({"birth_date": "1987-06-05"})).await.expect(200);
        let google = format!("google-{}", alice.user_id);
        mesh.db.execute(&format!("insert into auth.social_accounts (provider, provider_user_id, user_id, email, linked_at)
            values ('google', '{google}', '{}', '{}', now())", alice.user_id, alice.visitor.email)).await;
        let known = [alice.visitor.email.as_str(), &alice.visitor.source.to_string(), &alice.visitor.device_id, &google].map(str::to_owned);
        for what in &known {
            assert_ne!(mentions(mesh, what).await, Vec::<String>::new(), "{what} was kept nowhere");
        }
        // One that is stored while she leaves is masked by the next sweep only, in a minute.
        let audited = format!("select count(*) from auth.login_audits where user_id = '{}'", alice.user_id);
        wait_until("her sign-up is audited", PATIENCE, async || mesh.db.count(&audited).await == 1).await;
        let wrong = json!({"password": "not the password"});
        alice.post("/api/v1/auth/withdraw", &wrong).await.refused(401, "INVALID_CREDENTIALS");
        assert!(alice.is_signed_in().await);
        alice.post("/api/v1/auth/withdraw", &json!({"password": coreloop_testkit::PASSWORD})).await.expect(200);
        alice.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        assert_eq!(alice.try_refresh().await.status, 401);
        alice.visitor.elsewhere().try_login(coreloop_testkit::PASSWORD).await.refused(401, "INVALID_CREDENTIALS");
        for what in &known {
            wait_until(format!("{what} is erased"), PATIENCE, async || mentions(mesh, what).await.is_empty()).await;
        }
        let left = format!("select count(*) from auth.users where id = '{}' and not (nickname = 'withdrawn' and birth_date is null
            and not email_verified and age_state = 'unknown' and status = 'withdrawn')", alice.user_id);
        assert_eq!(mesh.db.count(&left).await, 0, "personal data is erased");
        for table in ["credentials", "social_accounts", "totp_secrets", "recovery_codes", "password_resets", "admin_devices"] {
            let left = format!("select count(*) from auth.{table} where user_id = '{}'", alice.user_id);
            assert_eq!(mesh.db.count(&left).await, 0, "{table}");
        }
        let again = alice.visitor.elsewhere().sign_up().await;
        assert_ne!(again.user_id, alice.user_id, "the address is free again");
    }
}

/// The tables of auth with a row that mentions `what`.
async fn mentions(mesh: &TestMesh, what: &str) -> Vec<String> {
    let mut connection = mesh.db.connect().await;
    let tables: Vec<String> =
        sqlx::query_scalar("select tablename::text from pg_tables where schemaname = 'auth' order by 1")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert!(tables.iter().any(|table| table == "login_audits"), "{tables:?}");
    let mut found = Vec::new();
    for table in tables {
        let word = format!(r"select count(*) from auth.{table} r where r::text ~ '\m{}\M'", what.replace('.', r"\."));
        if mesh.db.count(&word).await > 0 {
            found.push(table);
        }
    }
    found
}

#[test]
fn an_audit_on_its_way_brings_nothing_back_of_who_has_left() {
    run(async {
        let mut mesh = TestMesh::start().await;
        let alice = mesh.persona("alice").await;
        alice.post("/api/v1/auth/withdraw", &json!({"password": coreloop_testkit::PASSWORD})).await.expect(200);
        let id = |n: u8| format!("0192f0c4-7f5e-7000-8000-0000000000{n:02}");

        // One that the queue still held.
        let audit = json!({"id": id(1), "user_id": alice.user_id, "method": "password", "provider": "", "jti": null,
            "ip": "203.0.113.9", "user_agent": "phone", "outcome": "ok", "occurred_at": "2026-01-01T00:00:00Z",
            "trace_id": "", "request_id": ""});
        let mut redis = mesh.redis.connect().await;
        let mut add = redis::cmd("XADD");
        add.arg("cmd:auth.audit").arg("*").arg("payload").arg(audit.to_string());
        let _: String = add.query_async(&mut redis).await.unwrap();
        let stored = format!("select count(*) from auth.login_audits where id = '{}'", id(1));
        wait_until("it is stored", PATIENCE, async || mesh.db.count(&stored).await == 1).await;
        let named = format!(
            "select count(*) from auth.login_audits where user_id = '{}' and (ip <> '' or user_agent <> '')",
            alice.user_id
        );
        wait_until("hers are masked", PATIENCE, async || mesh.db.count(&named).await == 0).await;
        let masked = format!("{stored} and ip = '' and user_agent = '' and outcome = 'ok'");
        assert_eq!(mesh.db.count(&masked).await, 1);

        // One that was being stored while she left: neither saw the other.
        let late = format!(
            "insert into auth.login_audits (id, user_id, method, ip, user_agent, outcome, occurred_at)
             values ('{}', '{}', 'password', '203.0.113.9', 'phone', 'ok', now())",
            id(2),
            alice.user_id
        );
        mesh.db.execute(&late).await;
        assert_eq!(mesh.db.count(&named).await, 1);
        // What is over is looked for at start, and each minute.
        mesh.node_mut(0, "auth").stop().await;
        mesh.node_mut(0, "auth").start().await;
        wait_until("it is masked", PATIENCE, async || mesh.db.count(&named).await == 0).await;
    });
}

/// Asks both replicas, at the gateway and straight at the service, whether the token is accepted; where it is not, it must be
/// refused.
async fn accepted_anywhere(mesh: &TestMesh, persona: &Persona) -> bool {
    for replica in 0..2 {
        if persona.at(&mesh.gateway_on(replica)).is_signed_in().await {
            return true;
        }
        let token = format!("Bearer {}", persona.access_token);
        let channel = mesh.grpc_on(replica, "auth");
        let me = "/coreloop.auth.v1.AuthService/GetMe";
        match rpc::call(&channel, me, &[], &[("authorization", &token)]).await {
            Ok(_) => return true,
            Err(status) => assert_eq!(status.code(), Code::Unauthenticated, "neither accepted nor refused: {status}"),
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
            let within = figure(Duration::from_secs(1));
            wait_until("the other replica refuses", within, async || !other.is_signed_in().await).await;
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
        wait_until("Redis is filled again", PATIENCE, async || bob.get("/api/v1/auth/me").await.status == 200).await;
        assert!(!accepted_anywhere(&mesh, &alice).await);
        bob.logout().await;
        wait_until("both refuse", PATIENCE, async || !accepted_anywhere(&mesh, &bob).await).await;
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
    coreloop_testkit::wait::wait_for("somebody can sign up again", PATIENCE, async || {
        let bob = mesh.visitor("bob");
        let answer = bob.post("/api/v1/auth/signup", &bob.sign_up_body()).await;
        (answer.status == 201).then(|| Persona::signed_in(bob, &answer.json()))
    })
    .await
}
