//! The metrics of chapter 08 about the economy, as each process tells them at `/metrics`: their numbers before and after some acts.

use std::{collections::BTreeMap, time::Instant};

use coreloop_testkit::{Rest, TestMesh, run, wait::wait_for};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    settling::{decide, pending},
    stage::{Buyer, RECOVERY, key, mesh, product},
};
use crate::rewards::stage::{Giver, Shelf, given, person_with, points, redeemed, settled};

/// What the replicas of a module tell: the sum of each series.
async fn told(mesh: &TestMesh, module: &str) -> BTreeMap<String, f64> {
    let mut series = BTreeMap::new();
    for replica in [0, 1] {
        let admin = Rest::to(format!("http://{}", mesh.node(replica, module).running().admin_addr));
        let text = admin.get("/metrics").send().await.text();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            *series.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap();
        }
    }
    series
}

/// By how much each series of a family has moved; those that have not are left out.
fn moved(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, family: &str) -> BTreeMap<String, f64> {
    let of = after.iter().filter(|(name, _)| name.split('{').next() == Some(family));
    let moved = of.map(|(name, value)| (name.clone(), value - before.get(name).copied().unwrap_or_default()));
    moved.filter(|(_, value)| *value != 0.0).collect()
}

fn counts(family: &str, labels: &[(&str, u32)]) -> BTreeMap<String, f64> {
    labels.iter().map(|(labels, count)| (format!("{family}{{{labels}}}"), f64::from(*count))).collect()
}

/// Both replicas tell a gauge as `value`.
async fn measured(mesh: &TestMesh, series: &str, value: f64) {
    wait_for(format!("{series} is {value}"), RECOVERY, async || {
        (told(mesh, "shop").await.get(series).copied() == Some(value * 2.0)).then_some(())
    })
    .await;
}

/// One purchase while another with its key waits for the wallet.
async fn twice_at_once(mesh: &TestMesh, alice: &Buyer) {
    let mut held = mesh.db.connect().await;
    sqlx::query("begin").execute(&mut held).await.unwrap();
    let lock = "select from wallet.accounts where owner = $1::uuid for update";
    sqlx::query(lock).bind(&alice.id).execute(&mut held).await.unwrap();
    let (k, open) = (key(), "select count(*) from shop.purchases where state = 1");
    let meanwhile = async {
        wait_for("it is written down", RECOVERY, async || (mesh.db.count(open).await == 1).then_some(())).await;
        alice.buy("spins-5", &k).await.refused(409, "IN_PROGRESS");
        sqlx::query("rollback").execute(&mut held).await.unwrap();
    };
    let (answer, ()) = tokio::join!(alice.buy("spins-5", &k), meanwhile);
    answer.expect(200);
}

