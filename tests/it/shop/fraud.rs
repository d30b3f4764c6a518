//! Rules against fraud: what is too much is refused or noted, exactly, and administrators decide.

use coreloop_testkit::{Persona, run};
use futures::future::join_all;
use serde_json::{Value, json};

use super::stage::{Buyer, MESH, gold, key, mesh};

const RULES: &str = "/admin/shop/fraud/rules";

/// The rule of purchases of a user in a minute, changed.
fn minute(most: i32, mode: &str) -> Value {
    json!({"rule_id": "USER_PER_MINUTE", "category": "CATEGORY_CONVERSION", "kind": "FRAUD_KIND_VELOCITY",
           "subject": "FRAUD_SUBJECT_USER", "window_secs": 60, "most": most, "mode": format!("FRAUD_MODE_{mode}")})
}

async fn rule(admin: &Persona, rule: &Value) {
    assert_eq!(admin.post(RULES, &json!({ "rule": rule })).await.expect(200)["rule"], *rule);
}

async fn hits(admin: &Persona, of: &Buyer) -> Vec<Value> {
    let seen = admin.get(&format!("/admin/shop/fraud/hits?user_id={}", of.id)).await.expect(200);
    seen["hits"].as_array().cloned().unwrap_or_default()
}

/// Refused, with the rule as its code.
fn blocked(answer: &coreloop_testkit::Answer, code: &str) {
    answer.refused(429, "PURCHASE_BLOCKED");
    assert_eq!(answer.detail("google.rpc.ErrorInfo").unwrap()["metadata"]["code"], code);
    assert!(!answer.header("retry-after").is_empty());
}

/// `UpsertFraudRule`, `ListFraudRules`, `ListFraudHits`, `ExcuseFromFraud`.
#[test]
fn too_many_conversions_are_refused_noted_and_excused() {
    run(async {
        let mesh = mesh().start().await;
        let (admin, alice) = (mesh.admin().await, Buyer::new(&mesh));
        rule(&admin, &minute(2, "ENFORCE")).await;
        let first = key();
        let bought = alice.convert(&first, "card").await.expect(200);
        alice.convert(&key(), "card").await.expect(200);
        let late = key();
        blocked(&alice.convert(&late, "card").await, "USER_PER_MINUTE");
        assert_eq!(alice.convert(&first, "card").await.expect(200), bought, "what was bought is answered again");
        assert_eq!(gold(&mesh, &alice.id).await, 2 * 525);
        alice.buy("spins-5", &key()).await.expect(200);
        let met = hits(&admin, &alice).await;
        assert_eq!(met.len(), 1, "{met:?}");
        assert_eq!(
            (&met[0]["rule_id"], &met[0]["refused"], &met[0]["seen"]),
            (&json!("USER_PER_MINUTE"), &json!(true), &json!(2))
        );
        // In the shadow it is noted alone; the key that was refused is free.
        rule(&admin, &minute(2, "SHADOW")).await;
        alice.convert(&late, "card").await.expect(200);
        let met = hits(&admin, &alice).await;
        assert_eq!((met.len(), &met[0]["refused"], &met[0]["mode"]), (2, &json!(false), &json!("FRAUD_MODE_SHADOW")));
        // Off, nothing is even noted.
        rule(&admin, &minute(2, "OFF")).await;
        alice.convert(&key(), "card").await.expect(200);
        assert_eq!(hits(&admin, &alice).await.len(), 2);
        // Who is excused is not refused, for as long as that.
        rule(&admin, &minute(2, "ENFORCE")).await;
        blocked(&alice.convert(&key(), "card").await, "USER_PER_MINUTE");
        let excuse = |secs: i32| json!({"user_id": alice.id, "for_secs": secs, "reason": "ticket 9"});
        admin.post("/admin/shop/fraud/excuses", &excuse(600)).await.expect(200);
        alice.convert(&key(), "card").await.expect(200);
        admin.post("/admin/shop/fraud/excuses", &excuse(0)).await.expect(200);
        blocked(&alice.convert(&key(), "card").await, "USER_PER_MINUTE");
        // The window ends.
        mesh.clock.advance(jiff::SignedDuration::from_secs(61));
        let alice = Buyer::again(&mesh, alice.id.parse().unwrap());
        alice.convert(&key(), "card").await.expect(200);
        // Who changed what is known, each change once.
        let by = format!("select count(*) from shop.fraud_changes where changed_by = '{}'", admin.user_id);
        assert_eq!(mesh.db.count(&by).await, 6);
        rule(&admin, &minute(2, "ENFORCE")).await;
        assert_eq!(mesh.db.count(&by).await, 6);
        // Pages end, and go on where they ended.
        let path = format!("/admin/shop/fraud/hits?user_id={}&page_size=3", alice.id);
        let page = admin.get(&path).await.expect(200);
        assert_eq!(page["hits"].as_array().unwrap().len(), 3);
        let next = page["next_page_token"].as_str().unwrap();
        let rest = admin.get(&format!("{path}&page_token={next}")).await.expect(200);
        assert_eq!((rest["hits"].as_array().unwrap().len(), &rest["next_page_token"]), (2, &json!("")));
    });
}

