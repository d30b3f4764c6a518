//! Receipts: ours, unchanged, signed with a key that changes.

use coreloop_testkit::{TestMesh, run, wait::wait_for, wait_until};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::stage::{Buyer, MESH, RECOVERY, give, key, mesh};

async fn valid(buyer: &Buyer, receipt: &Value) -> bool {
    let answer = buyer.ask(1, "/api/shop/receipts/verify", &json!({ "receipt": receipt })).await.expect(200);
    let valid = answer["valid"].as_bool().unwrap();
    assert_eq!(answer["state"] == "PURCHASE_STATE_CONFIRMED", valid, "{answer}");
    valid
}

#[test]
fn a_receipt_is_ours_unchanged_or_it_is_none() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (Buyer::with(mesh, 1_000).await, Buyer::new(mesh));
        let receipt = alice.buy("spins-5", &key()).await.expect(200)["receipt"].clone();
        let other = alice.buy("spins-5", &key()).await.expect(200)["receipt"].clone();
        assert!(valid(&bob, &receipt).await, "whoever is shown it may ask");
        for field in [
            "receipt_id",
            "issued_at",
            "integrity_hash",
            "receipt_signature",
            "receipt_signature_version",
            "hash_algo_version",
        ] {
            let mut forged = receipt.clone();
            forged[field] = match field {
                "receipt_signature_version" => json!(2),
                "hash_algo_version" => json!(9),
                _ => other[field].clone(),
            };
            assert!(!valid(&bob, &forged).await, "{field}");
        }
        // Nor is what the books do not say any more.
        let id = receipt["receipt_id"].as_str().unwrap();
        mesh.db.execute(&format!("update shop.purchases set said_by = 'somebody' where id = '{id}'")).await;
        assert!(!valid(&bob, &receipt).await);
        mesh.db.execute(&format!("update shop.purchases set said_by = '' where id = '{id}'")).await;
        mesh.db.execute(&format!("update shop.purchases set price = 1 where id = '{id}'")).await;
        assert!(!valid(&bob, &receipt).await);
        mesh.db.execute(&format!("update shop.purchases set price = 80 where id = '{id}'")).await;
        assert!(valid(&bob, &receipt).await);
    });
}

#[test]
fn keys_change_after_thirty_days_and_what_they_signed_stays() {
    run(async {
        let mesh = mesh().start().await;
        let alice = Buyer::with(&mesh, 1_000).await;
        let first = key();
        // A machine that is too busy may answer that it is on its way.
        let before = wait_for("it is bought", RECOVERY, async || {
            let answer = alice.buy("spins-5", &first).await;
            (answer.reason() != "IN_PROGRESS").then(|| answer.expect(200)["receipt"].clone())
        });
        let before = before.await;
        assert_eq!(before["receipt_signature_version"], 1);
        mesh.clock.advance(SignedDuration::from_hours(24 * 31));
        let active = "select version::bigint from shop.receipt_keys where state = 'active'";
        wait_until("the next key signs", RECOVERY, async || mesh.db.count(active).await == 2).await;
        let alice = Buyer::again(&mesh, alice.id.parse().unwrap());
        let after = wait_for("both replicas know", RECOVERY, async || {
            let mut newest = None;
            for replica in [0, 1] {
                let body = json!({"product_id": "spins-5", "idempotency_key": key()});
                give(&mesh, &alice.id, 80).await;
                let receipt = alice.ask(replica, "/api/shop/purchase", &body).await.expect(200)["receipt"].clone();
                if receipt["receipt_signature_version"] != 2 {
                    return None;
                }
                newest = Some(receipt);
            }
            newest
        })
        .await;
        assert!(valid(&alice, &before).await && valid(&alice, &after).await);
        let next = mesh.db.count("select version::bigint from shop.receipt_keys where state = 'next'").await;
        assert_eq!(next, 3);
    });
}

/// Receipts that do not fit, as a replica tells of them.
fn of(mesh: &TestMesh, replica: usize, series: &str) -> u64 {
    let text = mesh.node(replica, "shop").running().metrics.encode();
    let count = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    count.unwrap().parse::<u64>().unwrap()
}

/// Those that both have counted.
fn counted(mesh: &TestMesh) -> u64 {
    [0, 1].map(|replica| of(mesh, replica, "cc_shop_integrity_mismatch_total")).iter().sum()
}

/// Those that there are, which both tell of.
async fn open(mesh: &TestMesh, count: u64) {
    wait_until(format!("{count} do not fit"), RECOVERY, async || {
        [0, 1].map(|replica| of(mesh, replica, "cc_shop_integrity_mismatch_open")) == [count; 2]
    })
    .await;
}

#[test]
fn the_sweep_counts_what_does_not_fit() {
    run(async {
        // Longer than is waited for here: a process need not live for so long.
        let between = SignedDuration::from_secs(100);
        let mut mesh = mesh().setting("shop.verify_secs", between.as_secs()).start().await;
        let alice = Buyer::with(&mesh, 1_000).await;
        let id = alice.buy("spins-5", &key()).await.expect(200)["transaction_id"].as_str().unwrap().to_owned();
        mesh.db.execute(&format!("update shop.purchases set balance = 1000000 where id = '{id}'")).await;
        wait_until("it has been looked at", RECOVERY, async || {
            mesh.db.count("select count(*) from shop.sweeps where name = 'receipts'").await == 1
        })
        .await;
        // That may have been before it was bent.
        mesh.clock.advance(between);
        wait_until("it is counted", RECOVERY, async || counted(&mesh) == 1).await;
        // However often it is looked at after that.
        let done = "select (extract(epoch from done_at) * 1000)::bigint from shop.sweeps where name = 'receipts'";
        for _ in 0..2 {
            let before = mesh.db.count(done).await;
            mesh.clock.advance(between);
            wait_until("it is looked at again", RECOVERY, async || mesh.db.count(done).await > before).await;
        }
        assert_eq!(counted(&mesh), 1);
        // Who is started since counts nothing, and tells of it all the same; until it is mended.
        open(&mesh, 1).await;
        for replica in [0, 1] {
            mesh.node_mut(replica, "shop").kill().await;
            mesh.node_mut(replica, "shop").start().await;
        }
        open(&mesh, 1).await;
        assert_eq!(counted(&mesh), 0);
        mesh.db.execute(&format!("update shop.purchases set balance = 920 where id = '{id}'")).await;
        mesh.clock.advance(between);
        open(&mesh, 0).await;
        // What is bent again is found again.
        mesh.db.execute(&format!("update shop.purchases set balance = 1000000 where id = '{id}'")).await;
        mesh.clock.advance(between);
        open(&mesh, 1).await;
        assert_eq!(counted(&mesh), 1);
    });
}