/// Fourteen purchases of all kinds.
async fn shop(mesh: &mut TestMesh) {
    let (alice, poor) = (Buyer::with(mesh, 2_000).await, Buyer::new(mesh));
    product(
        mesh,
        &json!({"product_id": "five", "category": "CATEGORY_ITEM", "name": "P", "price": 10, "active": true, "stock": 5,
                "effect": {"code": "PACKAGE", "amount": 1}}),
    )
    .await;
    let before = [told(mesh, "shop").await, told(mesh, "edge").await];
    let (began, k) = (Instant::now(), key());
    let ask = async |path: &str, change: Value| {
        let mut body = json!({"product_id": "spins-5", "idempotency_key": key()});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        alice.ask(0, path, &body).await
    };
    alice.buy("spins-5", &k).await.expect(200);
    alice.buy("spins-5", &k).await.expect(200);
    let of_k = json!({"idempotency_key": k, "promo_code": "OTHER"});
    ask("/api/shop/purchase", of_k).await.refused(409, "IDEMPOTENCY_KEY_REUSED");
    ask("/api/shop/purchase", json!({"product_id": "nothing"})).await.refused(404, "PRODUCT_NOT_FOUND");
    ask("/api/shop/purchase", json!({"type": "CATEGORY_CONVERSION"})).await.refused(400, "VALIDATION_FAILED");
    ask("/api/shop/buy", json!({})).await.expect(200);
    let limited = json!({"package_id": "five", "idempotency_key": key()});
    alice.ask(0, "/api/shop/buy-limited", &limited).await.expect(200);
    poor.ask(0, "/api/shop/buy-limited", &limited).await.refused(400, "INSUFFICIENT_FUNDS");
    alice.convert(&key(), "card").await.expect(200);
    alice.convert(&key(), "refused").await.refused(400, "PAYMENT_REFUSED");
    let (id, payment) = pending(&alice).await;
    measured(mesh, "cc_settlement_pending_total", 1.0).await;
    mesh.clock.advance(SignedDuration::from_secs(60));
    decide(mesh, &payment, &json!({"status": "voided"})).await;
    alice.settled(&id, "VOIDED").await;
    measured(mesh, "cc_settlement_pending_total", 0.0).await;
    measured(mesh, "cc_shop_stock_level{package_id=\"five\"}", 4.0).await;
    twice_at_once(mesh, &alice).await;
    for replica in [0, 1] {
        mesh.node_mut(replica, "wallet").kill().await;
    }
    assert_eq!(alice.buy("spins-5", &key()).await.status, 503);
    let took = began.elapsed().as_secs_f64();
    let after = [told(mesh, "shop").await, told(mesh, "edge").await];
    check([&before[0], &after[0]], took);
    let of_edge = moved(&before[1], &after[1], "coreloop_edge_deprecated_requests_total");
    let [(series, count)] = Vec::from_iter(of_edge).try_into().unwrap();
    assert!(series.contains("route=\"/api/shop/buy\"") && count == 1.0, "{series}: {count}");
    for replica in [0, 1] {
        mesh.node_mut(replica, "wallet").start().await;
    }
}

fn check([before, after]: [&BTreeMap<String, f64>; 2], took: f64) {
    let states = [
        ("CONFIRMED", 6),
        ("PENDING", 1),
        ("IDEMPOTENCY_KEY_REUSED", 1),
        ("PRODUCT_NOT_FOUND", 1),
        ("VALIDATION_FAILED", 1),
        ("INSUFFICIENT_FUNDS", 1),
        ("PAYMENT_REFUSED", 1),
        ("IN_PROGRESS", 1),
        ("unknown", 1),
    ];
    let states = states.map(|(state, count)| (format!("state=\"{state}\""), count));
    let states: Vec<(&str, u32)> = states.iter().map(|(labels, count)| (labels.as_str(), *count)).collect();
    let family = "cc_shop_purchase_attempt_total";
    assert_eq!(moved(before, after, family), counts(family, &states));
    let family = "purchase_attempt_total";
    let refused = |reason: &str| format!("flow=\"purchase\",result=\"refused\",reason=\"{reason}\"");
    let mut attempts = vec![
        ("flow=\"purchase\",result=\"success\",reason=\"\"".to_owned(), 6),
        ("flow=\"limited\",result=\"success\",reason=\"\"".to_owned(), 1),
        ("flow=\"limited\",result=\"refused\",reason=\"INSUFFICIENT_FUNDS\"".to_owned(), 1),
        ("flow=\"purchase\",result=\"failed\",reason=\"unknown\"".to_owned(), 1),
    ];
    let reasons =
        ["IDEMPOTENCY_KEY_REUSED", "PRODUCT_NOT_FOUND", "VALIDATION_FAILED", "PAYMENT_REFUSED", "IN_PROGRESS"];
    attempts.extend(reasons.map(|reason| (refused(reason), 1)));
    let attempts: Vec<(&str, u32)> = attempts.iter().map(|(labels, count)| (labels.as_str(), *count)).collect();
    assert_eq!(moved(before, after, family), counts(family, &attempts));
    let keys = [
        ("flow=\"purchase\",state=\"first\"", 7),
        ("flow=\"limited\",state=\"first\"", 2),
        ("flow=\"purchase\",state=\"repeat\"", 1),
        ("flow=\"purchase\",state=\"running\"", 1),
        ("flow=\"purchase\",state=\"reused\"", 1),
    ];
    let family = "purchase_idempotency_total";
    assert_eq!(moved(before, after, family), counts(family, &keys));
    let of =
        |series: &str| after.get(series).copied().unwrap_or_default() - before.get(series).copied().unwrap_or_default();
    assert_eq!(of("cc_shop_purchase_latency_seconds_count"), 14.0);
    let sum = of("cc_shop_purchase_latency_seconds_sum");
    // Two of them were under way at the same time.
    assert!((0.001..2.0 * took).contains(&sum), "{sum} s, of {took} s");
    let ended = [("status=\"CONFIRMED\"", 1), ("status=\"FAILED\"", 1), ("status=\"VOIDED\"", 1)];
    let family = "settlement_latency_seconds_count";
    assert_eq!(moved(before, after, family), counts(family, &ended));
    let voided = of("settlement_latency_seconds_sum{status=\"VOIDED\"}");
    assert!((60.0..60.0 + took).contains(&voided), "a minute and what it took: {voided} s");
    // Rules of alerts name this bound.
    for (bound, ended) in [("15.0", 0.0), ("300.0", 1.0)] {
        let bucket = |name: &&String| {
            name.starts_with("settlement_latency_seconds_bucket")
                && name.contains(&format!("le=\"{bound}\""))
                && name.contains("VOIDED")
        };
        assert_eq!(of(after.keys().find(bucket).unwrap()), ended, "{bound}");
    }
}

