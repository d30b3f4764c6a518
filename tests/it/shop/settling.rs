//! Conversions and the payment service: at once, late, never told, refused, given back, forged.

use coreloop_testkit::{
    TestMesh, run,
    wait::{wait_for, wait_until},
};
use serde_json::{Value, json};

use super::stage::{Buyer, MESH, RECOVERY, give, gold, hasty, key, mesh, nothing_is_amiss, spend};

/// Has the payment service decide, and tell so; answers the statuses and bodies that its webhooks got.
pub async fn decide(mesh: &TestMesh, payment: &str, decision: &Value) -> Vec<(u64, String)> {
    let mut decision = decision.clone();
    decision["callback_url"] = json!(format!("{}/api/shop/webhook", mesh.gateway_on(1)));
    let rest = mesh.stand_ins.as_ref().unwrap().rest();
    let answer = rest.post(&format!("/_sandbox/payments/{payment}"), &decision).send().await.expect(200);
    let told = answer["webhooks"].as_array().cloned().unwrap_or_default();
    told.iter().map(|it| (it["status"].as_u64().unwrap(), it["body"].as_str().unwrap_or_default().to_owned())).collect()
}

/// A conversion that the payment service has not decided: its transaction and its payment.
pub async fn pending(buyer: &Buyer) -> (String, String) {
    let bought = buyer.convert(&key(), "pending").await.expect(200);
    assert_eq!((&bought["status"], &bought["success"]), (&json!("PURCHASE_STATE_PENDING"), &json!(true)));
    let id = bought["transaction_id"].as_str().unwrap().to_owned();
    let payment = buyer.transaction(&id).await["payment_id"].as_str().unwrap().to_owned();
    (id, payment)
}

#[test]
fn gold_that_is_paid_for_at_once_is_given_at_once() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, k) = (Buyer::new(mesh), key());
        let bought = alice.convert(&k, "card").await.expect(200);
        assert_eq!((&bought["status"], &bought["gold_delta"]), (&json!("PURCHASE_STATE_CONFIRMED"), &json!(525)));
        assert_eq!(alice.convert(&k, "card").await.expect(200), bought);
        let paid = format!("select paid from wallet.accounts where owner = '{}' and currency = 1", alice.id);
        assert_eq!((gold(mesh, &alice.id).await, mesh.db.count(&paid).await), (525, 500), "the bonus is free");
        nothing_is_amiss(mesh, &format!("p.user_id = '{}'", alice.id)).await;
    });
}

#[test]
fn what_is_refused_gives_nothing_and_stays_refused() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, k) = (Buyer::new(mesh), key());
        for _ in 0..2 {
            let refused = alice.convert(&k, "refused").await;
            refused.refused(400, "PAYMENT_REFUSED");
            let info = refused.detail("google.rpc.ErrorInfo").unwrap();
            assert_eq!(info["metadata"]["payment_reason"], "INSUFFICIENT_POINTS");
        }
        assert_eq!(gold(mesh, &alice.id).await, 0);
        nothing_is_amiss(mesh, &format!("p.user_id = '{}'", alice.id)).await;
    });
}

#[test]
fn a_late_webhook_settles_once_however_often_it_comes() {
    run(async {
        let mesh = MESH.get().await;
        let alice = Buyer::new(mesh);
        let (id, payment) = pending(&alice).await;
        assert_eq!(gold(mesh, &alice.id).await, 0, "not before it is confirmed");
        let told = decide(mesh, &payment, &json!({"status": "confirmed", "times": 3})).await;
        assert_eq!(told.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200, 409, 409]);
        assert!(told[1].1.contains("WEBHOOK_REPLAYED"), "{}", told[1].1);
        alice.settled(&id, "CONFIRMED").await;
        // The same by another event changes nothing.
        decide(mesh, &payment, &json!({"status": "confirmed"})).await;
        assert_eq!(alice.transaction(&id).await["state"], "PURCHASE_STATE_CONFIRMED");
        assert_eq!(gold(mesh, &alice.id).await, 525);
        nothing_is_amiss(mesh, &format!("p.user_id = '{}'", alice.id)).await;
    });
}

