//! M3, M4 and M8 of chapter 09, and 64 buyers on one wallet.

use std::time::{Duration, Instant};

use coreloop_testkit::{Rounds, deep, run, wait::wait_for};
use futures::{StreamExt as _, future::join_all, stream};
use serde_json::{Value, json};

use super::stage::{Buyer, MESH, gold, key, nothing_is_amiss, own, product};

/// Asks with a key until there is an answer; while it runs that is IN_PROGRESS.
async fn until_answered(buyer: &Buyer, replica: usize, body: &Value) -> Value {
    wait_for("an answer", Duration::from_secs(60), async || {
        let answer = buyer.ask(replica, "/api/shop/purchase", body).await;
        // Nothing is known of it: the machine is too busy.
        if [503, 504].contains(&answer.status.as_u16()) {
            return None;
        }
        if answer.status == 409 {
            answer.refused(409, "IN_PROGRESS");
            assert_eq!((&answer.json()["message"], &answer.json()["success"]), (&json!("IN_PROGRESS"), &json!(false)));
            let retry = answer.detail("google.rpc.RetryInfo").unwrap()["retry_delay"].as_str().unwrap().to_owned();
            let secs: f64 = retry.trim_end_matches('s').parse().unwrap();
            assert!((0.15..=0.3).contains(&secs), "{retry}");
            return None;
        }
        Some(answer.expect(200))
    })
    .await
}

#[test]
fn the_same_key_is_one_debit_and_one_answer_over_two_replicas() {
    run(async {
        let mesh = MESH.get().await;
        let alice = Buyer::with(mesh, 80 * 200).await;
        let mut left = 80 * 200;
        let mut rounds = Rounds::of(100).at_least(5);
        for round in rounds.by_ref() {
            let body = json!({"product_id": "spins-5", "idempotency_key": format!("{}-{round}", key())});
            let answers = join_all((0..200).map(|replica| until_answered(&alice, replica, &body))).await;
            assert!(answers.iter().all(|answer| *answer == answers[0]), "round {round}: {answers:?}");
            let mut other = body.clone();
            other["promo_code"] = json!("OTHER");
            alice.ask(round, "/api/shop/purchase", &other).await.refused(409, "IDEMPOTENCY_KEY_REUSED");
            left -= 80;
            assert_eq!(gold(mesh, &alice.id).await, left, "round {round}: one debit, and none for another body");
        }
        nothing_is_amiss(mesh, &format!("p.user_id = '{}'", alice.id)).await;
        println!("M3 (shop): {} rounds of 200 over two replicas", rounds.begun());
    });
}

#[test]
fn limited_stock_is_exact() {
    run(async {
        let mesh = MESH.get().await;
        let (buyers, stock) = (500, 100);
        let package = own("package");
        product(
            mesh,
            &json!({"product_id": package, "category": "CATEGORY_ITEM", "name": "P", "price": 10, "active": true,
                    "stock": stock, "effect": {"code": "PACKAGE", "amount": 1}}),
        )
        .await;
        let all: Vec<Buyer> =
            stream::iter(0..buyers).map(|_| Buyer::with(mesh, 10)).buffer_unordered(32).collect().await;
        let body = json!({"package_id": package, "idempotency_key": key()});
        let answers =
            join_all(all.iter().enumerate().map(|(replica, it)| it.known(replica, "/api/shop/buy-limited", &body)))
                .await;
        let sold = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(sold, stock);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.refused(400, "SOLD_OUT");
        }
        let count = |sql: &str| {
            let sql = sql.replace("{package}", &package);
            async move { mesh.db.count(&sql).await }
        };
        let sold = i64::try_from(stock).unwrap();
        assert_eq!(count("select taken from shop.stock where product_id = '{package}'").await, sold);
        assert_eq!(
            count("select count(*) from shop.purchases where product_id = '{package}' and state = 3").await,
            sold
        );
        nothing_is_amiss(mesh, &format!("p.product_id = '{package}'")).await;
    });
}

#[test]
fn a_promo_code_for_one_is_used_once() {
    run(async {
        let mesh = MESH.get().await;
        let admin = mesh.admin().await;
        let all: Vec<Buyer> = stream::iter(0..200).map(|_| Buyer::with(mesh, 80)).buffer_unordered(32).collect().await;
        let mut rounds = Rounds::of(100).at_least(5);
        for round in rounds.by_ref() {
            let code = own("ONCE").to_uppercase();
            // Nearly nothing is left of the price: who wins has enough for the next.
            let promo = json!({"code": code, "kind": "PROMO_KIND_PERCENT", "value": 99, "max_uses": 1, "per_user": 1});
            admin.post("/admin/shop/promos", &json!({ "promo": promo })).await.expect(200);
            let body = json!({"product_id": "spins-5", "idempotency_key": key(), "promo_code": code});
            let answers =
                join_all(all.iter().enumerate().map(|(replica, it)| it.known(replica, "/api/shop/purchase", &body)));
            let (won, lost): (Vec<_>, Vec<_>) = answers.await.into_iter().partition(|answer| answer.status == 200);
            assert_eq!(won.len(), 1, "round {round}");
            lost.iter().for_each(|answer| answer.refused(400, "PROMO_USED_UP"));
            assert_eq!(mesh.db.count(&format!("select used from shop.promos where code = '{code}'")).await, 1);
            nothing_is_amiss(mesh, &format!("p.promo = '{code}'")).await;
        }
        println!("M8 promo code: {} rounds of 200 buyers, 1 success each", rounds.begun());
    });
}

#[test]
fn sixty_four_conversions_at_once_are_settled_without_an_error() {
    run(async {
        let mesh = MESH.get().await;
        let buyers: Vec<Buyer> = (0..64).map(|_| Buyer::new(mesh)).collect();
        let keys: Vec<String> = buyers.iter().map(|_| key()).collect();
        let answers = join_all(buyers.iter().zip(&keys).map(|(buyer, key)| buyer.convert(key, "card"))).await;
        for answer in answers {
            assert_eq!(answer.expect(200)["status"], "PURCHASE_STATE_CONFIRMED");
        }
        let ids: Vec<String> = buyers.iter().map(|buyer| format!("'{}'", buyer.id)).collect();
        nothing_is_amiss(mesh, &format!("p.user_id in ({})", ids.join(", "))).await;
    });
}

#[test]
fn sixty_four_buyers_on_one_wallet_buy_without_an_error() {
    run(async {
        let mesh = MESH.get().await;
        let purchases = if deep() { 3_200 } else { 320 };
        let alice = Buyer::with(mesh, 80 * purchases).await;
        let began = Instant::now();
        stream::iter(0..usize::try_from(purchases).unwrap())
            .for_each_concurrent(64, |replica| {
                let alice = &alice;
                async move {
                    let body = json!({"product_id": "spins-5", "idempotency_key": key()});
                    alice.ask(replica, "/api/shop/purchase", &body).await.expect(200);
                }
            })
            .await;
        let took = began.elapsed().as_secs_f64();
        println!(
            "{purchases} purchases of 64 buyers on one wallet: {:.0}/s",
            f64::from(i32::try_from(purchases).unwrap()) / took
        );
        assert_eq!(gold(mesh, &alice.id).await, 0);
        nothing_is_amiss(mesh, &format!("p.user_id = '{}'", alice.id)).await;
    });
}
