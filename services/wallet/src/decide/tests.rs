//! The rules on books in memory: acts in sequence, as batches hand them on.

mod everything;

use coreloop_wallet_api::v1::Currency as C;
use everything::{
    Everything, HOUR, capture, grant, grant_of, hold_of, movement, order, settling, spend, transfer, undo, user,
};
use proptest::prelude::*;

use super::*;
use crate::{
    books::REFUSED,
    chain,
    funds::{Lot, NEVER},
};

#[test]
fn one_who_has_too_little_is_refused_alone() {
    let mut books = Everything::new();
    let orders: Vec<Order> =
        [grant(user(1), 100), spend(user(1), 60), spend(user(1), 60), spend(user(1), 40), spend(user(2), 1)]
            .into_iter()
            .map(|act| books.fresh(act))
            .collect();
    let outcomes = books.batch(&orders);
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true, false]);
    assert_eq!(outcomes[2], Err(Refusal::InsufficientFunds { currency: C::Gold, available: 40 }));
    assert_eq!(books.has(user(1)), 0);
    books.sound();
}

#[test]
fn a_key_is_one_act_within_a_batch_and_after_it() {
    let mut books = Everything::new();
    let twice = order("k", grant(user(1), 100));
    let outcomes = books.batch(&[twice.clone(), twice.clone()]);
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(books.one(&twice), outcomes[0]);
    let mut other = twice;
    other.body_hash = [1; 32];
    assert_eq!(books.one(&other), Err(Refusal::KeyReused));
    assert_eq!(books.has(user(1)), 100);
    books.sound();
}

#[test]
fn a_key_that_was_refused_is_refused_again() {
    let mut books = Everything::new();
    let early = order("k", spend(user(1), 10));
    let refused = books.batch(&[early.clone(), early.clone()]);
    assert_eq!(refused[0], Err(Refusal::InsufficientFunds { currency: C::Gold, available: 0 }));
    assert_eq!(refused[0], refused[1], "within a batch");
    books.act(grant(user(1), 10)).unwrap();
    assert_eq!(books.one(&early), refused[0], "and after it, whatever is there by then");
    let other = Order { body_hash: [1; 32], ..early };
    assert_eq!(books.one(&other), Err(Refusal::KeyReused));
    assert_eq!(books.has(user(1)), 10);
    let kept: Vec<_> =
        books.written.iter().flat_map(|batch| &batch.postings).filter(|row| row.kind == REFUSED).collect();
    assert_eq!(kept.len(), 1);
    books.sound();
}

/// Its clock may be behind that of who looked: what is over is looked after again, by the same name.
#[test]
fn a_sweep_that_came_too_early_comes_again() {
    let mut books = Everything::new();
    books.act(grant(user(1), 10)).unwrap();
    let made = books.act(hold_of(user(1), 10, 2 * HOUR)).unwrap();
    let sweep = order("expire-hold", settling(&made, Settle::Expire));
    assert_eq!(books.one(&sweep), Err(Refusal::HoldSettled));
    books.now = 3 * HOUR;
    books.one(&sweep).unwrap();
    assert_eq!(books.has(user(1)), 10);
    books.sound();
}

/// What somebody has no room for now is theirs all the same: it is given back when there is room.
#[test]
fn a_refund_that_found_no_room_is_asked_for_again() {
    let mut books = Everything::new();
    books.act(grant(user(1), 10)).unwrap();
    let spent = books.act(spend(user(1), 10)).unwrap();
    books.act(grant(user(1), MOST)).unwrap();
    let refund = order("refund", undo(&spent, None));
    assert_eq!(books.one(&refund), Err(Refusal::BalanceLimit));
    books.act(spend(user(1), 100)).unwrap();
    books.one(&refund).unwrap();
    books.sound();
}

