//! Purchases that are cut at any step, with the shop or the wallet killed in the midst: each is finished or undone.

use std::time::Duration;

use coreloop_testkit::{
    TestMesh, deep, run, seed,
    wait::{wait_for, wait_until},
};
use futures::{StreamExt as _, future::join_all, stream};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

use super::stage::{Buyer, MESH, RECOVERY, give, gold, hasty, key, mesh, nothing_is_amiss};

/// Every purchase is over.
async fn over(mesh: &TestMesh) {
    let open = "select count(*) from shop.purchases where next_at is not null";
    wait_until("every purchase is over", RECOVERY, async || mesh.db.count(open).await == 0).await;
}

#[test]
fn a_purchase_whose_buyer_goes_away_at_any_step_is_finished() {
    run(async {
        // Those that are cut wait for the lease to end.
        let mesh = mesh().setting("shop.lease_secs", 20_i64).start().await;
        let purchases: i64 = if deep() { 2_000 } else { 200 };
        let alice = Buyer::with(&mesh, purchases * 80).await;
        let mut random = StdRng::seed_from_u64(seed("cut purchases"));
        // From before anything was written to after everything was: a purchase takes some tens of milliseconds here.
        let cuts: Vec<(usize, Duration)> = (0..usize::try_from(purchases).unwrap())
            .map(|n| {
                let cut = Duration::from_micros(random.random_range(0..60_000));
                // Some are not cut, however slow the machine is.
                (n, if n % 8 == 0 { Duration::from_secs(20) } else { cut })
            })
            .collect();
        stream::iter(cuts)
            .for_each_concurrent(8, |(replica, patience)| {
                let alice = &alice;
                async move {
                    let body = json!({"product_id": "spins-5", "idempotency_key": key()});
                    let call = alice.rest(replica).post("/api/shop/purchase", &body).within(patience);
                    // Whoever is told that it goes on may as well have gone away.
                    if let Ok(answer) = call.try_send().await
                        && answer.reason() != "IN_PROGRESS"
                    {
                        answer.expect(200);
                    }
                }
            })
            .await;
        over(&mesh).await;
        nothing_is_amiss(&mesh, "true").await;
        let sold = mesh.db.count("select count(*) from shop.purchases where state = 3").await;
        assert_eq!(gold(&mesh, &alice.id).await, (purchases - sold) * 80);
        assert!(sold > 0, "some were written down before they were cut");
    });
}

#[test]
fn purchases_of_a_shop_that_is_killed_are_finished_by_another() {
    run(async {
        let mut mesh = hasty().start().await;
        let (alice, kills) = (Buyer::with(&mesh, 80 * 4_000).await, if deep() { 10 } else { 2 });
        for _ in 0..kills {
            let keys: Vec<String> = (0..64).map(|_| key()).collect();
            // The wallet cannot answer before the shop is killed.
            let mut held = mesh.db.connect().await;
            sqlx::query("begin").execute(&mut held).await.unwrap();
            let lock = "select from wallet.accounts where owner = $1::uuid for update";
            sqlx::query(lock).bind(&alice.id).execute(&mut held).await.unwrap();
            let asked = keys.iter().map(|key| {
                let body = json!({"product_id": "spins-5", "idempotency_key": key});
                let (alice, key) = (alice.clone(), key.clone());
                tokio::spawn(async move {
                    let call = alice.rest(0).post("/api/shop/purchase", &body).within(Duration::from_secs(20));
                    (key, call.try_send().await.ok().filter(|answer| answer.status == 200).map(|answer| answer.json()))
                })
            });
            let asked: Vec<_> = asked.collect();
            wait_until("some are written down", RECOVERY, async || {
                mesh.db.count("select count(*) from shop.purchases where state = 1").await > 0
            })
            .await;
            mesh.node_mut(0, "shop").kill().await;
            let cut = mesh.db.count("select count(*) from shop.purchases where state = 1").await;
            assert!(cut > 0, "some are cut off in the midst");
            sqlx::query("rollback").execute(&mut held).await.unwrap();
            let mut answered = Vec::new();
            for one in asked {
                answered.push(one.await.unwrap());
            }
            mesh.node_mut(0, "shop").start().await;
            over(&mesh).await;
            for (key, answer) in answered {
                // What was answered is so for ever; what was not has one truth.
                let again = wait_for("an answer", RECOVERY, async || {
                    let answer = alice.buy("spins-5", &key).await;
                    (answer.status == 200).then(|| answer.json())
                })
                .await;
                assert!(answer.is_none_or(|answer| answer == again));
            }
        }
        nothing_is_amiss(&mesh, "true").await;
        let sold = mesh.db.count("select count(*) from shop.purchases where state = 3").await;
        assert_eq!((sold, gold(&mesh, &alice.id).await), (64 * kills, 80 * (4_000 - 64 * kills)));
    });
}

