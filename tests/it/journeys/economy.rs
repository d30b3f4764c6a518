//! Value on its way through the mesh, through Envoy and REST: each request, with all that it causes, is one trace.
//!
//! GOLD that is settled late is `shop::travelling`.

use std::time::Duration;

use coreloop_testkit::{Persona, TestMesh, mesh::Builder, otlp::Received, run, wait::wait_for};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::rewards::stage::{Shelf, person_with, points_of, settled};

const PATIENCE: Duration = Duration::from_secs(60);

fn mesh() -> Builder {
    // Nobody is told IN_PROGRESS because the machine has much else to do.
    TestMesh::builder().envoy().split().stand_ins().otlp().setting("shop.lease_secs", 30_i64)
}

/// Asks as a browser that traces: the answer, and the trace it began.
async fn traced(person: &Persona, number: u8, path: &str, body: &Value) -> (coreloop_testkit::Answer, String) {
    let trace = format!("{number:02x}").repeat(16);
    let call = person.rest().post(path, body).header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
    (call.send().await, trace)
}

/// The spans of a trace by name, once there is at least one of each of `names` and all hang below the caller's own span: one root,
/// everything else is caused by something that is in the trace. The outermost may be exported last.
pub async fn whole(mesh: &TestMesh, trace: &str, names: &[&str]) -> Vec<Received> {
    let otlp = mesh.otlp.as_ref().unwrap();
    let caller = 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes();
    wait_for(format!("the trace has {names:?}, below its caller"), PATIENCE, async || {
        let spans = otlp.trace(trace);
        let has = |name: &&str| spans.iter().any(|it| it.span.name.contains(*name));
        let parent = |it: &Received| spans.iter().any(|other| other.span.span_id == it.span.parent_span_id);
        let roots: Vec<&Received> = spans.iter().filter(|it| !parent(it)).collect();
        let one = matches!(roots.as_slice(), [root] if root.span.parent_span_id == caller);
        (names.iter().all(has) && one).then_some(spans)
    })
    .await
}

fn count(spans: &[Received], name: &str) -> usize {
    spans.iter().filter(|it| it.span.name.contains(name)).count()
}

/// Fails the vendor's orders from now on.
async fn no_vendor(mesh: &TestMesh) {
    let fault = json!({"provider": "vendor", "endpoint": "order", "kind": "error", "status": 500});
    mesh.stand_ins.as_ref().unwrap().fault(&fault).await;
}

#[test]
fn the_last_of_a_limited_package_goes_to_one() {
    run(async {
        let mesh = mesh().start().await;
        let admin = mesh.admin().await;
        let package = json!({"product_id": "last-one", "category": "CATEGORY_ITEM", "name": "The last", "price": 10,
                             "active": true, "stock": 1, "per_user_limit": 1,
                             "effect": {"code": "PACKAGE", "amount": 1}});
        admin.post("/admin/shop/products", &json!({ "product": package })).await.expect(200);
        let mut people = Vec::new();
        for number in 0..8 {
            let person = mesh.persona(&format!("p{number}")).await;
            let given = json!({"user_id": person.user_id, "currency": "CURRENCY_GOLD", "delta": 100, "reason": "a race",
                               "idempotency_key": format!("race-{number}")});
            admin.post("/admin/users/adjust-points", &given).await.expect(200);
            people.push(person);
        }
        let body = json!({"package_id": "last-one", "idempotency_key": "k"});
        let path = "/api/shop/buy-limited";
        let asked = (1..).zip(&people).map(|(number, person)| traced(person, number, path, &body));
        let answers = join_all(asked).await;
        let winners: Vec<usize> = (0..people.len()).filter(|place| answers[*place].0.status == 200).collect();
        assert_eq!(winners.len(), 1, "{:?}", answers.iter().map(|(answer, _)| answer.text()).collect::<Vec<_>>());
        for (place, (answer, trace)) in answers.iter().enumerate() {
            let (shop, wallet) = ("shop.v1.ShopService/BuyLimited", "wallet.v1.WalletInternalService/");
            let edge = "POST /api/shop/buy-limited";
            if place == winners[0] {
                whole(&mesh, trace, &[edge, shop, wallet]).await;
            } else {
                answer.refused(400, "SOLD_OUT");
                whole(&mesh, trace, &[edge, shop]).await;
            }
            // Who is too late is not charged, not even for a moment: the ledger knows of what was given alone.
            let (moved, left) = if place == winners[0] { (2, 90) } else { (1, 100) };
            let entries = format!("select count(*) from wallet.entries where owner = '{}'", people[place].user_id);
            assert_eq!(mesh.db.count(&entries).await, moved);
            let balances = people[place].get("/api/v1/wallet/balances").await.expect(200);
            assert_eq!(balances["balances"][0]["available"], left, "{balances}");
        }
    });
}

