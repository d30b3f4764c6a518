//! Bad input: amounts and times that are none, keys that come late or from another. Each has a stable error, and moves nothing.

use coreloop_testkit::{Persona, TestMesh, run};
use coreloop_wallet_api::v1::{self, Account, BatchPosting, Currency, HoldRequest, House, Movement, account::Owner};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::stage::{MESH, Shop, balance, grant, key, reason, somebody, spend};
use crate::meshes::TOGETHER;

const MOST: i64 = (1 << 53) - 1;
/// No act moves so much.
const NONE: [i64; 5] = [0, -1, i64::MIN, i64::MAX, MOST + 1];

#[test]
fn amounts_that_are_none_move_nothing_by_any_call() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice, bob) = (Shop::of(mesh).await, somebody(), somebody());
        let given = shop.grant(&alice, 100).await.unwrap();
        let held = shop.hold(&alice, 60).await.unwrap().hold_id;
        for amount in NONE {
            assert_eq!(reason(shop.transfer(&alice, &bob, amount).await), "VALIDATION_FAILED", "Transfer {amount}");
            assert_eq!(reason(shop.hold(&alice, amount).await), "VALIDATION_FAILED", "Hold {amount}");
            let posting = BatchPosting { movements: vec![movement(&alice, amount)], ..batch() };
            let many = vec![BatchPosting { movements: vec![movement(&alice, 1)], ..batch() }, posting.clone()];
            assert_eq!(reason(shop.post_batch(vec![posting]).await), "VALIDATION_FAILED", "PostBatch {amount}");
            assert_eq!(reason(shop.post_batch(many).await), "VALIDATION_FAILED", "PostBatch of two, {amount}");
        }
        // Zero is all of it.
        for amount in &NONE[1..] {
            assert_eq!(reason(shop.capture(&held, *amount).await), "VALIDATION_FAILED", "Capture {amount}");
            assert_eq!(reason(shop.reverse(&given.posting_id, *amount).await), "VALIDATION_FAILED", "Reverse {amount}");
        }
        for no_id in ["", "alice", "0"] {
            assert_eq!(reason(shop.capture(no_id, 1).await), "VALIDATION_FAILED");
            assert_eq!(reason(shop.release(no_id).await), "VALIDATION_FAILED");
            assert_eq!(reason(shop.reverse(no_id, 1).await), "VALIDATION_FAILED");
        }
        assert_eq!((balance(mesh, &alice).await, balance(mesh, &bob).await), (40, 0));
        shop.capture(&held, 0).await.unwrap();
    });
}

#[test]
fn sums_that_no_account_may_hold_are_refused() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice, bob) = (Shop::of(mesh).await, somebody(), somebody());
        shop.grant(&alice, MOST).await.unwrap();
        shop.grant(&bob, 1).await.unwrap();
        assert_eq!(reason(shop.transfer(&bob, &alice, 1).await), "BALANCE_LIMIT");
        assert_eq!(reason(shop.transfer(&bob, &alice, MOST).await), "INSUFFICIENT_FUNDS");
        // Each is an amount, and together they are none.
        let two = BatchPosting { movements: vec![given(&bob, MOST), given(&bob, MOST)], ..batch() };
        let results = shop.post_batch(vec![two]).await.unwrap();
        let Some(v1::batch_result::Outcome::Refusal(refusal)) = &results[0].outcome else { panic!("{results:?}") };
        assert_eq!(refusal.reason, "BALANCE_LIMIT");
        let held = shop.hold(&alice, MOST).await.unwrap().hold_id;
        shop.grant(&alice, 1).await.unwrap();
        // What was set aside has no room to come back to.
        assert_eq!(reason(shop.release(&held).await), "BALANCE_LIMIT");
        shop.spend(&alice, 1).await.unwrap();
        shop.release(&held).await.unwrap();
        assert_eq!((balance(mesh, &alice).await, balance(mesh, &bob).await), (MOST, 1));
        shop.spend(&alice, MOST).await.unwrap();
    });
}

#[test]
fn holds_are_of_a_second_to_thirty_days() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, somebody());
        shop.grant(&alice, 10).await.unwrap();
        let days = 30 * 24 * 3_600;
        let ask = async |seconds: i64, nanos: i32| {
            let asked = HoldRequest {
                user_id: alice.clone(),
                currency: Currency::Gold.into(),
                amount: 1,
                ttl: Some(prost_types::Duration { seconds, nanos }),
                reason: "test".into(),
                reference: "1".into(),
                idempotency_key: key(),
            };
            shop.ask::<_, v1::HoldResponse>(0, "Hold", &asked).await
        };
        for (seconds, nanos) in
            [(0, 0), (0, 999_999_999), (-1, 0), (days, 1), (days + 1, 0), (i64::MAX, 0), (i64::MIN, 0)]
        {
            assert_eq!(reason(ask(seconds, nanos).await), "VALIDATION_FAILED", "{seconds} s and {nanos} ns");
        }
        for seconds in [1, days] {
            ask(seconds, 0).await.unwrap();
        }
    });
}

