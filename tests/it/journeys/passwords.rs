//! Password change and reset.

use coreloop_testkit::{PASSWORD, StandIns, TestMesh, run, wait::PATIENCE, wait_until};
use jiff::SignedDuration;
use serde_json::{Value, json};

const NEW: &str = "another fine passphrase 77";

in_both_topologies! {
    async fn changing_the_password_ends_the_other_sessions(mesh) {
        let phone = mesh.persona("alice").await;
        let tablet = phone.visitor.elsewhere().login().await;
        let wrong = json!({"current_password": "not the password", "new_password": NEW});
        phone.post("/api/v1/auth/password/change", &wrong).await.refused(401, "INVALID_CREDENTIALS");
        let change = json!({"current_password": PASSWORD, "new_password": NEW, "device_id": phone.visitor.device_id});
        let session = phone.post("/api/v1/auth/password/change", &change).await.expect(200);
        let renewed = coreloop_testkit::Persona::signed_in(phone.visitor.clone(), &session);
        assert!(renewed.is_signed_in().await);
        tablet.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        assert_eq!(tablet.try_refresh().await.status, 401);
        phone.visitor.elsewhere().try_login(PASSWORD).await.refused(401, "INVALID_CREDENTIALS");
        assert_eq!(phone.visitor.elsewhere().try_login(NEW).await.status, 200);
    }

    async fn a_breached_password_is_no_new_password(mesh) {
        let alice = mesh.persona("alice").await;
        let change = json!({"current_password": PASSWORD, "new_password": "password1"});
        alice.post("/api/v1/auth/password/change", &change).await.refused(400, "PASSWORD_BREACHED");
        assert!(alice.is_signed_in().await);
    }

    async fn a_forgotten_password_is_reset_by_mail_once(mesh) {
        let alice = mesh.persona("alice").await;
        request_reset(&alice.visitor.rest().clone(), &alice.visitor.email).await;
        let token = reset_token(mesh.stand_ins.as_ref().unwrap(), &alice.visitor.email).await;
        let reset = json!({"token": token, "new_password": NEW});
        alice.visitor.post("/api/v1/auth/password/reset", &reset).await.expect(200);
        alice.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        assert_eq!(alice.visitor.elsewhere().try_login(NEW).await.status, 200);
        alice.visitor.post("/api/v1/auth/password/reset", &reset).await.refused(400, "RESET_TOKEN_INVALID");
    }

    async fn asking_for_a_reset_does_not_tell_whether_the_account_exists(mesh) {
        let (known, unknown) = (mesh.persona("alice").await.visitor, mesh.visitor("nobody"));
        let ask = async |email: &str| known.post("/api/v1/auth/password/reset-request", &json!({"email": email})).await;
        let (there, absent) = (ask(&known.email).await, ask(&unknown.email).await);
        assert_eq!((there.status.as_u16(), &there.body), (202, &absent.body));
        assert_eq!(absent.status, 202);
    }

    async fn nonsense_resets_nothing(mesh) {
        let eve = mesh.visitor("eve");
        let reset = json!({"token": "nonsense", "new_password": NEW});
        eve.post("/api/v1/auth/password/reset", &reset).await.refused(400, "RESET_TOKEN_INVALID");
    }
}

#[test]
fn a_reset_token_ends_with_its_time() {
    run(async {
        let mesh = TestMesh::builder().stand_ins().start().await;
        let alice = mesh.persona("alice").await.visitor;
        request_reset(alice.rest(), &alice.email).await;
        let token = reset_token(mesh.stand_ins.as_ref().unwrap(), &alice.email).await;
        mesh.clock.advance(SignedDuration::from_secs(1_801));
        let reset = json!({"token": token, "new_password": NEW});
        alice.post("/api/v1/auth/password/reset", &reset).await.refused(400, "RESET_TOKEN_INVALID");
    });
}

#[test]
fn a_password_is_reset_while_redis_is_away_and_the_sessions_end() {
    run(async {
        let mut mesh = TestMesh::builder().stand_ins().start().await;
        let alice = mesh.persona("alice").await;
        request_reset(alice.visitor.rest(), &alice.visitor.email).await;
        let token = reset_token(mesh.stand_ins.as_ref().unwrap(), &alice.visitor.email).await;
        mesh.redis.kill();
        // It is done, and the token used up: an answer that says to try again would be a lie.
        let reset = json!({"token": token, "new_password": NEW});
        alice.visitor.post("/api/v1/auth/password/reset", &reset).await.expect(200);
        alice.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        assert_eq!(alice.visitor.elsewhere().try_login(NEW).await.status, 200);
        let unpublished = "select count(*) from auth.revocations where published_at is null";
        assert!(mesh.db.count(unpublished).await > 0, "nobody else knows yet");
        mesh.redis.resurrect().await;
        wait_until("the worker tells the others", PATIENCE, async || mesh.db.count(unpublished).await == 0).await;
    });
}

async fn request_reset(rest: &coreloop_testkit::Rest, email: &str) {
    rest.post("/api/v1/auth/password/reset-request", &json!({"email": email})).send().await.expect(202);
}

/// The token in the mail: the `token` parameter of its link, or the longest word that could be one.
async fn reset_token(stand_ins: &StandIns, email: &str) -> String {
    let mails = stand_ins.mail_to(email).await;
    assert_eq!(mails.len(), 1, "one mail");
    let text: String =
        mails[0]["content"].as_array().unwrap().iter().filter_map(|part: &Value| part["value"].as_str()).collect();
    let token = text.split_once("token=").map_or(text.as_str(), |(_, rest)| rest);
    let token: String = token.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_.~".contains(*c)).collect();
    assert!(token.len() >= 20, "no token in {text}");
    token
}
