//! A wallet that is almost full: of conversions that race for what it can hold the rest is paid back.

use coreloop_testkit::run;
use futures::future::join_all;
use serde_json::json;

use super::stage::{Buyer, MESH, give, gold, key, nothing_is_amiss};

/// Most that the wallet holds.
const MOST: i64 = 9_007_199_254_740_991;

#[test]
fn what_a_wallet_cannot_hold_is_paid_back_even_in_a_race() {
    run(async {
        let mesh = MESH.get().await;
        let alice = Buyer::new(mesh);
        give(mesh, &alice.id, MOST - 600).await;
        let convert = |replica: usize| {
            let body = json!({"product_id": "gold-500", "idempotency_key": key(), "payment_handle": "card"});
            let alice = &alice;
            async move { (alice.ask(replica, "/api/shop/purchase", &body).await, body) }
        };
        let answers = join_all((0..8).map(convert)).await;
        let given = answers.iter().filter(|(answer, _)| answer.status == 200).count();
        assert_eq!(given, 1, "{:?}", answers.iter().map(|(answer, _)| answer.text()).collect::<Vec<_>>());
        for (answer, body) in answers.iter().filter(|(answer, _)| answer.status != 200) {
            answer.refused(400, "BALANCE_LIMIT");
            alice.ask(1, "/api/shop/purchase", body).await.refused(400, "BALANCE_LIMIT");
        }
        assert_eq!(gold(mesh, &alice.id).await, MOST - 75);
        let failed: Vec<String> =
            sqlx::query_scalar("select payment_id from shop.purchases where user_id = $1::uuid and state = 5")
                .bind(&alice.id)
                .fetch_all(&mut mesh.db.connect().await)
                .await
                .unwrap();
        assert_eq!(failed.len(), 7);
        for payment in failed {
            let rest = mesh.stand_ins.as_ref().unwrap().rest();
            let seen = rest.get(&format!("/_sandbox/payments/{payment}")).send().await.expect(200);
            assert_eq!(seen["status"], "voided", "its points are back: {seen}");
        }
        nothing_is_amiss(mesh, &format!("p.user_id = '{}'", alice.id)).await;
    });
}
