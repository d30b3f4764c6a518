//! A refusal is an answer: its key is refused for ever, in the same words, whatever is there by then.

use std::{pin::pin, time::Duration};

use coreloop_testkit::{TestMesh, run, wait_until};
use coreloop_wallet_api::v1::{
    self, Account, BatchPosting, CaptureRequest, Currency, FindPostingsRequest, House, Movement, Posting,
    ReverseRequest, account::Owner, batch_result::Outcome,
};
use futures::future::join_all;
use prost::Message;
use sqlx::Executor as _;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::stage::{MESH, Shop, balance, grant, key, reason, somebody, spend};

const PATIENCE: Duration = Duration::from_secs(30);

/// All of a refusal that its caller sees.
fn told<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (tonic::Code, String, String, Vec<(String, String)>) {
    let status = outcome.expect_err("a refusal");
    let info = status.get_error_details().error_info().cloned().expect("a reason");
    assert_eq!(info.domain, "wallet");
    let mut metadata: Vec<_> = info.metadata.into_iter().collect();
    metadata.sort();
    (status.code(), status.message().to_owned(), info.reason, metadata)
}

/// Rows that keep refusals of a service, those of them that have entries, and what was told of a user.
async fn kept(mesh: &TestMesh, shop: &Shop, user: &str) -> (i64, i64, i64) {
    let (caller, rows) = (shop.caller(), "select count(*) from wallet.postings p where kind = 11 and caller");
    let moved = "exists (select from wallet.entries e where e.posting = p.id)";
    (
        mesh.db.count(&format!("{rows} = '{caller}'")).await,
        mesh.db.count(&format!("{rows} = '{caller}' and {moved}")).await,
        mesh.db.count(&format!("select count(*) from wallet.outbox where aggregateid = '{user}'")).await,
    )
}

#[test]
fn a_refused_key_is_refused_again_though_the_money_has_come() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, somebody());
        shop.grant(&alice, 40).await.unwrap();
        let asked = spend(&alice, 50);
        let first = told(shop.spend_as(0, &asked).await);
        assert_eq!(first.2, "INSUFFICIENT_FUNDS");
        assert_eq!(first.3, [("available".to_owned(), "40".to_owned()), ("currency".to_owned(), "GOLD".to_owned())]);
        shop.grant(&alice, 100).await.unwrap();
        for replica in [0, 1] {
            assert_eq!(told(shop.spend_as(replica, &asked).await), first, "with what was there then");
        }
        // The key has its answer: another body, or another kind of act, is not what it named.
        let less = v1::SpendRequest { amount: 30, ..asked.clone() };
        assert_eq!(reason(shop.spend_as(1, &less).await), "IDEMPOTENCY_KEY_REUSED");
        let other = v1::GrantRequest { idempotency_key: asked.idempotency_key.clone(), ..grant(&alice, 50) };
        assert_eq!(reason(shop.grant_as(other).await), "IDEMPOTENCY_KEY_REUSED");
        // Another service, and another key, are asked for the first time.
        Shop::of(mesh).await.spend_as(0, &v1::SpendRequest { amount: 1, ..asked.clone() }).await.unwrap();
        shop.spend(&alice, 50).await.unwrap();
        assert_eq!(balance(mesh, &alice).await, 89);
        assert_eq!(kept(mesh, &shop, &alice).await, (1, 0, 4), "one row, no entry, nothing told but what moved");
        let looked = FindPostingsRequest { idempotency_keys: vec![asked.idempotency_key.clone()] };
        let found: v1::FindPostingsResponse = shop.ask(0, "FindPostings", &looked).await.unwrap();
        assert_eq!(found.postings, [], "nothing was posted");
        assert_eq!(reason(shop.reverse(&refused_id(mesh, &asked.idempotency_key).await, 0).await), "POSTING_NOT_FOUND");
        assert!(shop.verify_integrity().await.sound);
    });
}

async fn refused_id(mesh: &TestMesh, key: &str) -> String {
    let sql = format!("select id::text from wallet.postings where key = '{key}' and kind = 11");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut mesh.db.connect().await).await.unwrap()
}

fn capture(hold_id: &str, amount: i64) -> CaptureRequest {
    CaptureRequest {
        hold_id: hold_id.into(),
        amount,
        destination: None,
        reason: "test".into(),
        reference: "1".into(),
        idempotency_key: key(),
    }
}

