//! What administrators do in other services is in the audit of ops: who, on whom, why, what was there and what is there now, once.

use std::time::Duration;

use coreloop_testkit::{Persona, TestMesh, run, wait_until};
use http::Method;
use serde_json::{Value, json};

use super::audit::{pages, seen, tamper};
use crate::faults::redis_away::follows;

const PATIENCE: Duration = Duration::from_secs(30);
const TOPIC: &str = "events.admin.acted";
const CONSUMER: &str = "ops.acts";

/// Revocations are believed for a minute without Redis, so that administrators go on.
const BLIND: &str = "[access]\nblind_after_secs = 60\nask_timeout_ms = 50\n[limit]\nredis_timeout_ms = 50\n";

/// Rows of acts that were done elsewhere.
const ELSEWHERE: &str = "select count(*) from ops.audits where action !~ '^ops[.]'";

async fn heard(mesh: &TestMesh, count: i64) {
    wait_until(format!("{count} acts are heard"), PATIENCE, async || mesh.db.count(ELSEWHERE).await == count).await;
}

fn adjust(alice: &Persona, delta: i64, key: &str) -> Value {
    json!({"user_id": alice.user_id, "currency": "CURRENCY_GOLD", "delta": delta, "reason": "ticket 7", "idempotency_key": key})
}

/// Rows of an action, newest first, as an administrator finds them: subject, reason, before and after.
async fn found(admin: &Persona, action: &str) -> Vec<(Value, Value, Value, Value)> {
    let rows = pages(admin, &format!("action={action}&actor={}", admin.user_id)).await;
    let told = rows.into_iter().map(|row| {
        assert_eq!(row["step"], "done");
        for named in ["request_id", "trace_id", "act_id"] {
            assert!(!row[named].as_str().unwrap().is_empty(), "{row}");
        }
        let detail: Value = serde_json::from_str(row["detail"].as_str().unwrap()).unwrap();
        assert!(detail["rpc"].as_str().unwrap().starts_with("coreloop."), "{row}");
        let [reason, before, after] = ["reason", "before", "after"].map(|name| detail[name].clone());
        (row["subject"].clone(), reason, before, after)
    });
    told.collect()
}

/// One of the wallet, with a repetition and a refusal, of which nothing is told.
async fn of_the_wallet(admin: &Persona, alice: &Persona) {
    let path = "/admin/users/adjust-points";
    let given = admin.post(path, &adjust(alice, 7, "a")).await;
    let posting = given.expect(200)["posting"]["posting_id"].clone();
    admin.post(path, &adjust(alice, 7, "a")).await.expect(200);
    admin.post(path, &adjust(alice, -8, "b")).await.refused(400, "INSUFFICIENT_FUNDS");
    admin.post(path, &adjust(alice, 8, "a")).await.refused(409, "IDEMPOTENCY_KEY_REUSED");
    admin.post(path, &adjust(alice, -3, "c")).await.expect(200);
    let of = |balance: i64| json!({"currency": "CURRENCY_GOLD", "balance": balance});
    wait_until("the wallet's are heard", PATIENCE, async || found(admin, "wallet.adjust").await.len() == 2).await;
    let told = found(admin, "wallet.adjust").await;
    assert_eq!((&told[0].0, &told[0].1, &told[0].2), (&json!(alice.user_id), &json!("ticket 7"), &of(7)));
    assert_eq!((&told[0].3["balance"], &told[1].3["posting_id"]), (&json!(4), &posting));
    assert_eq!((&told[1].2, &told[1].3["balance"]), (&of(0), &json!(7)));
    // By the request, and by the time.
    let request = given.header("x-request-id");
    let rows = pages(admin, &format!("request_id={request}")).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    let at = rows[0]["created_at"].as_str().unwrap();
    assert_eq!(pages(admin, &format!("action=wallet.adjust&from={at}&subject={}", alice.user_id)).await.len(), 2);
    assert_eq!(pages(admin, &format!("action=wallet.adjust&until={at}")).await.len(), 0);
}

