//! The age gate: a declared birth date and the provider's signed webhook.

use coreloop_testkit::StandIns;
use serde_json::json;

in_both_topologies! {
    async fn a_birth_date_is_declared_once(mesh) {
        let alice = mesh.persona("alice").await;
        assert_eq!(alice.me().await["age_state"], "AGE_STATE_UNKNOWN");
        let declare = async |date: &str| alice.post("/api/v1/auth/age", &json!({"birth_date": date})).await;
        assert_eq!(declare("1990-12-31").await.expect(200)["age_state"], "AGE_STATE_DECLARED");
        assert_eq!(declare("1990-12-31").await.expect(200)["age_state"], "AGE_STATE_DECLARED");
        declare("1991-01-01").await.refused(400, "BIRTH_DATE_ALREADY_SET");
    }

    async fn a_birth_date_is_a_date_of_a_living_person(mesh) {
        let alice = mesh.persona("alice").await;
        for (date, reason) in [
            ("yesterday", "VALIDATION_FAILED"),
            ("1990-13-01", "BIRTH_DATE_INVALID"),
            ("1990-02-30", "BIRTH_DATE_INVALID"),
            ("2990-01-01", "BIRTH_DATE_INVALID"),
            ("1700-01-01", "BIRTH_DATE_INVALID"),
        ] {
            alice.post("/api/v1/auth/age", &json!({"birth_date": date})).await.refused(400, reason);
        }
        assert_eq!(alice.me().await["age_state"], "AGE_STATE_UNKNOWN", "nothing is half-written");
    }

    async fn the_providers_webhook_verifies_the_age_once(mesh) {
        let stand_ins = mesh.stand_ins.as_ref().unwrap();
        let alice = mesh.persona("alice").await;
        let mut webhook = StandIns::age_webhook(&mesh.front(), &alice.user_id);
        webhook["event_id"] = json!(format!("event-{}", alice.user_id));
        assert_eq!(stand_ins.verify_age(&webhook).await, 200);
        let me = alice.me().await;
        assert_eq!((me["age_state"].as_str(), me["age_verified"].as_bool()), (Some("AGE_STATE_VERIFIED"), Some(true)));
        webhook["result"] = json!("rejected");
        assert_eq!(stand_ins.verify_age(&webhook).await, 200, "the same event is taken");
        assert_eq!(alice.me().await["age_state"], "AGE_STATE_VERIFIED", "and has no second effect");
    }

    async fn a_forged_or_old_webhook_changes_nothing(mesh) {
        let stand_ins = mesh.stand_ins.as_ref().unwrap();
        let alice = mesh.persona("alice").await;
        let mut forged = StandIns::age_webhook(&mesh.front(), &alice.user_id);
        forged["secret"] = json!("a guess");
        assert_eq!(stand_ins.verify_age(&forged).await, 401);
        let mut old = StandIns::age_webhook(&mesh.front(), &alice.user_id);
        old["timestamp"] = json!(coreloop_testkit::roles::unix_now() - 301);
        assert_eq!(stand_ins.verify_age(&old).await, 401);
        let unsigned = alice.visitor.post("/api/v1/auth/age/webhook", &json!({"user_id": alice.user_id})).await;
        unsigned.refused(401, "WEBHOOK_SIGNATURE_INVALID");
        assert_eq!(alice.me().await["age_state"], "AGE_STATE_UNKNOWN");
    }
}