/// Whatever the books decide, by every RPC: the second answer is the first.
#[test]
fn every_refusal_of_the_books_stays() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice, bob) = (Shop::of(mesh).await, somebody(), somebody());
        shop.grant(&alice, 100).await.unwrap();
        shop.grant(&bob, (1 << 53) - 1).await.unwrap();
        let held = shop.hold(&alice, 60).await.unwrap().hold_id;
        let (too_much, unknown) = (capture(&held, 61), capture(&somebody(), 0));
        let nothing = ReverseRequest {
            posting_id: somebody(),
            amount: 0,
            reason: "test".into(),
            reference: "1".into(),
            idempotency_key: key(),
        };
        let more = grant(&bob, 1);
        let hold = v1::HoldRequest {
            user_id: alice.clone(),
            currency: Currency::Gold.into(),
            amount: 41,
            ttl: None,
            reason: "test".into(),
            reference: "1".into(),
            idempotency_key: key(),
        };
        let mut first = Vec::new();
        for round in 0..2 {
            let answers = [
                told(shop.ask::<_, v1::CaptureResponse>(round, "Capture", &too_much).await),
                told(shop.ask::<_, v1::CaptureResponse>(round, "Capture", &unknown).await),
                told(shop.ask::<_, v1::ReverseResponse>(round, "Reverse", &nothing).await),
                told(shop.ask::<_, v1::GrantResponse>(round, "Grant", &more).await),
                told(shop.ask::<_, v1::HoldResponse>(round, "Hold", &hold).await),
            ];
            if round == 0 {
                let reasons = answers.iter().map(|answer| answer.2.as_str()).collect::<Vec<_>>();
                let expected =
                    ["AMOUNT_TOO_LARGE", "HOLD_NOT_FOUND", "POSTING_NOT_FOUND", "BALANCE_LIMIT", "INSUFFICIENT_FUNDS"];
                assert_eq!(reasons, expected);
                first = answers.to_vec();
                // What kept them from being done is gone.
                shop.grant(&alice, 100).await.unwrap();
                shop.spend(&bob, 100).await.unwrap();
                shop.release(&held).await.unwrap();
            } else {
                assert_eq!(answers.to_vec(), first);
            }
        }
        // A settled hold of which too much was asked before: the key has its answer.
        let other = CaptureRequest { amount: 1, ..too_much };
        assert_eq!(reason(shop.ask::<_, v1::CaptureResponse>(0, "Capture", &other).await), "IDEMPOTENCY_KEY_REUSED");
        let other = CaptureRequest { hold_id: held, ..unknown };
        assert_eq!(reason(shop.ask::<_, v1::CaptureResponse>(0, "Capture", &other).await), "IDEMPOTENCY_KEY_REUSED");
        assert_eq!((balance(mesh, &alice).await, kept(mesh, &shop, &alice).await.0), (200, 5));
        assert!(shop.verify_integrity().await.sound);
    });
}

#[test]
fn one_of_many_that_is_refused_stays_so() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, somebody());
        shop.grant(&alice, 10).await.unwrap();
        let account = |owner| Some(Account { owner: Some(owner) });
        let posting = |amount| BatchPosting {
            movements: vec![Movement {
                from: account(Owner::UserId(alice.clone())),
                to: account(Owner::House(House::Sink.into())),
                currency: Currency::Gold.into(),
                amount,
                funds: None,
                expires_at: None,
            }],
            reason: "test".into(),
            reference: "1".into(),
            idempotency_key: key(),
        };
        let many = vec![posting(11), posting(4)];
        let first = shop.post_batch(many.clone()).await.unwrap();
        let Some(Outcome::Refusal(refusal)) = &first[0].outcome else { panic!("{first:?}") };
        assert_eq!((refusal.reason.as_str(), refusal.metadata["available"].as_str()), ("INSUFFICIENT_FUNDS", "10"));
        shop.grant(&alice, 100).await.unwrap();
        assert_eq!(shop.post_batch(many.clone()).await.unwrap(), first);
        assert_eq!(shop.post_batch(many[..1].to_vec()).await.unwrap(), first[..1], "one alone is answered the same");
        assert_eq!(balance(mesh, &alice).await, 106);
    });
}