/// Three of the shop: a product that is made and changed, and somebody who is excused twice.
async fn of_the_shop(admin: &Persona, alice: &Persona) {
    let product = |price: i64| {
        json!({"product": {"product_id": "told", "category": "CATEGORY_ITEM", "name": "T", "price": price,
                           "effect": {"code": "T", "amount": 1}}})
    };
    for price in [1, 2] {
        admin.post("/admin/shop/products", &product(price)).await.expect(200);
        // Nothing changes.
        admin.post("/admin/shop/products", &product(price)).await.expect(200);
    }
    admin.post("/admin/shop/products", &product(-1)).await.refused(400, "VALIDATION_FAILED");
    for reason in ["ticket 8", "ticket 9"] {
        let excuse = json!({"user_id": alice.user_id, "for_secs": 60, "reason": reason});
        admin.post("/admin/shop/fraud/excuses", &excuse).await.expect(200);
    }
    wait_until("the shop's are heard", PATIENCE, async || {
        (found(admin, "shop.product.upsert").await.len(), found(admin, "shop.fraud.excuse").await.len()) == (2, 2)
    })
    .await;
    let told = found(admin, "shop.product.upsert").await;
    assert_eq!((&told[0].0, &told[0].1), (&json!("told"), &json!("")));
    assert_eq!((&told[0].2["price"], &told[0].3["price"]), (&json!(1), &json!(2)));
    assert_eq!((&told[1].2, &told[1].3["price"]), (&Value::Null, &json!(1)));
    let told = found(admin, "shop.fraud.excuse").await;
    assert_eq!((&told[0].0, &told[0].1, &told[0].2), (&json!(alice.user_id), &json!("ticket 9"), &told[1].3));
    assert_eq!((&told[1].1, &told[1].2, &told[1].3["reason"]), (&json!("ticket 8"), &Value::Null, &json!("ticket 8")));
}

/// Three of rewards: an article that is put and taken off the shelf, and a grant by hand.
async fn of_rewards(admin: &Persona, alice: &Persona) {
    let article =
        json!({"sku": "told", "title": "T", "vendor_sku": "t", "price": 1, "stock": 3, "state": "OFFER_STATE_ACTIVE"});
    let retired = json!({"state": "OFFER_STATE_RETIRED"});
    for (path, body) in [("/admin/rewards/inventory", &article), ("/admin/rewards/inventory/told/state", &retired)] {
        admin.post(path, body).await.expect(200);
        // Nothing changes but the time.
        admin.post(path, body).await.expect(200);
    }
    admin.post("/admin/rewards/inventory/nothing/state", &retired).await.refused(404, "REWARD_NOT_FOUND");
    let grant = json!({"user_id": alice.user_id, "kind": "REWARD_KIND_XP", "amount": 5, "reason": "ticket 10",
                       "external_event_id": "e"});
    for _ in 0..2 {
        admin.post("/admin/rewards/distribute", &grant).await.expect(200);
    }
    wait_until("the acts of rewards are heard", PATIENCE, async || {
        found(admin, "rewards.inventory.state").await.len() + found(admin, "rewards.distribute").await.len() == 2
    })
    .await;
    let (put, set) = (found(admin, "rewards.inventory.put").await, found(admin, "rewards.inventory.state").await);
    assert_eq!((put.len(), &put[0].0, &put[0].2, &put[0].3["stock"]), (1, &json!("told"), &Value::Null, &json!(3)));
    assert_eq!((&set[0].2["state"], &set[0].2["price"]), (&json!(1), &json!(1)));
    assert_ne!(set[0].3["state"], set[0].2["state"]);
    let (subject, reason, before, after) = &found(admin, "rewards.distribute").await[0];
    assert_eq!((subject, reason, before), (&json!(alice.user_id), &json!("ticket 10"), &Value::Null));
    assert_eq!((&after["kind"], &after["amount"]), (&json!("REWARD_KIND_XP"), &json!(5)));
}