#[test]
fn however_many_ask_at_once_no_more_are_let_through() {
    run(async {
        let mesh = mesh().start().await;
        let admin = mesh.admin().await;
        rule(&admin, &minute(3, "ENFORCE")).await;
        let device = json!({"rule_id": "ITEMS_OF_A_DEVICE", "category": "CATEGORY_ITEM", "kind": "FRAUD_KIND_VELOCITY",
                            "subject": "FRAUD_SUBJECT_DEVICE", "window_secs": 3600, "most": 4, "mode": "FRAUD_MODE_ENFORCE"});
        let item = || json!({"product_id": "spins-5", "idempotency_key": key(), "device_id": "phone"});
        let early = Buyer::with(&mesh, 100).await;
        early.ask(0, "/api/shop/purchase", &item()).await.expect(200);
        rule(&admin, &device).await;
        let alice = Buyer::new(&mesh);
        let convert = |replica: usize| {
            let body = json!({"product_id": "gold-500", "idempotency_key": key(), "payment_handle": "card"});
            let alice = &alice;
            async move { alice.ask(replica, "/api/shop/purchase", &body).await }
        };
        let answers = join_all((0..24).map(convert)).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 3);
        answers.iter().filter(|answer| answer.status != 200).for_each(|answer| blocked(answer, "USER_PER_MINUTE"));
        assert_eq!(gold(&mesh, &alice.id).await, 3 * 525);
        // One device, many people. What was bought before there was a rule is counted.
        let people = join_all((0..12).map(|_| Buyer::with(&mesh, 100))).await;
        let buy = |(replica, buyer): (usize, &Buyer)| {
            let (body, buyer) = (item(), buyer.clone());
            async move { buyer.ask(replica, "/api/shop/purchase", &body).await }
        };
        let answers = join_all(people.iter().enumerate().map(buy)).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 3);
        answers.iter().filter(|answer| answer.status != 200).for_each(|answer| blocked(answer, "ITEMS_OF_A_DEVICE"));
    });
}

#[test]
fn too_many_ways_to_pay_are_refused() {
    run(async {
        let mesh = MESH.get().await;
        let alice = Buyer::new(mesh);
        for card in 0..5 {
            alice.convert(&key(), &format!("card{card}")).await.expect(200);
        }
        blocked(&alice.convert(&key(), "card5").await, "METHODS_OF_USER");
        alice.convert(&key(), "card0").await.expect(200);
        assert_eq!(gold(mesh, &alice.id).await, 6 * 525);
    });
}

#[test]
fn rules_that_are_none_are_refused() {
    run(async {
        let mesh = MESH.get().await;
        let (admin, alice) = (mesh.admin().await, Buyer::new(mesh));
        for (field, value) in [
            ("rule_id", json!("lower")),
            ("rule_id", json!("")),
            ("category", json!("CATEGORY_UNSPECIFIED")),
            ("kind", json!(7)),
            ("subject", json!("FRAUD_SUBJECT_UNSPECIFIED")),
            ("window_secs", json!(0)),
            ("window_secs", json!(2_592_001)),
            ("most", json!(0)),
            ("most", json!(10_001)),
            ("mode", json!("FRAUD_MODE_UNSPECIFIED")),
        ] {
            let mut wrong = minute(30, "ENFORCE");
            wrong[field] = value.clone();
            let answer = admin.post(RULES, &json!({ "rule": wrong })).await;
            assert_eq!(answer.status, 400, "{field} {value}: {}", answer.text());
        }
        for change in [
            json!({"kind": "FRAUD_KIND_METHODS", "subject": "FRAUD_SUBJECT_HANDLE"}),
            json!({"kind": "FRAUD_KIND_METHODS", "most": 101}),
            json!({"kind": "FRAUD_KIND_METHODS", "category": "CATEGORY_ITEM"}),
            json!({"subject": "FRAUD_SUBJECT_HANDLE", "category": "CATEGORY_ITEM"}),
        ] {
            let mut wrong = minute(30, "ENFORCE");
            wrong.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            admin.post(RULES, &json!({ "rule": wrong })).await.refused(400, "VALIDATION_FAILED");
        }
        admin.post(RULES, &json!({})).await.refused(400, "VALIDATION_FAILED");
        for wrong in [
            json!({"user_id": "alice", "for_secs": 1, "reason": "x"}),
            json!({"user_id": alice.id, "for_secs": -1, "reason": "x"}),
            json!({"user_id": alice.id, "for_secs": 1}),
        ] {
            admin.post("/admin/shop/fraud/excuses", &wrong).await.refused(400, "VALIDATION_FAILED");
        }
        admin.get("/admin/shop/fraud/hits?user_id=alice").await.refused(400, "VALIDATION_FAILED");
        admin.get("/admin/shop/fraud/hits?page_token=x").await.refused(400, "PAGE_TOKEN_INVALID");
        let rules = admin.get(RULES).await.expect(200);
        assert!(
            rules["rules"].as_array().unwrap().contains(&minute(30, "ENFORCE")),
            "nothing of it was written: {rules}"
        );
        assert_ne!(alice.ask(0, RULES, &json!({ "rule": minute(1, "OFF") })).await.status, 200);
    });
}