/// Asked for by many at once while the money comes: all of them were refused, or all of them are the one purchase.
#[test]
fn those_who_ask_at_once_are_told_the_same() {
    run(async {
        let mesh = MESH.get().await;
        let shop = Shop::of(mesh).await;
        let mut refused = 0;
        for _ in 0..20 {
            let alice = somebody();
            let asked = spend(&alice, 5);
            let calls = (0..60).map(|call| {
                let (shop, asked, alice) = (&shop, &asked, &alice);
                async move {
                    if call == 8 {
                        shop.grant(alice, 5).await.unwrap();
                    }
                    shop.spend_as(call, asked).await
                }
            });
            let answers = join_all(calls).await;
            let done: Vec<&Posting> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
            assert!(done.is_empty() || done.len() == answers.len(), "{} of {} were done", done.len(), answers.len());
            assert!(done.windows(2).all(|two| two[0].encode_to_vec() == two[1].encode_to_vec()));
            assert_eq!(balance(mesh, &alice).await, if done.is_empty() { 5 } else { 0 });
            if done.is_empty() {
                refused += 1;
                let mut told: Vec<_> = answers.into_iter().map(told).collect();
                told.dedup();
                assert_eq!(told.len(), 1, "{told:?}");
            }
        }
        assert!(refused > 0, "the money was never late");
        assert!(shop.verify_integrity().await.sound);
    });
}

/// Who waits for a lock, in this database alone.
const WAITING: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";

/// A replica that was refused while another, who read the same key as free, has the money: the primary key decides.
#[test]
fn two_replicas_cannot_answer_one_key_in_two_ways() {
    run(async {
        // Its own: nobody else writes postings while the table is locked, and what waits there waits until it is let go.
        let mut patient = TestMesh::builder().split().replicas(2).setting("server.default_deadline_ms", 60_000_i64);
        for wait in ["lock_timeout_ms", "statement_timeout_ms", "acquire_timeout_ms"] {
            patient = patient.setting(&format!("database.{wait}"), 60_000_i64);
        }
        let mesh = &patient.start().await;
        let (shop, rich, poor) = (Shop::of(mesh).await, somebody(), somebody());
        shop.grant(&rich, 5).await.unwrap();
        // Both have read that the key is free before either writes: of different users, so that no lock of theirs orders them. Where
        // both replicas happen to use the same row of the house (one time in sixteen) the second waits for it instead.
        let mut locking = mesh.db.connect().await;
        locking.execute("begin; lock table wallet.postings in share row exclusive mode").await.unwrap();
        let key = key();
        let done = v1::SpendRequest { idempotency_key: key.clone(), ..spend(&rich, 5) };
        let refused = v1::SpendRequest { idempotency_key: key.clone(), ..spend(&poor, 5) };
        let (mut done, mut refused) = (pin!(shop.spend_as(0, &done)), pin!(shop.spend_as(1, &refused)));
        tokio::select! {
            early = &mut done => panic!("answered beside a locked table: {early:?}"),
            early = &mut refused => panic!("answered beside a locked table: {early:?}"),
            _ = wait_until("both wait", PATIENCE, async || mesh.db.count(WAITING).await >= 2) => {}
        }
        locking.execute("rollback").await.unwrap();
        let (done, refused) = tokio::join!(done, refused);
        let first = match (done, refused) {
            (Ok(_), other) => {
                assert_eq!(reason(other), "IDEMPOTENCY_KEY_REUSED");
                0
            }
            (other, refused) => {
                assert_eq!(
                    (reason(other).as_str(), told(refused).2.as_str()),
                    ("IDEMPOTENCY_KEY_REUSED", "INSUFFICIENT_FUNDS")
                );
                5
            }
        };
        assert_eq!(balance(mesh, &rich).await, first);
        assert_eq!(mesh.db.count(&format!("select count(*) from wallet.postings where key = '{key}'")).await, 1);
    });
}

/// What a request says wrong was not decided by the books: mended, it may use its key.
#[test]
fn what_the_books_have_not_decided_leaves_the_key_free() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, somebody());
        let asked = grant(&alice, 5);
        let over = prost_types::Timestamp { seconds: 1_000, nanos: 0 };
        for wrong in [
            v1::GrantRequest { amount: 0, ..asked.clone() },
            v1::GrantRequest { expires_at: Some(over), ..asked.clone() },
            v1::GrantRequest { user_id: "alice".into(), ..asked.clone() },
        ] {
            assert_eq!(reason(shop.grant_as(wrong).await), "VALIDATION_FAILED");
        }
        shop.grant_as(asked.clone()).await.unwrap();
        // And a key that named something else names it still.
        assert_eq!(
            reason(shop.grant_as(v1::GrantRequest { amount: 6, ..asked.clone() }).await),
            "IDEMPOTENCY_KEY_REUSED"
        );
        shop.grant_as(asked).await.unwrap();
        assert_eq!((balance(mesh, &alice).await, kept(mesh, &shop, &alice).await), (5, (0, 0, 1)));
    });
}
