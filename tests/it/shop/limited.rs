//! What is limited: stock, places of each user, promo codes; taken once, given back when it was for nothing.

use coreloop_testkit::{TestMesh, run, wait::wait_until};
use futures::future::join_all;
use serde_json::{Value, json};

use super::stage::{Buyer, MESH, RECOVERY, give, gold, hasty, key, nothing_is_amiss, own, product};

fn package(id: &str, change: Value) -> Value {
    let mut product = json!({"product_id": id, "category": "CATEGORY_ITEM", "name": "P", "price": 10, "active": true,
                             "effect": {"code": "PACKAGE", "amount": 1}});
    product.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    product
}

async fn buy_limited(buyer: &Buyer, package: &str) -> coreloop_testkit::Answer {
    buyer.ask(0, "/api/shop/buy-limited", &json!({"package_id": package, "idempotency_key": key()})).await
}

#[test]
fn what_a_purchase_took_comes_back_when_it_fails() {
    run(async {
        let mesh = MESH.get().await;
        let id = own("last");
        product(mesh, &package(&id, json!({"stock": 1, "per_user_limit": 1}))).await;
        let (poor, alice, bob) = (Buyer::new(mesh), Buyer::with(mesh, 10).await, Buyer::with(mesh, 10).await);
        buy_limited(&poor, &id).await.refused(400, "INSUFFICIENT_FUNDS");
        let taken = format!("select taken from shop.stock where product_id = '{id}'");
        assert_eq!(mesh.db.count(&taken).await, 0);
        let bought = buy_limited(&alice, &id).await.expect(200);
        assert_eq!(bought["success"], true, "the answer is as that of any purchase");
        buy_limited(&bob, &id).await.refused(400, "SOLD_OUT");
        assert_eq!(gold(mesh, &bob.id).await, 10);
        // Fewer than were sold are never promised.
        let changed = product(mesh, &package(&id, json!({"stock": 0}))).await;
        assert_eq!(changed["stock"], 1);
        buy_limited(&alice, "spins-5").await.refused(404, "PRODUCT_NOT_FOUND");
        // It asks for nothing that a conversion could be paid with.
        let gold = json!({"category": "CATEGORY_CONVERSION", "gold": 5, "stock": 1, "effect": null});
        let other = own("gold");
        product(mesh, &package(&other, gold)).await;
        buy_limited(&alice, &other).await.refused(404, "PRODUCT_NOT_FOUND");
    });
}

#[test]
fn what_is_not_limited_for_a_while_was_still_sold() {
    run(async {
        let mut mesh = hasty().start().await;
        let (one, two) = (own("one"), own("two"));
        let limited =
            async |mesh: &TestMesh, id: &str, stock: Value| product(mesh, &package(id, json!({"stock": stock}))).await;
        limited(&mesh, &one, json!(1)).await;
        limited(&mesh, &two, json!(1)).await;
        let (alice, bob, poor) = (Buyer::with(&mesh, 10).await, Buyer::with(&mesh, 10).await, Buyer::new(&mesh));
        let body = json!({"package_id": one, "idempotency_key": key()});
        let bought = alice.ask(0, "/api/shop/buy-limited", &body).await.expect(200);
        // Open while the stock goes and comes.
        for replica in [0, 1] {
            mesh.node_mut(replica, "wallet").kill().await;
        }
        assert_eq!(buy_limited(&poor, &two).await.status, 503);
        for id in [&one, &two] {
            limited(&mesh, id, Value::Null).await;
        }
        assert_eq!(
            alice.ask(1, "/api/shop/buy-limited", &body).await.expect(200),
            bought,
            "a key is answered as it was"
        );
        for id in [&one, &two] {
            limited(&mesh, id, json!(1)).await;
        }
        for replica in [0, 1] {
            mesh.node_mut(replica, "wallet").start().await;
        }
        let open = "select count(*) from shop.purchases where next_at is not null";
        wait_until("the open one is over", RECOVERY, async || mesh.db.count(open).await == 0).await;
        buy_limited(&bob, &one).await.refused(400, "SOLD_OUT");
        buy_limited(&bob, &two).await.expect(200);
        nothing_is_amiss(&mesh, "true").await;
    });
}

