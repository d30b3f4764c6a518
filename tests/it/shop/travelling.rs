//! A conversion that is settled late, through Envoy and REST: one trace, from the request to the GOLD and the event.

use coreloop_testkit::{run, wait::wait_for};
use serde_json::json;

use super::stage::{Buyer, RECOVERY, gold, key, mesh};
use crate::journeys::economy::whole;

#[test]
fn a_late_settlement_is_one_trace() {
    run(async {
        let mesh = mesh().envoy().otlp().start().await;
        let alice = Buyer::new(&mesh);
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let body = json!({"product_id": "gold-500", "idempotency_key": key(), "payment_handle": "pending"});
        let call = mesh.rest().post("/api/shop/purchase", &body).header("authorization", &alice.bearer());
        let bought = call.header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01")).send().await.expect(200);
        let id = bought["transaction_id"].as_str().unwrap();
        assert_eq!(bought["status"], "PURCHASE_STATE_PENDING");
        let payment = alice.transaction(id).await["payment_id"].as_str().unwrap().to_owned();
        let decision = json!({"status": "confirmed", "callback_url": format!("{}/api/shop/webhook", mesh.front())});
        let stand_ins = mesh.stand_ins.as_ref().unwrap().rest();
        let told = stand_ins.post(&format!("/_sandbox/payments/{payment}"), &decision).send().await.expect(200);
        assert_eq!(told["webhooks"][0]["status"], 200, "{told}");
        alice.settled(id, "CONFIRMED").await;
        assert_eq!(gold(&mesh, &alice.id).await, 525);
        let (edge, purchase) = ("POST /api/shop/purchase", "shop.v1.ShopService/Purchase");
        let posting = "wallet.v1.WalletInternalService/PostBatch";
        wait_for("all of it is exported", RECOVERY, async || {
            let spans = whole(&mesh, trace, &[edge, purchase, "settlement_phase", posting]).await;
            let named = |name: &str| spans.iter().find(|it| it.span.name.contains(name));
            let of = |id: &[u8]| spans.iter().find(|it| it.span.span_id == id);
            // From a span up to the edge's, by way of the purchase.
            let caused = |id: &[u8]| {
                let mut way = std::iter::successors(of(id), |it| of(&it.span.parent_span_id));
                let by = named(purchase).is_some_and(|purchase| way.any(|it| it.span.span_id == purchase.span.span_id));
                by && named(edge).is_some_and(|edge| way.any(|it| it.span.span_id == edge.span.span_id))
            };
            let step = |step: &str| {
                spans.iter().find(|it| {
                    let of = |name: &str| {
                        it.span.attributes.iter().find(|attribute| attribute.key == name).map(|it| format!("{it:?}"))
                    };
                    it.span.name == "settlement_phase" && of("coreloop.step").is_some_and(|value| value.contains(step))
                })
            };
            let (_, give) = (step("pay")?, step("give")?);
            // What the wallet did is below the step that asked for it.
            let below = |it: &&coreloop_testkit::otlp::Received| it.span.parent_span_id == give.span.span_id;
            let posted = spans.iter().filter(|it| it.span.name.ends_with(posting)).find(below)?;
            assert!(caused(&posted.span.span_id), "the request did not cause it: {}", posted.span.name);
            Some(())
        })
        .await;
        let events = format!(
            "select count(*) from shop.outbox where trace_id = '{trace}'
                and type in ('purchase_requested', 'settlement_confirmed', 'purchase_completed')"
        );
        assert_eq!(mesh.db.count(&events).await, 3);
        let posted = format!("select count(*) from wallet.outbox where trace_id = '{trace}'");
        assert_eq!(mesh.db.count(&posted).await, 2, "what was paid for, and what is on top");
    });
}