#[test]
fn a_hold_is_captured_in_part_and_the_rest_goes_back() {
    let mut books = Everything::new();
    books.act(grant(user(1), 50)).unwrap();
    books.act(grant_of(user(1), 50, Lot::PAID)).unwrap();
    let made = books.act(hold_of(user(1), 80, 2 * HOUR)).unwrap();
    assert_eq!(books.has(user(1)), 20);
    assert_eq!(books.act(capture(&made, Some(81))), Err(Refusal::AmountTooLarge));
    let captured = books.act(capture(&made, Some(70))).unwrap();
    assert_eq!(books.has(user(1)), 30);
    // Free value was captured first, so what came back is paid.
    assert_eq!(books.loaded.accounts[&(user(1).0, 1)].funds.of(Lot::PAID), 30);
    assert_eq!(books.act(capture(&made, None)), Err(Refusal::HoldSettled));
    assert_eq!(books.act(settling(&made, Settle::Release)), Err(Refusal::HoldSettled));
    books.act(undo(&captured, None)).unwrap();
    assert_eq!(books.has(user(1)), 100);
    assert_eq!(books.loaded.accounts[&(user(1).0, 1)].funds.of(Lot::PAID), 50);
    books.sound();
}

#[test]
fn a_hold_whose_time_is_over_is_not_captured_and_goes_back() {
    let mut books = Everything::new();
    books.act(grant(user(1), 50)).unwrap();
    let made = books.act(hold_of(user(1), 50, 2 * HOUR)).unwrap();
    assert_eq!(books.act(settling(&made, Settle::Expire)), Err(Refusal::HoldSettled));
    books.now = 2 * HOUR;
    assert_eq!(books.act(capture(&made, None)), Err(Refusal::HoldExpired));
    books.act(settling(&made, Settle::Expire)).unwrap();
    assert_eq!(books.has(user(1)), 50);
    books.sound();
}

#[test]
fn a_posting_is_reversed_once_and_never_for_more() {
    let mut books = Everything::new();
    let granted = books.act(grant(user(1), 50)).unwrap();
    let spent = books.act(spend(user(1), 30)).unwrap();
    assert_eq!(books.act(undo(&spent, Some(31))), Err(Refusal::AmountTooLarge));
    let back = books.act(undo(&spent, Some(10))).unwrap();
    assert_eq!(books.act(undo(&spent, Some(10))), Err(Refusal::AlreadyReversed));
    assert_eq!(books.act(undo(&back, None)), Err(Refusal::NotReversible));
    assert!(matches!(books.act(undo(&granted, None)), Err(Refusal::InsufficientFunds { available: 30, .. })));
    books.act(undo(&granted, Some(30))).unwrap();
    assert_eq!(books.has(user(1)), 0);
    books.sound();
}

#[test]
fn a_reversal_of_several_legs_that_is_refused_tells_all_that_there_is() {
    let mut books = Everything::new();
    let mint = |amount, lot| movement(Party::House(House::Mint), Party::User(user(1)), amount, lot);
    let movements = vec![mint(500, Lot { paid: true, ..Lot::FREE }), mint(25, Lot::FREE)];
    let given = books.act(Act::Move { kind: PostingKind::Batch, movements }).unwrap();
    books.act(spend(user(1), 10)).unwrap();
    let refused = books.act(undo(&given, None));
    assert_eq!(refused, Err(Refusal::InsufficientFunds { currency: C::Gold, available: 515 }));
    assert_eq!(books.has(user(1)), 515);
    books.sound();
}

/// The refund of a purchase: nothing went back to the owner, who has no leg in the capture.
#[test]
fn a_capture_of_all_is_reversed() {
    let mut books = Everything::new();
    books.act(grant(user(1), 50)).unwrap();
    let made = books.act(hold_of(user(1), 50, 2 * HOUR)).unwrap();
    let captured = books.act(capture(&made, None)).unwrap();
    books.act(undo(&captured, None)).unwrap();
    assert_eq!(books.has(user(1)), 50);
    books.sound();
}