#[test]
fn what_is_charged_back_after_it_was_confirmed_is_taken_back() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, k) = (Buyer::new(mesh), key());
        let bought = alice.convert(&k, "card").await.expect(200);
        let id = bought["transaction_id"].as_str().unwrap();
        let payment = alice.transaction(id).await["payment_id"].as_str().unwrap().to_owned();
        let told = decide(mesh, &payment, &json!({"status": "voided", "times": 2})).await;
        assert_eq!(told.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200, 409]);
        let seen = alice.settled(id, "VOIDED").await;
        assert_eq!((&seen["gold_delta"], &seen["reason"]), (&json!(0), &json!("CHARGED_BACK")));
        assert_eq!(gold(mesh, &alice.id).await, 0);
        // What was proven before is so no more: ours all the same, which a forged one is not; and the purchase has another.
        let mut forged = bought["receipt"].clone();
        forged["issued_at"] = seen["receipt"]["issued_at"].clone();
        let voided = json!("PURCHASE_STATE_VOIDED");
        for (receipt, valid, state) in
            [(&bought["receipt"], false, &voided), (&forged, false, &Value::Null), (&seen["receipt"], true, &voided)]
        {
            let said = alice.ask(1, "/api/shop/receipts/verify", &json!({ "receipt": receipt })).await.expect(200);
            assert_eq!((&said["valid"], &said["state"]), (&json!(valid), state), "{receipt}");
        }
        let again = alice.convert(&k, "card").await.expect(200);
        assert_eq!((&again["status"], &again["success"]), (&json!("PURCHASE_STATE_VOIDED"), &json!(false)));
        let told = format!(
            "select count(*) from shop.outbox where aggregateid = '{}'
                and type in ('settlement_confirmed', 'purchase_completed', 'settlement_voided')",
            alice.id
        );
        assert_eq!(mesh.db.count(&told).await, 3);
        // Told of once more, it is not taken once more.
        give(mesh, &alice.id, 1_000).await;
        decide(mesh, &payment, &json!({"status": "voided"})).await;
        // Of what was spent the rest goes back, and what is missing is known.
        let bob = Buyer::new(mesh);
        let (id, payment) = pending(&bob).await;
        decide(mesh, &payment, &json!({"status": "confirmed"})).await;
        bob.settled(&id, "CONFIRMED").await;
        spend(mesh, &bob.id, 400).await;
        decide(mesh, &payment, &json!({"status": "voided"})).await;
        assert_eq!(bob.settled(&id, "VOIDED").await["gold_delta"], 400);
        assert_eq!((gold(mesh, &alice.id).await, gold(mesh, &bob.id).await), (1_000, 0));
        nothing_is_amiss(mesh, &format!("p.user_id in ('{}', '{}')", alice.id, bob.id)).await;
    });
}

#[test]
fn a_webhook_that_never_comes_is_not_missed() {
    run(async {
        let mesh = MESH.get().await;
        let alice = Buyer::new(mesh);
        let bought = alice.convert(&key(), "lost").await.expect(200);
        let id = bought["transaction_id"].as_str().unwrap();
        alice.settled(id, "CONFIRMED").await;
        assert_eq!(gold(mesh, &alice.id).await, 525);
        let by = format!("select count(*) from shop.purchases where id = '{id}' and said_by = 'poll'");
        assert_eq!(mesh.db.count(&by).await, 1);
    });
}

