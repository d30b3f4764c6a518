//! Grants, purchases, transfers, reversals, batches.

use coreloop_facts::v1::WalletPosted;
use coreloop_testkit::run;
use coreloop_wallet_api::v1::{
    self, Account, BatchPosting, Currency, Funds, House, Movement, PostingKind, account::Owner, batch_result::Outcome,
};
use prost::Message as _;
use tonic::Code;

use super::stage::{MESH, Shop, balance, grant, key, reason, somebody, spend};

#[test]
fn what_is_granted_can_be_spent_and_no_more() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, somebody());
        let granted = shop.grant(&alice, 100).await.unwrap();
        assert_eq!(granted.kind(), PostingKind::Grant);
        assert_eq!(
            granted.legs.iter().map(|leg| (leg.delta, leg.balance_after)).collect::<Vec<_>>(),
            [(-100, None), (100, Some(100))]
        );
        shop.spend(&alice, 60).await.unwrap();
        let refused = shop.spend(&alice, 41).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let details = tonic_types::StatusExt::get_error_details(&refused);
        let info = details.error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("wallet", "INSUFFICIENT_FUNDS"));
        assert_eq!((info.metadata["available"].as_str(), info.metadata["currency"].as_str()), ("40", "GOLD"));
        assert_eq!(balance(mesh, &alice).await, 40);
    });
}

#[test]
fn a_key_is_one_act_whoever_it_is_for() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice, bob) = (Shop::of(mesh).await, somebody(), somebody());
        let asked = grant(&alice, 10);
        let first = shop.grant_as(asked.clone()).await.unwrap();
        assert_eq!(shop.grant_as(asked.clone()).await.unwrap(), first);
        let refused = shop.grant_as(v1::GrantRequest { amount: 11, ..asked.clone() }).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason::<()>(Err(refused)).as_str()),
            (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
        );
        assert_eq!(
            reason(shop.grant_as(v1::GrantRequest { user_id: bob.clone(), ..asked.clone() }).await),
            "IDEMPOTENCY_KEY_REUSED"
        );
        // As another kind of act, too.
        let other = v1::SpendRequest { idempotency_key: asked.idempotency_key.clone(), ..spend(&alice, 10) };
        assert_eq!(reason(shop.spend_as(0, &other).await), "IDEMPOTENCY_KEY_REUSED");
        assert_eq!((balance(mesh, &alice).await, balance(mesh, &bob).await), (10, 0));
        // Another service may use the same key.
        Shop::of(mesh).await.grant_as(asked).await.unwrap();
        assert_eq!(balance(mesh, &alice).await, 20);
    });
}

#[test]
fn amounts_that_are_none_and_people_that_are_none_are_refused() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, somebody());
        for amount in [0, -1, i64::MIN, i64::MAX, (1 << 53)] {
            assert_eq!(reason(shop.grant(&alice, amount).await), "VALIDATION_FAILED", "{amount}");
            assert_eq!(reason(shop.spend(&alice, amount).await), "VALIDATION_FAILED", "{amount}");
        }
        for user in ["", "alice", "00000000-0000-0000-0000-000000000100", "00000000-0000-0000-0000-000000000000"] {
            assert_eq!(reason(shop.grant(user, 1).await), "VALIDATION_FAILED", "{user}");
        }
        for wrong in [
            v1::GrantRequest { currency: 0, ..grant(&alice, 1) },
            v1::GrantRequest { currency: 9, ..grant(&alice, 1) },
            v1::GrantRequest { source: Some(House::Escrow.into()), ..grant(&alice, 1) },
            v1::GrantRequest { funds: Some(0), ..grant(&alice, 1) },
            v1::GrantRequest { idempotency_key: String::new(), ..grant(&alice, 1) },
            v1::GrantRequest { idempotency_key: "k".repeat(256), ..grant(&alice, 1) },
            v1::GrantRequest { reason: String::new(), ..grant(&alice, 1) },
            v1::GrantRequest { reference: String::new(), ..grant(&alice, 1) },
            v1::GrantRequest {
                expires_at: Some(prost_types::Timestamp { seconds: 1_000, nanos: 0 }),
                ..grant(&alice, 1)
            },
            v1::GrantRequest {
                expires_at: Some(prost_types::Timestamp { seconds: 253_402_300_799, nanos: 0 }),
                ..grant(&alice, 1)
            },
            // No table holds that; a neighbour of the batch would pay for it.
            v1::GrantRequest { reason: "a\0".into(), ..grant(&alice, 1) },
            v1::GrantRequest { reference: "\0".into(), ..grant(&alice, 1) },
            v1::GrantRequest { idempotency_key: "k\0".into(), ..grant(&alice, 1) },
        ] {
            assert_eq!(reason(shop.grant_as(wrong.clone()).await), "VALIDATION_FAILED", "{wrong:?}");
        }
        shop.grant(&alice, (1 << 53) - 1).await.unwrap();
        assert_eq!(reason(shop.grant(&alice, 1).await), "BALANCE_LIMIT");
        assert_eq!(reason(shop.transfer(&alice, &alice, 1).await), "VALIDATION_FAILED");
    });
}

