//! Charge-backs that no webhook tells of, of which the purse is empty, and that cross with what ends; webhooks are forgotten.

use coreloop_testkit::{TestMesh, run, wait::wait_for, wait_until};
use coreloop_wallet_api::v1::ReverseRequest;
use jiff::SignedDuration;
use serde_json::json;

use super::{
    settling::{decide, pending},
    stage::{Buyer, MESH, RECOVERY, ask_wallet, give, gold, key, mesh, nothing_is_amiss, spend},
};

/// A conversion that is confirmed: its transaction and its payment.
async fn confirmed(buyer: &Buyer) -> (String, String) {
    let bought = buyer.convert(&key(), "card").await.expect(200);
    let id = bought["transaction_id"].as_str().unwrap().to_owned();
    let payment = buyer.transaction(&id).await["payment_id"].as_str().unwrap().to_owned();
    (id, payment)
}

#[test]
fn what_is_charged_back_and_not_told_is_found_out() {
    run(async {
        let between = SignedDuration::from_secs(100);
        let mesh = mesh()
            .setting("shop.payment.recheck_secs", between.as_secs())
            .setting("shop.verify_secs", 0_i64)
            .start()
            .await;
        let admin = mesh.admin().await;
        let [alice, bob, carol, dave] = [(); 4].map(|()| Buyer::new(&mesh));
        let (of_alice, of_bob, of_dave) = (confirmed(&alice).await, confirmed(&bob).await, confirmed(&dave).await);
        // An operator's word holds.
        let (settled, payment) = pending(&carol).await;
        let confirm = json!({"verdict": "PURCHASE_STATE_CONFIRMED", "reason": "ticket 7"});
        admin.post(&format!("/api/shop/transactions/{settled}/settle"), &confirm).await.expect(200);
        let long_ago =
            format!("update shop.purchases set closed_at = closed_at - interval '31 days' where id = '{}'", of_dave.0);
        mesh.db.execute(&long_ago).await;
        for payment in [&of_alice.1, &payment, &of_dave.1] {
            decide(&mesh, payment, &json!({"status": "voided", "silent": true})).await;
        }
        assert_eq!(alice.transaction(&of_alice.0).await["state"], "PURCHASE_STATE_CONFIRMED", "nobody told");
        // A look may have been before.
        mesh.clock.advance(between);
        let since = mesh.now();
        let seen = alice.settled(&of_alice.0, "VOIDED").await;
        assert_eq!((&seen["reason"], gold(&mesh, &alice.id).await), (&json!("CHARGED_BACK"), 0));
        let done =
            format!("select count(*) from shop.sweeps where name = 'paybacks' and done_at >= to_timestamp({since})");
        wait_until("all of them were asked about", RECOVERY, async || mesh.db.count(&done).await == 1).await;
        for (buyer, id) in [(&bob, &of_bob.0), (&carol, &settled), (&dave, &of_dave.0)] {
            assert_eq!(buyer.transaction(id).await["state"], "PURCHASE_STATE_CONFIRMED");
            assert_eq!(gold(&mesh, &buyer.id).await, 525);
        }
        nothing_is_amiss(&mesh, "true").await;
    });
}

/// The wallet keeps a refusal and says it again; what is there by then is taken all the same.
#[test]
fn what_is_taken_back_is_what_is_there_and_not_what_was() {
    run(async {
        let mesh = MESH.get().await;
        let alice = Buyer::new(mesh);
        let (id, payment) = confirmed(&alice).await;
        spend(mesh, &alice.id, 400).await;
        let posting = format!("select id::text from wallet.postings where key = 'give:{id}'");
        let posting_id: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(posting)).fetch_one(&mut mesh.db.connect().await).await.unwrap();
        // Somebody who asked for all of it, was refused, and stands still.
        let asked = ReverseRequest {
            posting_id,
            amount: 0,
            reason: "shop.voided".into(),
            reference: id.clone(),
            idempotency_key: format!("back:{id}"),
        };
        ask_wallet(mesh, "shop", "Reverse", &asked).await.unwrap_err();
        give(mesh, &alice.id, 1_000).await;
        decide(mesh, &payment, &json!({"status": "voided"})).await;
        let seen = alice.settled(&id, "VOIDED").await;
        assert_eq!((&seen["gold_delta"], gold(mesh, &alice.id).await), (&json!(0), 600), "all of it was there");
        nothing_is_amiss(mesh, &format!("p.user_id = '{}'", alice.id)).await;
    });
}