#[test]
fn webhooks_that_are_forged_old_or_of_nothing_change_nothing() {
    run(async {
        let mesh = MESH.get().await;
        let alice = Buyer::new(mesh);
        let (id, payment) = pending(&alice).await;
        let now = mesh.now();
        let rest = mesh.stand_ins.as_ref().unwrap().rest();
        for (lie, status, reason) in [
            (json!({"status": "confirmed", "secret": "another"}), 401, "WEBHOOK_SIGNATURE_INVALID"),
            (json!({"status": "confirmed", "timestamp": now - 301}), 401, "WEBHOOK_TOO_OLD"),
            (json!({"status": "confirmed", "timestamp": now + 400}), 401, "WEBHOOK_TOO_OLD"),
            (json!({"status": "perhaps"}), 400, "VALIDATION_FAILED"),
            (json!({"status": "confirmed", "event_id": ""}), 400, "VALIDATION_FAILED"),
        ] {
            // A payment of its own, about the same purchase: what the sandbox itself holds stays undecided.
            let other = rest
                .call(http::Method::POST, "/payment/v1/payments")
                .header("idempotency-key", &key())
                .bearer("sandbox-payment-key")
                .json(&json!({"reference": id, "user": alice.id, "amount": 1, "handle": "pending"}))
                .send()
                .await
                .expect(202);
            let told = decide(mesh, other["payment_id"].as_str().unwrap(), &lie).await;
            assert_eq!((told[0].0, told[0].1.contains(reason)), (status, true), "{lie}: {told:?}");
            if reason == "VALIDATION_FAILED" {
                continue;
            }
            // Signed as it should be, it is of another payment.
            let told = decide(mesh, other["payment_id"].as_str().unwrap(), &json!({"status": "confirmed"})).await;
            assert_eq!(told[0].0, 404, "{told:?}");
        }
        let bare = mesh.rest().post("/api/shop/webhook", &json!({"event_id": "e"})).send().await;
        bare.refused(401, "WEBHOOK_SIGNATURE_INVALID");
        assert_eq!(alice.transaction(&id).await["state"], "PURCHASE_STATE_PENDING");
        assert_eq!(gold(mesh, &alice.id).await, 0);
        decide(mesh, &payment, &json!({"status": "voided", "silent": true})).await;
        alice.settled(&id, "VOIDED").await;
        assert_eq!(gold(mesh, &alice.id).await, 0);
    });
}

#[test]
fn a_payment_service_that_fails_is_asked_again_for_the_same_payment() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, k, stand_ins) = (Buyer::new(&mesh), key(), mesh.stand_ins.as_ref().unwrap());
        // The last of them takes the points and cannot say so.
        for kind in ["error", "garbage", "lost"] {
            stand_ins.fault(&json!({"provider": "payment", "kind": kind, "times": 1})).await;
        }
        assert_eq!(alice.convert(&k, "card").await.status, 503);
        let answer = wait_for("it is finished", RECOVERY, async || {
            let answer = alice.convert(&k, "card").await;
            (answer.status == 200).then(|| answer.json())
        })
        .await;
        assert_eq!(answer["status"], "PURCHASE_STATE_CONFIRMED");
        assert_eq!(gold(&mesh, &alice.id).await, 525);
        let id = answer["transaction_id"].as_str().unwrap();
        let of = format!("/_sandbox/payments?reference={id}");
        let payments = stand_ins.rest().get(&of).send().await.expect(200);
        assert_eq!(payments["payments"].as_array().unwrap().len(), 1, "{payments}");
        nothing_is_amiss(&mesh, "true").await;
    });
}