#[test]
fn while_the_wallet_is_away_nothing_is_lost_and_nothing_given() {
    run(async {
        let mut mesh = hasty().start().await;
        let (alice, k) = (Buyer::with(&mesh, 13 * 80).await, key());
        for replica in [0, 1] {
            mesh.node_mut(replica, "wallet").kill().await;
        }
        let refused = alice.buy("spins-5", &k).await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert!(!refused.header("retry-after").is_empty());
        // Of many at once, whose charges go together, nobody is told anything else.
        let keys: Vec<_> = (0..12).map(|_| key()).collect();
        for refused in join_all(keys.iter().map(|k| alice.buy("spins-5", k))).await {
            assert_eq!(refused.status, 503, "{}", refused.text());
            assert!(!refused.header("retry-after").is_empty());
        }
        assert_eq!(mesh.db.count("select count(*) from shop.purchases where state = 1").await, 13);
        assert_eq!(mesh.db.count("select count(*) from shop.effects").await, 0);
        for replica in [0, 1] {
            mesh.node_mut(replica, "wallet").start().await;
        }
        over(&mesh).await;
        for k in keys.iter().chain([&k]) {
            alice.buy("spins-5", k).await.expect(200);
        }
        assert_eq!(gold(&mesh, &alice.id).await, 0);
        nothing_is_amiss(&mesh, "true").await;
    });
}

#[test]
fn what_is_refused_to_one_is_ended_by_whoever_has_taken_it_up() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, k) = (Buyer::with(mesh, 10).await, key());
        // The wallet cannot answer yet.
        let mut held = mesh.db.connect().await;
        sqlx::query("begin").execute(&mut held).await.unwrap();
        let lock = "select from wallet.accounts where owner = $1::uuid for update";
        sqlx::query(lock).bind(&alice.id).execute(&mut held).await.unwrap();
        let asked = tokio::spawn({
            let (alice, k) = (alice.clone(), k.clone());
            async move { alice.buy("spins-5", &k).await }
        });
        let of = format!("where user_id = '{}'", alice.id);
        let written = format!("select count(*) from shop.purchases {of}");
        wait_until("it is written down", RECOVERY, async || mesh.db.count(&written).await == 1).await;
        // Another takes it up, for an hour.
        let taken =
            "update shop.purchases set tries = tries + 1, next_at = next_at + interval '1 h' where user_id = $1::uuid";
        sqlx::query(taken).bind(&alice.id).execute(&mut mesh.db.connect().await).await.unwrap();
        sqlx::query("rollback").execute(&mut held).await.unwrap();
        asked.await.unwrap().refused(409, "IN_PROGRESS");
        let open = format!("select count(*) from shop.purchases {of} and state = 1");
        assert_eq!(mesh.db.count(&open).await, 1, "it is not for who was refused to say how it ends");
        // There is enough by then; the charge was refused all the same, and its key has that answer for ever.
        give(mesh, &alice.id, 90).await;
        let due = "update shop.purchases set next_at = to_timestamp(0) where user_id = $1::uuid";
        sqlx::query(due).bind(&alice.id).execute(&mut mesh.db.connect().await).await.unwrap();
        let over = format!("select count(*) from shop.purchases {of} and state = 5");
        wait_until("it has failed", RECOVERY, async || mesh.db.count(&over).await == 1).await;
        alice.buy("spins-5", &k).await.refused(400, "INSUFFICIENT_FUNDS");
        assert_eq!(gold(mesh, &alice.id).await, 100);
        nothing_is_amiss(mesh, &format!("p.user_id = '{}'", alice.id)).await;
    });
}

#[test]
fn purchases_go_on_without_redis() {
    run(async {
        let mut mesh = mesh().start().await;
        let (alice, k) = (Buyer::with(&mesh, 1_000).await, key());
        alice.buy("spins-5", &key()).await.expect(200);
        mesh.redis.kill();
        let first = alice.buy("spins-5", &k).await.expect(200);
        assert_eq!(alice.buy("spins-5", &k).await.expect(200), first);
        assert_eq!(gold(&mesh, &alice.id).await, 840);
        nothing_is_amiss(&mesh, "true").await;
    });
}