#[test]
fn gold_that_is_over_goes_whichever_currency_moves() {
    let mut books = Everything::new();
    books.act(grant_of(user(1), 30, Lot { paid: false, expires_at: 2 * HOUR })).unwrap();
    books.now = 2 * HOUR;
    let points = Movement { currency: 2, ..movement(Party::House(House::Mint), Party::User(user(1)), 5, Lot::FREE) };
    books.act(Act::Move { kind: PostingKind::Grant, movements: vec![points] }).unwrap();
    assert_eq!(books.has(user(1)), 0);
    books.sound();
}

/// A process whose clock is behind gives value of a lot that another has seen go.
#[test]
fn a_lot_that_is_made_again_is_over_again() {
    let mut books = Everything::new();
    let lot = Lot { paid: false, expires_at: 2 * HOUR };
    for _ in 0..3 {
        books.now = 2 * HOUR - 1;
        books.act(grant_of(user(1), 30, lot)).unwrap();
        books.now = 2 * HOUR;
        books.act(grant(user(1), 1)).unwrap();
    }
    assert_eq!(books.has(user(1)), 3);
    books.sound();
}

#[test]
fn between_users_what_is_taken_back_keeps_its_kind() {
    let mut books = Everything::new();
    books.act(grant_of(user(1), 10, Lot::PAID)).unwrap();
    let moved = books.act(transfer(user(1), user(2), 10)).unwrap();
    assert_eq!(books.loaded.accounts[&(user(2).0, 1)].funds.of(Lot::PAID), 10);
    books.act(spend(user(2), 10)).unwrap();
    books.act(grant(user(2), 10)).unwrap();
    books.act(undo(&moved, None)).unwrap();
    assert_eq!(books.loaded.accounts[&(user(1).0, 1)].funds.of(Lot::FREE), 10);
    books.sound();
}

#[test]
fn what_is_over_goes_before_anything_else_and_comes_back_with_time() {
    let mut books = Everything::new();
    let soon = Lot { paid: false, expires_at: 2 * HOUR };
    books.act(grant_of(user(1), 30, soon)).unwrap();
    books.act(grant(user(1), 5)).unwrap();
    let spent = books.act(spend(user(1), 10)).unwrap();
    books.now = 2 * HOUR;
    assert!(matches!(books.act(spend(user(1), 6)), Err(Refusal::InsufficientFunds { available: 5, .. })));
    assert_eq!(books.has(user(1)), 5, "the rest of the lot is gone");
    books.act(undo(&spent, None)).unwrap();
    let account = &books.loaded.accounts[&(user(1).0, 1)];
    assert_eq!(account.funds.of(Lot { paid: false, expires_at: 26 * HOUR }), 10);
    assert_eq!(books.act(grant_of(user(1), 1, soon)), Err(Refusal::TimePassed));
    books.sound();
}

#[test]
fn nobody_holds_more_than_may_be() {
    let mut books = Everything::new();
    books.act(grant(user(1), MOST)).unwrap();
    assert_eq!(books.act(grant(user(1), 1)), Err(Refusal::BalanceLimit));
    books.act(grant(user(2), 1)).unwrap();
    assert_eq!(books.act(transfer(user(2), user(1), 1)), Err(Refusal::BalanceLimit));
    assert_eq!(books.has(user(2)), 1, "nothing of a refused act is left");
    books.sound();
}

#[test]
fn several_movements_happen_together_or_not_at_all() {
    let mut books = Everything::new();
    books.act(grant(user(1), 10)).unwrap();
    let both = |amount| Act::Move {
        kind: PostingKind::Batch,
        movements: vec![
            movement(Party::User(user(1)), Party::User(user(2)), 10, Lot::FREE),
            movement(Party::User(user(2)), Party::House(House::Sink), amount, Lot::FREE),
        ],
    };
    assert!(books.act(both(11)).is_err());
    assert_eq!((books.has(user(1)), books.has(user(2))), (10, 0));
    let posted = books.act(both(4)).unwrap();
    assert_eq!((books.has(user(1)), books.has(user(2))), (0, 6));
    assert_eq!(books.act(undo(&posted, Some(1))), Err(Refusal::NotReversible));
    books.sound();
}