#[test]
fn gold_that_is_given_first_is_taken_back_as_far_as_it_is_there() {
    run(async {
        let mesh = mesh().setting("shop.settle_first", false).start().await;
        // Neither spent anything: all of it goes back.
        let alice = Buyer::new(&mesh);
        let (id, payment) = pending(&alice).await;
        assert_eq!(gold(&mesh, &alice.id).await, 525, "given at once");
        decide(&mesh, &payment, &json!({"status": "voided"})).await;
        let seen = alice.settled(&id, "VOIDED").await;
        assert_eq!((gold(&mesh, &alice.id).await, &seen["gold_delta"]), (0, &json!(0)));
        // Spent in part: what is left goes back, and what is missing is known.
        let bob = Buyer::new(&mesh);
        let (id, payment) = pending(&bob).await;
        spend(&mesh, &bob.id, 400).await;
        decide(&mesh, &payment, &json!({"status": "voided"})).await;
        bob.settled(&id, "VOIDED").await;
        assert_eq!(gold(&mesh, &bob.id).await, 0);
        let owed = format!("select owed from shop.purchases where id = '{id}'");
        assert_eq!(mesh.db.count(&owed).await, 400);
        // No more than the bonus was spent, so that taking back what was paid for would have been possible.
        let dave = Buyer::new(&mesh);
        let (id, payment) = pending(&dave).await;
        spend(&mesh, &dave.id, 10).await;
        decide(&mesh, &payment, &json!({"status": "voided"})).await;
        let seen = dave.settled(&id, "VOIDED").await;
        assert_eq!((gold(&mesh, &dave.id).await, &seen["gold_delta"]), (0, &json!(10)));
        // Refused after it was given: what is owed is told of.
        let erin = Buyer::new(&mesh);
        let (id, payment) = pending(&erin).await;
        spend(&mesh, &erin.id, 30).await;
        decide(&mesh, &payment, &json!({"status": "refused"})).await;
        let seen = erin.settled(&id, "VOIDED").await;
        assert_eq!((gold(&mesh, &erin.id).await, &seen["gold_delta"]), (0, &json!(30)));
        // Confirmed: what was given stays, once.
        let carol = Buyer::new(&mesh);
        let (id, payment) = pending(&carol).await;
        decide(&mesh, &payment, &json!({"status": "confirmed"})).await;
        carol.settled(&id, "CONFIRMED").await;
        assert_eq!(gold(&mesh, &carol.id).await, 525);
        nothing_is_amiss(&mesh, "true").await;
    });
}

/// What the payment service holds of a payment.
async fn paid(mesh: &TestMesh, payment: &str) -> Value {
    mesh.stand_ins.as_ref().unwrap().rest().get(&format!("/_sandbox/payments/{payment}")).send().await.expect(200)
}

/// The one purchase of a buyer, and what its payment is called.
async fn bought(mesh: &TestMesh, buyer: &Buyer) -> (String, String) {
    let sql = "select id::text, payment_id from shop.purchases where user_id = $1::uuid";
    sqlx::query_as(sql).bind(&buyer.id).fetch_one(&mut mesh.db.connect().await).await.unwrap()
}

#[test]
fn what_is_paid_for_and_cannot_be_given_is_paid_back() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, k) = (Buyer::new(mesh), key());
        // One more than may be with what is bought.
        let full = 9_007_199_254_740_991 - 524;
        give(mesh, &alice.id, full).await;
        for _ in 0..2 {
            alice.convert(&k, "card").await.refused(400, "BALANCE_LIMIT");
        }
        assert_eq!(gold(mesh, &alice.id).await, full);
        assert_eq!(paid(mesh, &bought(mesh, &alice).await.1).await["status"], "voided");
        nothing_is_amiss(mesh, &format!("p.user_id = '{}'", alice.id)).await;
    });
}