#[test]
fn what_the_vendor_refuses_comes_back() {
    run(async {
        let mesh = mesh().start().await;
        let shelf = Shelf::at_vendor(&mesh, 10, 1, "refused-1").await;
        let alice = person_with(&mesh, "alice", 100).await;
        let path = format!("/v1/rewards/{}/redeem", shelf.sku);
        let (begun, trace) = traced(&alice, 0x51, &path, &json!({"idempotency_key": "k"})).await;
        let begun = begun.expect(200);
        let id = begun["redemption"]["redemption_id"].as_str().unwrap();
        let failed = settled(&alice, id).await;
        assert_eq!(failed["state"], "REDEMPTION_STATE_FAILED", "{failed}");
        assert_eq!((points_of(&alice).await, shelf.stock(&mesh).await), (100, 1));
        let names = [
            "POST /v1/rewards/{sku}/redeem",
            "RewardsService/Redeem",
            "WalletInternalService/Spend",
            "rewards.issue",
            "WalletInternalService/Reverse",
        ];
        let spans = whole(&mesh, &trace, &names).await;
        // What is given back is done by the recovery, later, and hangs below the request that it is for.
        let asked = spans.iter().find(|it| it.span.name.contains("RewardsService/Redeem")).unwrap();
        let refund = spans.iter().find(|it| it.span.name.contains("WalletInternalService/Reverse")).unwrap();
        assert_eq!(refund.span.parent_span_id, asked.span.span_id);
        let told =
            format!("select count(*) from rewards.outbox where trace_id = '{trace}' and type = 'redemption_failed'");
        assert_eq!(mesh.db.count(&told).await, 1);
        for schema in ["rewards", "wallet"] {
            let told = format!("select count(*) from {schema}.outbox where trace_id = '{trace}'");
            assert!(mesh.db.count(&told).await >= 1, "what {schema} told of it is of the same trace");
        }
    });
}

#[test]
fn a_dead_letter_is_done_after_all_in_the_trace_of_its_cause() {
    run(async {
        let mesh = mesh()
            .setting("rewards.resend_after_secs", 3_600_i64)
            .toml("[eventing]\nretry_delays_secs = [0, 0, 0]\npoll_ms = 100\nstandby_ms = 100\n")
            .start()
            .await;
        let shelf = Shelf::with(&mesh, 10, 1).await;
        let alice = person_with(&mesh, "alice", 100).await;
        no_vendor(&mesh).await;
        let path = format!("/v1/rewards/{}/redeem", shelf.sku);
        let (begun, trace) = traced(&alice, 0x52, &path, &json!({"idempotency_key": "k"})).await;
        let begun = begun.expect(200);
        let id = begun["redemption"]["redemption_id"].as_str().unwrap();
        let admin = mesh.admin().await;
        let letter = wait_for("it is a dead letter", PATIENCE, async || {
            let letters = admin.get("/admin/dlq/rewards.issue").await.expect(200);
            letters["dead_letters"].as_array().and_then(|letters| letters.first().cloned())
        })
        .await;
        assert_eq!(letter["key"], id, "{letter}");
        mesh.stand_ins.as_ref().unwrap().rest().delete("/_sandbox/faults").send().await;
        let tried =
            admin.post("/admin/dlq/reprocess", &json!({"queue": "rewards.issue", "count": 1})).await.expect(200);
        assert_eq!(tried["reprocessed"], 1, "{tried}");
        let issued = settled(&alice, id).await;
        assert_eq!(issued["state"], "REDEMPTION_STATE_ISSUED", "{issued}");
        assert_eq!((points_of(&alice).await, shelf.stock(&mesh).await), (90, 0));
        let spans = whole(&mesh, &trace, &["RewardsService/Redeem", "rewards.issue"]).await;
        assert!(
            count(&spans, "rewards.issue") >= 2,
            "the tries that failed, and the one that did not: {}",
            spans.len()
        );
    });
}
