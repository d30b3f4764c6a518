//! A conversion that is settled late, through Envoy and REST: one trace, from the request to the GOLD and the event.

use coreloop_testkit::{run, wait::wait_for};
use serde_json::json;

use super::stage::{Buyer, RECOVERY, gold, key, mesh};

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
        wait_for("all of it is exported", RECOVERY, async || {
            let spans = mesh.otlp.as_ref().unwrap().trace(trace);
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
            let posted = spans.iter().find(|it| it.span.name.ends_with("WalletInternalService/PostBatch"))?;
            (posted.span.parent_span_id == give.span.span_id).then_some(())
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