#[test]
fn a_transfer_moves_and_a_reversal_moves_back_once() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice, bob) = (Shop::of(mesh).await, somebody(), somebody());
        shop.grant(&alice, 100).await.unwrap();
        let moved = shop.transfer(&alice, &bob, 70).await.unwrap();
        assert_eq!((balance(mesh, &alice).await, balance(mesh, &bob).await), (30, 70));
        assert_eq!(reason(shop.reverse(&moved.posting_id, 71).await), "AMOUNT_TOO_LARGE");
        let back = shop.reverse(&moved.posting_id, 20).await.unwrap();
        assert_eq!(back.reverses, moved.posting_id);
        assert_eq!((balance(mesh, &alice).await, balance(mesh, &bob).await), (50, 50));
        assert_eq!(reason(shop.reverse(&moved.posting_id, 0).await), "ALREADY_REVERSED");
        assert_eq!(reason(shop.reverse(&back.posting_id, 0).await), "NOT_REVERSIBLE");
        assert_eq!(reason(shop.reverse(&somebody(), 0).await), "POSTING_NOT_FOUND");
    });
}

#[test]
fn paid_value_is_spent_last_and_comes_back_as_paid() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, somebody());
        shop.grant_as(v1::GrantRequest { funds: Some(Funds::Paid.into()), ..grant(&alice, 50) }).await.unwrap();
        shop.grant(&alice, 50).await.unwrap();
        let spent = shop.spend(&alice, 70).await.unwrap();
        let parts: Vec<_> = spent.legs[0].parts.iter().map(|part| (part.funds(), part.amount)).collect();
        assert_eq!(parts, [(Funds::Free, 50), (Funds::Paid, 20)]);
        let paid = format!("select paid from wallet.accounts where owner = '{alice}' and currency = 1");
        assert_eq!(mesh.db.count(&paid).await, 30);
        shop.reverse(&spent.posting_id, 20).await.unwrap();
        assert_eq!(mesh.db.count(&paid).await, 50);
    });
}

fn account(owner: Owner) -> Option<Account> {
    Some(Account { owner: Some(owner) })
}

fn movement(from: Owner, to: Owner, amount: i64) -> Movement {
    Movement {
        from: account(from),
        to: account(to),
        currency: Currency::Gold.into(),
        amount,
        funds: None,
        expires_at: None,
    }
}

fn posting(movements: Vec<Movement>) -> BatchPosting {
    BatchPosting { movements, reason: "test.settle".into(), reference: "1".into(), idempotency_key: key() }
}

#[test]
fn one_that_is_refused_leaves_the_others_of_its_batch_alone() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice, bob) = (Shop::of(mesh).await, somebody(), somebody());
        let user = |id: &String| Owner::UserId(id.clone());
        let house = |house: House| Owner::House(house.into());
        let win = posting(vec![movement(house(House::Payout), user(&alice), 50)]);
        let batch = vec![
            win.clone(),
            posting(vec![movement(user(&bob), house(House::Sink), 1)]),
            posting(vec![movement(user(&alice), user(&bob), 30), movement(user(&bob), house(House::Sink), 5)]),
            // The same key: the same act, and another one.
            win.clone(),
            BatchPosting { movements: vec![movement(house(House::Payout), user(&alice), 51)], ..win.clone() },
        ];
        let results = shop.post_batch(batch).await.unwrap();
        let told: Vec<_> = results
            .iter()
            .map(|result| match result.outcome.as_ref().unwrap() {
                Outcome::Posting(_) => "posted",
                Outcome::Refusal(refusal) => refusal.reason.as_str(),
            })
            .collect();
        assert_eq!(told, ["posted", "INSUFFICIENT_FUNDS", "posted", "posted", "IDEMPOTENCY_KEY_REUSED"]);
        assert_eq!(results[0], results[3]);
        assert_eq!((balance(mesh, &alice).await, balance(mesh, &bob).await), (20, 25));
        let escrow = posting(vec![movement(house(House::Escrow), user(&alice), 1)]);
        assert_eq!(reason(shop.post_batch(vec![escrow]).await), "VALIDATION_FAILED");
    });
}

#[test]
fn every_change_of_a_user_is_told_in_order() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, somebody());
        shop.grant(&alice, 10).await.unwrap();
        let spent = shop.spend(&alice, 4).await.unwrap();
        let mut connection = mesh.db.connect().await;
        let rows: Vec<(String, serde_json::Value, String)> = sqlx::query_as(
            "select type, payload, request_id from wallet.outbox where aggregatetype = 'wallet' and aggregateid = $1 order by seq",
        )
        .bind(&alice)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let told: Vec<WalletPosted> = rows
            .iter()
            .map(|(kind, payload, request)| {
                assert_eq!((kind.as_str(), request.is_empty()), ("posted", false));
                let json = serde_json::to_vec(payload).unwrap();
                let wire = coreloop_transcode::message::from_json("coreloop.event.v1.WalletPosted", &json).unwrap();
                WalletPosted::decode(wire).unwrap()
            })
            .collect();
        let seen: Vec<_> =
            told.iter().map(|fact| (fact.sequence, fact.delta, fact.balance_after, fact.kind())).collect();
        assert_eq!(seen, [(1, 10, 10, PostingKind::Grant), (2, -4, 6, PostingKind::Spend)]);
        assert_eq!((told[1].posting_id.as_str(), told[1].occurred_at), (spent.posting_id.as_str(), spent.posted_at));
        assert_eq!(
            (told[1].currency(), told[1].user_id.as_str(), told[1].reason.as_str()),
            (Currency::Gold, alice.as_str(), "test.spend")
        );
    });
}