/// Statements of the mesh that wait for a lock.
async fn waiting(mesh: &TestMesh) -> i64 {
    let sql = "select count(*) from pg_stat_activity
                where wait_event_type = 'Lock' and datname = current_database()";
    mesh.db.count(sql).await
}

/// A purchase ends just as it is charged back: the receipt that it is handed out with is known afterwards.
#[test]
fn the_receipt_of_what_ends_while_it_is_charged_back_is_kept() {
    run(async {
        let mesh = mesh().start().await;
        let alice = Buyer::new(&mesh);
        let bought = alice.convert(&key(), "card").await.expect(200);
        let (id, receipt) = (bought["transaction_id"].as_str().unwrap(), &bought["receipt"]);
        let payment = alice.transaction(id).await["payment_id"].as_str().unwrap().to_owned();
        // As before it ended, and nobody is to end it.
        mesh.db.execute("create table public.kept as select * from shop.purchases").await;
        mesh.db
            .execute(
                "update shop.purchases set state = 2, hash_version = null, integrity_hash = null, key_version = null,
                        signature = null, closed_at = null, next_at = now() + interval '1 day'",
            )
            .await;
        let mut ends = mesh.db.connect().await;
        for sql in [
            "begin",
            "update shop.purchases p set state = 3, hash_version = k.hash_version, integrity_hash = k.integrity_hash,
                    key_version = k.key_version, signature = k.signature, closed_at = k.closed_at, next_at = null
               from public.kept k where k.id = p.id",
        ] {
            sqlx::query(sql).execute(&mut ends).await.unwrap();
        }
        let end = async {
            wait_until("the webhook waits", RECOVERY, async || waiting(&mesh).await > 0).await;
            sqlx::query("commit").execute(&mut ends).await.unwrap();
        };
        let voided = json!({"status": "voided"});
        let (told, ()) = tokio::join!(decide(&mesh, &payment, &voided), end);
        assert_eq!(told[0].0, 200, "{told:?}");
        alice.settled(id, "VOIDED").await;
        let said = alice.ask(1, "/api/shop/receipts/verify", &json!({ "receipt": receipt })).await.expect(200);
        let voided = json!("PURCHASE_STATE_VOIDED");
        assert_eq!((&said["valid"], &said["state"]), (&json!(false), &voided), "ours, and overtaken");
    });
}

#[test]
fn webhooks_are_kept_longer_than_they_are_believed_and_then_forgotten() {
    run(async {
        let mesh = mesh().start().await;
        let alice = Buyer::new(&mesh);
        let (id, payment) = pending(&alice).await;
        decide(&mesh, &payment, &json!({"status": "confirmed"})).await;
        alice.settled(&id, "CONFIRMED").await;
        let swept = "select count(*) from shop.sweeps where name = 'webhooks'";
        wait_until("they were looked at", RECOVERY, async || mesh.db.count(swept).await == 1).await;
        let young = "insert into shop.webhooks
                     select 'young', purchase_id, status, received_at + interval '2 days' from shop.webhooks";
        mesh.db.execute(young).await;
        let kept = "select count(*) from shop.webhooks";
        assert_eq!(mesh.db.count(kept).await, 2);
        mesh.clock.advance(SignedDuration::from_hours(24 * 31));
        wait_until("the old one is gone", RECOVERY, async || mesh.db.count(kept).await == 1).await;
        assert_eq!(mesh.db.count(&format!("{kept} where event_id = 'young'")).await, 1);
    });
}

/// Rows as they go in, with their transaction.
const NOTED: &str = "
    create table public.noted (seq bigint generated always as identity, tx text, category smallint, id uuid);
    create function public.note() returns trigger language plpgsql security definer as $$
    begin
        insert into public.noted (tx, category, id) values (pg_current_xact_id()::text, new.category, new.id);
        return new;
    end
    $$;
    create trigger note before insert on shop.purchases for each row execute function public.note()";