/// A key has no time.
#[test]
fn a_key_of_yesterday_is_answered_as_it_was() {
    run(async {
        let mesh = TestMesh::start().await;
        let (shop, account, alice) =
            (Shop::of(&mesh).await, mesh.admin_account().await, mesh.persona("alice").await.user_id);
        let admin = async || {
            let answer = account.try_login(&account.code_at(mesh.now())).await.expect(200);
            Persona::signed_in(account.visitor.clone(), &answer)
        };
        let (given, refused) = (grant(&alice, 10), spend(&alice, 11));
        let first = shop.grant_as(given.clone()).await.unwrap();
        assert_eq!(reason(shop.spend_as(0, &refused).await), "INSUFFICIENT_FUNDS");
        let adjusted = admin().await.post(ADJUST, &adjust(&alice, &json!(5), "a")).await.expect(200);
        mesh.clock.advance(SignedDuration::from_hours(25));
        let shop = shop.later(&mesh).await;
        shop.grant(&alice, 100).await.unwrap();
        assert_eq!(shop.grant_as(given.clone()).await.unwrap(), first);
        assert_eq!(reason(shop.spend_as(0, &refused).await), "INSUFFICIENT_FUNDS");
        let other = v1::GrantRequest { amount: 11, ..given };
        assert_eq!(reason(shop.grant_as(other).await), "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(admin().await.post(ADJUST, &adjust(&alice, &json!(5), "a")).await.expect(200), adjusted);
        assert_eq!(balance(&mesh, &alice).await, 110);
    });
}

const ADJUST: &str = "/admin/users/adjust-points";

fn adjust(user: &str, delta: &Value, key: &str) -> Value {
    json!({"user_id": user, "delta": delta, "reason": "a ticket", "idempotency_key": key})
}

#[test]
fn an_adjustment_is_of_a_number_that_is_one_and_its_key_is_its_administrators() {
    run(async {
        let mesh = TOGETHER.get().await;
        let (one, two, alice) = (mesh.admin().await, mesh.admin().await, mesh.persona("alice").await);
        for delta in [
            json!(0),
            json!(MOST + 1),
            json!(-MOST - 1),
            json!(i64::MIN),
            json!(i64::MAX),
            json!("-9223372036854775808"),
            json!("9223372036854775808"),
            json!(1.5),
            json!("ten"),
        ] {
            let answer = one.post(ADJUST, &adjust(&alice.user_id, &delta, "wrong")).await;
            assert_eq!(answer.status, 400, "{delta}: {}", answer.text());
        }
        one.post(ADJUST, &adjust("alice", &json!(1), "wrong")).await.refused(400, "VALIDATION_FAILED");
        let most = one.post(ADJUST, &adjust(&alice.user_id, &json!(MOST), "a")).await.expect(200);
        one.post(ADJUST, &adjust(&alice.user_id, &json!(1), "b")).await.refused(400, "BALANCE_LIMIT");
        // The same key of another administrator is another act: neither is answered what the other did.
        let taken = two.post(ADJUST, &adjust(&alice.user_id, &json!(-MOST), "a")).await.expect(200);
        assert_ne!(taken["posting"]["posting_id"], most["posting"]["posting_id"]);
        assert_eq!(one.post(ADJUST, &adjust(&alice.user_id, &json!(MOST), "a")).await.expect(200), most);
        one.post(ADJUST, &adjust(&alice.user_id, &json!(1), "b")).await.refused(400, "BALANCE_LIMIT");
        assert_eq!(alice.get("/v1/points/balance").await.expect(200)["balance"]["available"], 0);
    });
}

fn batch() -> BatchPosting {
    BatchPosting { movements: Vec::new(), reason: "test".into(), reference: "1".into(), idempotency_key: key() }
}

fn movement(user: &str, amount: i64) -> Movement {
    let account = |owner| Some(Account { owner: Some(owner) });
    Movement {
        from: account(Owner::UserId(user.into())),
        to: account(Owner::House(House::Sink.into())),
        currency: Currency::Gold.into(),
        amount,
        funds: None,
        expires_at: None,
    }
}

fn given(user: &str, amount: i64) -> Movement {
    let taken = movement(user, amount);
    let mint = Some(Account { owner: Some(Owner::House(House::Mint.into())) });
    Movement { from: mint, to: taken.from.clone(), ..taken }
}