#[test]
fn what_an_operator_voids_is_paid_back() {
    run(async {
        let mesh = mesh().start().await;
        let (admin, alice, bob) = (mesh.admin().await, Buyer::new(&mesh), Buyer::new(&mesh));
        let void = json!({"verdict": "PURCHASE_STATE_VOIDED", "reason": "ticket 9"});
        let settle = |id: &str| format!("/api/shop/transactions/{id}/settle");
        let (id, payment) = pending(&alice).await;
        admin.post(&settle(&id), &void).await.expect(200);
        alice.settled(&id, "VOIDED").await;
        assert_eq!(paid(&mesh, &payment).await["status"], "voided");
        // Its payment service took the points and could not say so: what it calls the payment is not known here.
        let fault = json!({"provider": "payment", "endpoint": "pay", "kind": "lost", "times": 3});
        mesh.stand_ins.as_ref().unwrap().fault(&fault).await;
        assert_eq!(bob.convert(&key(), "pending").await.status, 503);
        let (id, _) = bought(&mesh, &bob).await;
        admin.post(&settle(&id), &void).await.expect(200);
        let seen = bob.settled(&id, "VOIDED").await;
        assert_eq!(paid(&mesh, seen["payment_id"].as_str().unwrap()).await["status"], "voided");
        assert_eq!((gold(&mesh, &alice.id).await, gold(&mesh, &bob.id).await), (0, 0));
        nothing_is_amiss(&mesh, "true").await;
    });
}

#[test]
fn a_payment_service_that_is_away_is_asked_less_and_less() {
    run(async {
        let (first, most) = ("shop.payment.poll_secs", "shop.payment.poll_most_secs");
        let mesh = hasty().setting(first, 5_i64).setting(most, 60_i64).start().await;
        let (alice, k, stand_ins) = (Buyer::new(&mesh), key(), mesh.stand_ins.as_ref().unwrap());
        stand_ins.fault(&json!({"provider": "payment", "kind": "error"})).await;
        assert_eq!(alice.convert(&k, "card").await.status, 503);
        // Longer than a lease.
        wait_until("it is left alone for a while", RECOVERY, async || {
            let alone = format!(
                "select count(*) from shop.purchases where state = 1 and next_at > to_timestamp({}) + interval '15 s'",
                mesh.now()
            );
            mesh.db.count(&alone).await == 1
        })
        .await;
    });
}

#[test]
fn an_operator_settles_what_nobody_decides() {
    run(async {
        let mesh = MESH.get().await;
        let (admin, alice, bob) = (mesh.admin().await, Buyer::new(mesh), Buyer::new(mesh));
        let path = |id: &str| format!("/api/shop/transactions/{id}/settle");
        let confirm = json!({"verdict": "PURCHASE_STATE_CONFIRMED", "reason": "ticket 7"});
        let void = json!({"verdict": "PURCHASE_STATE_VOIDED", "reason": "ticket 8"});
        let (id, payment) = pending(&alice).await;
        assert_ne!(alice.ask(0, &path(&id), &confirm).await.status, 200, "not by its buyer");
        for _ in 0..2 {
            let settled = admin.post(&path(&id), &confirm).await.expect(200);
            assert_eq!(settled["transaction"]["state"], "PURCHASE_STATE_CONFIRMED");
        }
        admin.post(&path(&id), &void).await.refused(400, "TRANSACTION_SETTLED");
        // Nor does the payment service say otherwise.
        assert_eq!(decide(mesh, &payment, &json!({"status": "voided"})).await[0].0, 200);
        assert_eq!(alice.transaction(&id).await["state"], "PURCHASE_STATE_CONFIRMED");
        assert_eq!(gold(mesh, &alice.id).await, 525);
        // Who did so, and why, is kept.
        let kept = format!(
            "select count(*) from shop.changes where what = 'settlement' and subject = '{id}'
                and changed_by = '{}' and reason = 'ticket 7' and after ->> 'verdict' = 'CONFIRMED'",
            admin.user_id
        );
        assert_eq!(mesh.db.count(&kept).await, 1);
        let (id, _) = pending(&bob).await;
        admin.post(&path(&id), &void).await.expect(200);
        bob.settled(&id, "VOIDED").await;
        assert_eq!(gold(mesh, &bob.id).await, 0);
        admin.post(&path(&key()), &void).await.refused(404, "TRANSACTION_NOT_FOUND");
        let wrong = json!({"verdict": "PURCHASE_STATE_FAILED", "reason": "x"});
        admin.post(&path(&id), &wrong).await.refused(400, "VALIDATION_FAILED");
    });
}