#[test]
fn nobody_has_more_than_one_may_even_in_a_race() {
    run(async {
        let mesh = MESH.get().await;
        let id = own("three");
        product(mesh, &package(&id, json!({"stock": 100, "per_user_limit": 3}))).await;
        let alice = Buyer::with(mesh, 1_000).await;
        let answers = join_all((0..30).map(|replica| {
            let body = json!({"package_id": id, "idempotency_key": key()});
            let alice = &alice;
            async move { alice.ask(replica, "/api/shop/buy-limited", &body).await }
        }))
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 3);
        answers.iter().filter(|answer| answer.status != 200).for_each(|answer| answer.refused(400, "LIMIT_REACHED"));
        assert_eq!(gold(mesh, &alice.id).await, 970);
    });
}

#[test]
fn a_promo_code_is_used_as_often_as_it_may() {
    run(async {
        let mesh = MESH.get().await;
        let (admin, code) = (mesh.admin().await, own("CODE").to_uppercase());
        let promo = |change: Value| {
            let mut promo =
                json!({"code": code, "kind": "PROMO_KIND_PERCENT", "value": 50, "max_uses": 5, "per_user": 2});
            promo.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            json!({ "promo": promo })
        };
        let bonus = |value: i64| json!({"kind": "PROMO_KIND_BONUS", "value": value.to_string()});
        for wrong in [
            json!({"value": 100}),
            json!({"value": 0}),
            json!({"code": "with space"}),
            json!({"max_uses": -1}),
            bonus(0),
            bonus(-1),
            bonus(i64::MAX),
        ] {
            assert_eq!(admin.post("/admin/shop/promos", &promo(wrong.clone())).await.status, 400, "{wrong}");
        }
        admin.post("/admin/shop/promos", &promo(json!({}))).await.expect(200);
        let poor = Buyer::new(mesh);
        let buyers = join_all((0..8).map(|_| Buyer::with(mesh, 1_000))).await;
        let body = || json!({"product_id": "spins-5", "idempotency_key": key(), "promo_code": code.to_lowercase()});
        poor.ask(0, "/api/shop/purchase", &body()).await.refused(400, "INSUFFICIENT_FUNDS");
        let alice = &buyers[0];
        let bought = alice.ask(0, "/api/shop/purchase", &body()).await.expect(200);
        assert_eq!((&bought["gold_delta"], &bought["balance"]), (&json!(-40), &json!(960)));
        alice.ask(1, "/api/shop/purchase", &body()).await.expect(200);
        alice.ask(0, "/api/shop/purchase", &body()).await.refused(400, "PROMO_USED_UP");
        let answers = join_all(buyers.iter().skip(1).map(|buyer| {
            let body = body();
            async move { buyer.ask(1, "/api/shop/purchase", &body).await }
        }))
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 3, "five in all");
        answers.iter().filter(|answer| answer.status != 200).for_each(|answer| answer.refused(400, "PROMO_USED_UP"));
        let fewer = admin.post("/admin/shop/promos", &promo(json!({"max_uses": 1}))).await.expect(200);
        assert_eq!(fewer["promo"]["max_uses"], 5, "no fewer than were used");
        // Other products only.
        admin.post("/admin/shop/promos", &promo(json!({"max_uses": 0, "product_ids": ["gold-100"]}))).await.expect(200);
        alice.ask(0, "/api/shop/purchase", &body()).await.refused(400, "PROMO_INVALID");
        // GOLD on top, for conversions.
        let bonus = json!({"kind": "PROMO_KIND_BONUS", "value": 7, "max_uses": 0, "per_user": 0});
        admin.post("/admin/shop/promos", &promo(bonus)).await.expect(200);
        let bob = Buyer::new(mesh);
        let body =
            json!({"product_id": "gold-500", "idempotency_key": key(), "promo_code": code, "payment_handle": "card"});
        assert_eq!(bob.ask(0, "/api/shop/purchase", &body).await.expect(200)["gold_delta"], 532);
        give(mesh, &bob.id, 1).await;
        assert_eq!(gold(mesh, &bob.id).await, 533);
        // Before its window, and after it.
        for window in [json!({"starts_at": "2999-01-01T00:00:00Z"}), json!({"ends_at": "2000-01-01T00:00:00Z"})] {
            let mut change = json!({"kind": "PROMO_KIND_PERCENT", "value": 50, "max_uses": 0, "per_user": 0});
            change.as_object_mut().unwrap().extend(window.as_object().unwrap().clone());
            admin.post("/admin/shop/promos", &promo(change)).await.expect(200);
            let body = json!({"product_id": "spins-5", "idempotency_key": key(), "promo_code": code});
            bob.ask(0, "/api/shop/purchase", &body).await.refused(400, "PROMO_INVALID");
        }
        assert_eq!(gold(mesh, &bob.id).await, 533);
    });
}