#[test]
fn the_facts_tell_every_change_of_a_user_in_order() {
    let mut books = Everything::new();
    books.act(grant(user(1), 10)).unwrap();
    books.act(spend(user(1), 4)).unwrap();
    let facts: Vec<_> = books.written.iter().flat_map(|batch| &batch.facts).map(|fact| &fact.posted).collect();
    let told: Vec<_> = facts.iter().map(|posted| (posted.sequence, posted.delta, posted.balance_after)).collect();
    assert_eq!(told, [(1, 10, 10), (2, -4, 6)]);
}

#[test]
fn the_hash_of_an_entry_is_of_its_posting_and_the_one_before() {
    let mut books = Everything::new();
    books.act(grant(user(1), 10)).unwrap();
    books.act(spend(user(1), 4)).unwrap();
    let lines: Vec<_> =
        books.written.iter().flat_map(|b| &b.entries).filter(|entry| entry.line.key.0 == user(1).0).collect();
    let row = &books.written[1].postings[0];
    let said = chain::Said {
        id: row.id,
        kind: row.kind,
        words: [&row.cause.caller, &row.cause.key, &row.cause.actor, &row.cause.reason, &row.cause.reference],
        body_hash: &row.body_hash,
        answer: &row.answer,
        reverses: row.reverses,
        posted_at: row.posted_at,
    };
    assert_eq!(chain::line(&lines[0].hash, &chain::posting(&said), &lines[1].line), lines[1].hash);
}

/// What a random history is made of: numbers that mean something only when it is run.
#[derive(Debug, Clone)]
struct Random {
    what: u8,
    who: u128,
    other: u128,
    amount: i64,
    which: usize,
    passes: i64,
    currency: Currency,
}

fn any_random() -> impl Strategy<Value = Random> {
    (0_u8..9, 0_u128..4, 0_u128..4, 1_i64..60, any::<prop::sample::Index>(), -20_i64..40, 1_i16..3).prop_map(
        |(what, who, other, amount, which, passes, currency)| Random {
            what,
            who,
            other,
            amount,
            which: which.index(1_000),
            passes,
            currency,
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_done_the_books_are_sound(history in prop::collection::vec(any_random(), 1..60), size in 1_usize..9) {
        let mut books = Everything::new();
        let mut made: Vec<v1::Posting> = Vec::new();
        for chunk in history.chunks(size) {
            let mut orders = Vec::new();
            for random in chunk {
                let (one, two) = (user(random.who), user(random.other));
                let known = (!made.is_empty()).then(|| made[random.which % made.len()].clone());
                let lot = Lot { paid: random.amount % 2 == 0, expires_at: if random.passes % 3 == 0 { books.now + 60 * 1_000_000 } else { NEVER } };
                let mut act = match (random.what, known) {
                    (0 | 1, _) => grant_of(one, random.amount, lot),
                    (2, _) => spend(one, random.amount),
                    (3, _) if one != two => transfer(one, two, random.amount),
                    (4, _) => hold_of(one, random.amount, books.now + 30 * 1_000_000),
                    (5, Some(known)) => capture(&known, Some(random.amount).filter(|amount| amount % 3 > 0)),
                    (6, Some(known)) => settling(&known, if random.amount % 2 == 0 { Settle::Release } else { Settle::Expire }),
                    (7, Some(known)) => undo(&known, (random.amount % 2 == 0).then_some(random.amount)),
                    _ => Act::Expire { user: one, currency: 1 },
                };
                match &mut act {
                    Act::Move { movements, .. } => movements.iter_mut().for_each(|one| one.currency = random.currency),
                    Act::Hold { currency, .. } | Act::Expire { currency, .. } => *currency = random.currency,
                    Act::Settle { .. } | Act::Reverse { .. } => {}
                }
                orders.push(books.fresh(act));
                if random.passes % 7 == 0 {
                    orders.extend(orders.last().cloned());
                }
            }
            made.extend(books.batch(&orders).into_iter().flatten().filter(|posting| !posting.posting_id.is_empty()));
            books.now += chunk[0].passes * 1_000_000;
            books.sound();
        }
    }
}