/// Grants and redemptions that end in every way.
async fn rewards(mesh: &TestMesh) {
    let (good, bad) = (Shelf::with(mesh, 10, 3).await, Shelf::at_vendor(mesh, 10, 3, "refused-2").await);
    let (giver, full) = (Giver::of(mesh, "scan").await, mesh.persona("full").await);
    let before = told(mesh, "rewards").await;
    let began = Instant::now();
    let alice = person_with(mesh, "alice", 20).await;
    for (shelf, state) in [(&good, "ISSUED"), (&bad, "FAILED")] {
        let begun = redeemed(&alice, &shelf.sku, &shelf.sku).await.expect(200);
        let ended = settled(&alice, begun["redemption"]["redemption_id"].as_str().unwrap()).await;
        assert_eq!(ended["state"], format!("REDEMPTION_STATE_{state}"));
    }
    let dear = Shelf::with(mesh, 1_000, 1).await;
    redeemed(&alice, &dear.sku, "k").await.refused(400, "INSUFFICIENT_POINTS");
    given(&giver, 0, &points(&full.user_id, 9_007_199_254_740_991)).await;
    giver.give(0, &points(&full.user_id, 1)).await.unwrap_err();
    // Counted once it is committed, and seen before.
    let family = "cc_reward_issue_total";
    let ends = ["failed", "issued", "cancelled", "refused", "granted"].map(|status| format!("status=\"{status}\""));
    let ends: Vec<(&str, u32)> =
        ends.iter().map(|end| (end.as_str(), 1 + u32::from(end.contains("granted")))).collect();
    let after = wait_for("all of them are counted", RECOVERY, async || {
        let after = told(mesh, "rewards").await;
        (moved(&before, &after, family).values().sum::<f64>() >= 6.0).then_some(after)
    })
    .await;
    assert_eq!(moved(&before, &after, family), counts(family, &ends));
    let of = |series: &str| after[series] - before.get(series).copied().unwrap_or_default();
    assert_eq!((of("cc_reward_issue_latency_seconds_count"), of("rewards_grant_latency_seconds_count")), (6.0, 2.0));
    let (sum, took) = (of("cc_reward_issue_latency_seconds_sum"), began.elapsed().as_secs_f64());
    assert!((0.001..took).contains(&sum), "{sum} s, of {took} s");
}

#[test]
fn the_metrics_of_the_economy_count_what_is_done() {
    run(async {
        let settings = mesh().setting("rewards.resend_after_secs", 1_i64);
        let mut mesh = settings.start().await;
        shop(&mut mesh).await;
        rewards(&mesh).await;
    });
}