/// Four of auth: roles, a lock, and two unlocks, of which one only forgets a failed sign-in. Who looks for nobody has looked at no account.
async fn of_auth(admin: &Persona, alice: &Persona) {
    let path = |what: &str| format!("/api/v1/auth/admin/users/{}/{what}", alice.user_id);
    let vip = json!({"roles": ["ROLE_VIP"]});
    for _ in 0..2 {
        admin.call(Method::PUT, &path("roles")).json(&vip).send().await.expect(200);
    }
    admin.post(&path("lock"), &json!({"reason": "ticket 11"})).await.expect(200);
    admin.post(&path("unlock"), &json!({})).await.expect(200);
    alice.visitor.elsewhere().try_login("not the password").await.refused(401, "INVALID_CREDENTIALS");
    for _ in 0..2 {
        admin.post(&path("unlock"), &json!({})).await.expect(200);
    }
    let nobody = "/api/v1/auth/admin/users/0192f0c4-7f5e-7000-8000-000000000000";
    admin.get(nobody).await.refused(404, "USER_NOT_FOUND");
    wait_until("auth's are heard", PATIENCE, async || found(admin, "auth.user.unlock").await.len() == 2).await;
    let shown = |status: &str, failures: i64| json!({"status": status, "failed_sign_ins": failures});
    for ((_, _, before, after), found) in
        found(admin, "auth.user.unlock").await.iter().zip([shown("active", 1), shown("locked", 0)])
    {
        assert_eq!((before, after), (&found, &shown("active", 0)));
    }
    let told = found(admin, "auth.role.set").await;
    assert_eq!((told.len(), &told[0].0), (1, &json!(alice.user_id)));
    let roles = |names: &[&str]| json!({ "roles": names });
    assert_eq!((&told[0].2, &told[0].3), (&roles(&["STANDARD"]), &roles(&["STANDARD", "VIP"])));
    let told = found(admin, "auth.user.lock").await;
    assert_eq!((&told[0].1, &told[0].2["status"]), (&json!("ticket 11"), &json!("active")));
    assert_eq!(told[0].3["status"], "locked");
}

/// Has everything read again: what the group knows of is forgotten, then what the inbox knows of, too.
async fn redeliver(mesh: &TestMesh, admin: &Persona, alice: &Persona) {
    for (round, forgotten) in [false, true].into_iter().enumerate() {
        let before = mesh.db.count(ELSEWHERE).await;
        if forgotten {
            mesh.db.execute("delete from ops.processed_events").await;
        }
        let mut redis = mesh.redis.connect().await;
        let mut ask = redis::cmd("XGROUP");
        ask.arg("SETID").arg(TOPIC).arg(CONSUMER).arg("0");
        ask.query_async::<()>(&mut redis).await.unwrap();
        // One more, of the same administrator: when it is heard, all before it were given once more.
        let body = adjust(alice, 1, &format!("again-{round}"));
        admin.post("/admin/users/adjust-points", &body).await.expect(200);
        heard(mesh, before + 1).await;
        let inbox = "select count(*) from ops.processed_events";
        assert_eq!(mesh.db.count(inbox).await, before + 1, "all of them were handled");
    }
}

#[test]
fn what_administrators_do_elsewhere_is_in_the_audit_once_with_why_before_and_after() {
    run(async {
        let mesh = TestMesh::start().await;
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        of_the_wallet(&admin, &alice).await;
        of_the_shop(&admin, &alice).await;
        of_rewards(&admin, &alice).await;
        of_auth(&admin, &alice).await;
        heard(&mesh, 13).await;
        redeliver(&mesh, &admin, &alice).await;
        heard(&mesh, 15).await;
        let twice = "select count(*) from (select act from ops.audits where action !~ '^ops[.]' group by act having count(*) > 1) t";
        assert_eq!(mesh.db.count(twice).await, 0);
        assert_eq!(mesh.db.count("select count(*) from ops.held_events").await, 0);
        assert_eq!(seen(&mesh).await, [""; 0]);
        alice.visitor.get("/admin/audit").await.refused(401, "TOKEN_MISSING");
    });
}