/// Two replicas that write the same keys, each in the order in which it was asked, would wait for each other.
#[test]
fn what_is_written_together_goes_in_by_its_id() {
    run(async {
        // A Redis that is slow once is not asked for the others' claims, and all are waited for here.
        let mesh = mesh().setting("shop.lanes", 1_i64);
        let mesh = mesh.setting("shop.claim_timeout_ms", 1_000_i64).start().await;
        let alice = Buyer::with(&mesh, 80 * 13).await;
        mesh.db.execute(NOTED).await;
        let mut held = mesh.db.connect().await;
        for sql in ["begin", "lock table shop.purchases in share row exclusive mode"] {
            sqlx::query(sql).execute(&mut held).await.unwrap();
        }
        let (k, erin) = (key(), Buyer::new(&mesh));
        let first = alice.buy("spins-5", &k);
        let then = async {
            wait_until("the first waits", RECOVERY, async || waiting(&mesh).await > 0).await;
            let items = futures::future::join_all((0..12).map(|_| async { alice.buy("spins-5", &key()).await }));
            let conversions = futures::future::join_all((0..12).map(|_| async { erin.convert(&key(), "card").await }));
            let release = async {
                let mut redis = mesh.redis.connect().await;
                wait_for("all of them are on their way", RECOVERY, async || {
                    let keys: Vec<String> =
                        redis::cmd("KEYS").arg("shop:idemp:*").query_async(&mut redis).await.unwrap();
                    (keys.len() == 25).then_some(())
                })
                .await;
                // And for a minute at most, whatever becomes of who made the claim.
                let keys: Vec<String> = redis::cmd("KEYS").arg("shop:idemp:*").query_async(&mut redis).await.unwrap();
                for key in keys {
                    let life: i64 = redis::cmd("TTL").arg(&key).query_async(&mut redis).await.unwrap();
                    assert!((1..=60).contains(&life), "{key}: {life}");
                }
                sqlx::query("rollback").execute(&mut held).await.unwrap();
            };
            tokio::join!(items, conversions, release)
        };
        let (answer, (items, conversions, ())) = tokio::join!(first, then);
        for answer in items.into_iter().chain(conversions).chain([answer]) {
            answer.expect(200);
        }
        for category in [1, 2] {
            let most = format!(
                "select max(n) from (select count(*) as n from public.noted where category = {category} group by tx) as t"
            );
            assert!(mesh.db.count(&most).await > 5, "many go together");
        }
        let before = "select count(*) from public.noted a join public.noted b on b.tx = a.tx
                       where a.category = b.category and a.seq < b.seq and a.id > b.id";
        assert_eq!(mesh.db.count(before).await, 0);
        nothing_is_amiss(&mesh, "true").await;
    });
}

/// `ListOwed`.
#[test]
fn what_is_owed_is_shown_to_administrators() {
    run(async {
        let mesh = MESH.get().await;
        let (admin, alice, bob) = (mesh.admin().await, Buyer::new(mesh), Buyer::new(mesh));
        let mut owed = Vec::new();
        for (buyer, spent) in [(&alice, 400), (&bob, 10), (&alice, 25)] {
            let (id, payment) = confirmed(buyer).await;
            spend(mesh, &buyer.id, spent).await;
            decide(mesh, &payment, &json!({"status": "voided"})).await;
            let seen = buyer.settled(&id, "VOIDED").await;
            assert_eq!(seen["owed"], spent, "its buyer sees it, too");
            owed.push(json!({"id": id, "owed": spent}));
        }
        let of = |transactions: &serde_json::Value| -> Vec<serde_json::Value> {
            let rows = transactions.as_array().unwrap().iter();
            rows.map(|it| json!({"id": it["transaction_id"], "owed": it["owed"]})).collect()
        };
        let path = format!("/admin/shop/owed?user_id={}&page_size=1", alice.id);
        let first = admin.get(&path).await.expect(200);
        assert_eq!(of(&first["transactions"]), [owed[2].clone()]);
        let next = format!("{path}&page_token={}", first["next_page_token"].as_str().unwrap());
        let second = admin.get(&next).await.expect(200);
        assert_eq!((of(&second["transactions"]), &second["next_page_token"]), (vec![owed[0].clone()], &json!("")));
        let all = of(&admin.get("/admin/shop/owed?page_size=200").await.expect(200)["transactions"]);
        assert!(owed.iter().all(|one| all.contains(one)), "{all:?}");
        assert_ne!(alice.rest(0).get(&path).send().await.status, 200, "administrators alone");
        admin.get("/admin/shop/owed?page_token=x").await.refused(400, "PAGE_TOKEN_INVALID");
    });
}