#[test]
fn whoever_tampers_with_an_act_from_elsewhere_shows_and_what_is_none_is_a_dead_letter() {
    run(async {
        let mesh = TestMesh::start().await;
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        for key in ["a", "b", "c"] {
            admin.post("/admin/users/adjust-points", &adjust(&alice, 7, key)).await.expect(200);
        }
        heard(&mesh, 3).await;
        assert_eq!(seen(&mesh).await, [""; 0]);
        let change = |balance: i64| {
            format!("update ops.audits set detail = jsonb_set(detail, '{{after,balance}}', '{balance}') where seq = 2")
        };
        tamper(&mesh, &change(15)).await;
        assert_eq!(seen(&mesh).await, ["chain row 2"]);
        tamper(&mesh, &change(14)).await;
        assert_eq!(seen(&mesh).await, [""; 0]);
        tamper(&mesh, "delete from ops.audits where seq = 2").await;
        assert_eq!(seen(&mesh).await, ["gap row 2"]);

        // Ops looks after its own letters as after anybody's.
        let mut redis = mesh.redis.connect().await;
        let mut ask = redis::cmd("XADD");
        ask.arg(TOPIC).arg("*");
        for (field, value) in [
            ("id", "0192f0c4-7f5e-7000-8000-000000000000"),
            ("key", "nobody"),
            ("sequence", "1"),
            ("version", "1"),
            ("trace_id", ""),
            ("traceparent", ""),
            ("request_id", ""),
            ("created_at", "2026-01-02T03:04:05Z"),
            ("encoding", "json"),
            ("payload", "{\"occurred_at\": 1}"),
        ] {
            ask.arg(field).arg(value);
        }
        ask.query_async::<String>(&mut redis).await.unwrap();
        let letters = || async {
            let answer = admin.get("/admin/dlq/ops.acts").await.expect(200);
            answer["dead_letters"].as_array().cloned().unwrap_or_default()
        };
        wait_until("it is a dead letter", PATIENCE, async || letters().await.len() == 1).await;
        let letter = &letters().await[0];
        assert_eq!((&letter["reason"], &letter["topic"]), (&json!("MALFORMED_EVENT"), &json!(TOPIC)));
        let discard = json!({"queue": CONSUMER, "count": 1, "id": letter["id"]});
        assert_eq!(admin.post("/admin/dlq/discard", &discard).await.expect(200)["discarded"], 1);
        heard(&mesh, 2).await;
    });
}

/// As the README says: what is done while Redis is away waits in the outbox of its service.
#[test]
fn what_is_done_while_the_bus_is_away_is_in_the_audit_when_it_is_back() {
    run(async {
        let mut mesh = TestMesh::builder().toml(BLIND).start().await;
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        follows(&mesh, &alice).await;
        admin.post("/admin/users/adjust-points", &adjust(&alice, 7, "a")).await.expect(200);
        heard(&mesh, 1).await;
        mesh.redis.kill();
        admin.post("/admin/users/adjust-points", &adjust(&alice, -3, "b")).await.expect(200);
        let waiting = "select count(*) from wallet.outbox where type = 'acted' and seq > (select read_to from wallet.outbox_relay)";
        assert_eq!(mesh.db.count(waiting).await, 1);
        assert_eq!(mesh.db.count(ELSEWHERE).await, 1);
        mesh.redis.resurrect().await;
        heard(&mesh, 2).await;
        assert_eq!(seen(&mesh).await, [""; 0]);
    });
}
