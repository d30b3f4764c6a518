//! A state that is sound, and per rule the smallest change that must be found.

use std::time::Duration;

use coreloop_wallet_api::v1::{Account as Party, House, Leg, Posting, account::Owner};
use uuid::Uuid;

use super::{
    Findings, Kind, State, compare,
    market::{Pieces, Redemption, Sale},
    state::{Account, Effect, Entry, Hold, Row},
};
use crate::journal::{Act, Deed, Reply, Said};

const USER: Uuid = Uuid::from_u128(0xa << 64);
const GOLD: i16 = 1;

fn leg(owner: Owner, currency: i16, delta: i64) -> Leg {
    Leg { account: Some(Party { owner: Some(owner) }), currency: currency.into(), delta, ..Leg::default() }
}

fn said(said: Said, at: u64) -> Reply {
    Reply { asked: Duration::from_millis(at), heard: Duration::from_millis(at + 1), said }
}

fn deed(key: &str, act: Act, told: Said) -> Deed {
    Deed { caller: "game", key: key.to_owned(), act, forged: false, replies: vec![said(told, 10)] }
}

#[derive(Default)]
struct Case {
    state: State,
    journal: Vec<Deed>,
}

impl Case {
    /// A posting that moves so much between a house and the user, with all that belongs to it.
    fn post(
        &mut self,
        (caller, key, reference): (&str, &str, &str),
        (house, kind): (House, i16),
        currency: i16,
        delta: i64,
    ) -> Posting {
        let state = &mut self.state;
        let (posting, house_id) = (Uuid::from_u128(state.postings.len() as u128 + 1), Uuid::from_u128(house as u128));
        for (owner, of_house, delta) in [(USER, None, delta), (house_id, Some(house as i16), -delta)] {
            let mine = state.entries.iter().filter(|entry| entry.owner == owner && entry.currency == currency);
            let (seq, before) = mine.fold((1, 0), |(seq, sum), entry| (seq + 1, sum + entry.delta));
            state.entries.push(Entry { owner, currency, seq, posting, delta, balance_after: before + delta });
            state.accounts.retain(|account| (account.owner, account.currency) != (owner, currency));
            state.accounts.push(Account { owner, currency, house: of_house, balance: before + delta });
            if of_house.is_none() {
                let number = state.effects.len() as i64 + 1;
                let (event, key, balance_after) = (Uuid::from_u128(number as u128), owner.to_string(), before + delta);
                state.effects.push(Effect { event, number, key, currency, sequence: seq, delta, balance_after });
            }
        }
        let legs = vec![
            leg(Owner::UserId(USER.to_string()), currency, delta),
            leg(Owner::House(house.into()), currency, -delta),
        ];
        let answer = Posting { posting_id: posting.to_string(), legs, ..Posting::default() };
        state.postings.push(Row {
            id: posting,
            kind,
            caller: format!("service:{caller}"),
            key: key.to_owned(),
            answer: answer.clone(),
            reverses: None,
            reference: reference.to_owned(),
            posted_at: 0,
        });
        answer
    }

    /// Two grants, an item that was bought, a redemption that was issued.
    fn sound() -> Self {
        let mut case = Self::default();
        for (key, currency) in [("1", GOLD), ("2", 2), ("3", GOLD)] {
            let answer = case.post(("game", key, key), (House::Mint, 1), currency, 50);
            let act = Act::Grant { user: USER.to_string(), currency: currency.into(), amount: 50, expires_at: None };
            case.journal.push(deed(key, act, Said::Done(Box::new(answer))));
        }
        let (sale, redemption) = (Uuid::from_u128(100), Uuid::from_u128(200));
        case.post(("shop", "charge", &sale.to_string()), (House::Sink, 2), GOLD, -7);
        let spent = case.post(("rewards", "redeem", &redemption.to_string()), (House::Sink, 2), 2, -8);
        let market = &mut case.state.market;
        market.sales.push(Sale {
            id: sale,
            user_id: USER,
            product_id: "few".to_owned(),
            key: "1".to_owned(),
            category: 2,
            state: 3,
            price: 7,
            gold: 0,
            owed: 0,
            payment_id: String::new(),
            reason: String::new(),
            effects: 1,
            events: vec!["purchase_completed".to_owned(), "purchase_requested".to_owned()],
        });
        market.redemptions.push(Redemption {
            id: redemption,
            user_id: USER,
            key: "2".to_owned(),
            sku: "coffee".to_owned(),
            price: 8,
            state: 3,
            spent: spent.posting_id.parse().ok(),
            returned: None,
            events: vec!["redemption_issued".to_owned(), "redemption_requested".to_owned()],
            steps: 3,
        });
        market.orders.insert(redemption.to_string(), "issued".to_owned());
        market.stock.push(Pieces { name: "few".to_owned(), total: 1, taken: 1, had: 1 });
        let buy = Act::Buy { user: USER.to_string(), product: "few".to_owned(), limited: true, handle: String::new() };
        case.journal.push(deed("1", buy, Said::Taken { id: sale.to_string(), state: 3 }));
        let redeem = Act::Redeem { user: USER.to_string(), sku: "coffee".to_owned() };
        case.journal.push(deed("2", redeem, Said::Taken { id: redemption.to_string(), state: 2 }));
        case
    }

    /// The same, and a conversion that was confirmed and charged back.
    fn charged_back() -> Self {
        let (mut case, sale) = (Self::sound(), Uuid::from_u128(300));
        case.post(("shop", "give", &sale.to_string()), (House::Mint, 1), GOLD, 100);
        case.post(("shop", "take", &sale.to_string()), (House::Mint, 2), GOLD, -100);
        let events = ["purchase_completed", "purchase_requested", "settlement_confirmed", "settlement_voided"];
        let market = &mut case.state.market;
        market.sales.push(Sale {
            id: sale,
            product_id: "gold-100".to_owned(),
            key: "3".to_owned(),
            category: 1,
            state: 4,
            gold: 100,
            payment_id: "pay".to_owned(),
            reason: "CHARGED_BACK".to_owned(),
            effects: 0,
            events: events.map(str::to_owned).to_vec(),
            ..market.sales[0].clone()
        });
        market.payments.insert("pay".to_owned(), "voided".to_owned());
        let (user, product) = (USER.to_string(), "gold-100".to_owned());
        let buy = Act::Buy { user, product, limited: false, handle: "card".to_owned() };
        case.journal.push(deed("3", buy, Said::Taken { id: sale.to_string(), state: 3 }));
        let back = Act::ChargeBack { purchase: sale.to_string() };
        case.journal.push(deed("back", back, Said::Taken { id: sale.to_string(), state: 4 }));
        case
    }

    fn found(&self) -> Findings {
        let mut findings = Findings::default();
        compare(&self.state, &self.journal, &mut findings);
        findings
    }
}

#[test]
fn what_is_sound_is_found_to_be() {
    assert_eq!(Case::sound().found().violations, []);
}

#[test]
fn what_is_charged_back_is_void_for_that_and_nothing_else_is() {
    assert_eq!(Case::charged_back().found().violations, []);
    type Change = (&'static str, Kind, fn(&mut Case));
    let changes: &[Change] = &[
        ("nobody did that", Kind::Doubled, |case| drop(case.journal.pop())),
        ("nobody has heard of it yet", Kind::Open, |case| {
            case.journal.last_mut().unwrap().replies = vec![said(Said::Unknown(String::new()), 1)];
        }),
        ("it is void for something else", Kind::Lost, |case| case.state.market.sales[1].reason.clear()),
        ("the GOLD stays", Kind::Doubled, |case| drop(case.state.postings.pop())),
        ("the end of it is not told", Kind::Doubled, |case| drop(case.state.market.sales[1].events.pop())),
    ];
    for (what, kind, change) in changes {
        let mut case = Case::charged_back();
        change(&mut case);
        let found = case.found();
        assert!(found.count(*kind) > 0, "{what}: {:?}", found.violations);
    }
}

#[test]
fn each_rule_is_held_by_the_smallest_change() {
    type Change = (&'static str, Kind, fn(&mut Case));
    let changes: &[Change] = &[
        ("an entry is changed", Kind::Books, |case| case.state.entries[0].delta += 1),
        ("an entry is gone", Kind::Books, |case| {
            case.state.entries.remove(0);
        }),
        ("an account is changed", Kind::Books, |case| case.state.accounts[0].balance += 1),
        ("an account is below zero", Kind::Books, |case| case.state.accounts[0].balance = -1),
        ("a hold is not in escrow", Kind::Books, |case| {
            let (id, state) = (Uuid::from_u128(7), "held".to_owned());
            case.state.holds.push(Hold { id, currency: GOLD, amount: 3, state, expires_at: 0 });
        }),
        ("an effect is missing", Kind::Untold, |case| drop(case.state.effects.remove(1))),
        ("an effect came twice", Kind::Doubled, |case| case.state.effects.push(case.state.effects[0].clone())),
        ("effects came in another order", Kind::Order, |case| case.state.effects.swap(0, 2)),
        ("an effect is of nothing", Kind::Doubled, |case| case.state.effects[2].sequence = 9),
        ("an effect tells something else", Kind::Doubled, |case| case.state.effects[0].delta += 1),
        ("a posting is gone", Kind::Lost, |case| drop(case.state.postings.remove(0))),
        ("a posting is there twice", Kind::Doubled, |case| case.state.postings.push(case.state.postings[0].clone())),
        ("a posting is not as it was told", Kind::Lost, |case| case.state.postings[0].answer.reason.push('x')),
        ("a deed was not asked for", Kind::Doubled, |case| drop(case.journal.remove(0))),
        ("a deed was refused", Kind::Doubled, |case| {
            case.journal[0].replies = vec![said(Said::Refused("INSUFFICIENT_FUNDS".to_owned()), 1)];
        }),
        ("a deed was done and then refused", Kind::Doubled, |case| {
            case.journal[0].replies.push(said(Said::Refused("INSUFFICIENT_FUNDS".to_owned()), 90));
        }),
        ("a deed was refused and then done", Kind::Doubled, |case| {
            case.journal[0].replies.insert(0, said(Said::Refused("INSUFFICIENT_FUNDS".to_owned()), 1));
        }),
        ("a deed has no end", Kind::Open, |case| case.journal[0].replies = vec![said(Said::Unknown(String::new()), 1)]),
        ("a forged key was taken", Kind::Doubled, |case| case.journal[3].forged = true),
        ("a posting was reversed twice", Kind::Doubled, |case| {
            let original = case.state.postings[0].id;
            case.state.postings[3].reverses = Some(original);
            case.state.postings[4].reverses = Some(original);
        }),
        ("a purchase has two effects", Kind::Doubled, |case| case.state.market.sales[0].effects = 2),
        ("a purchase has no effect", Kind::Lost, |case| case.state.market.sales[0].effects = 0),
        ("a purchase failed and was paid for", Kind::Doubled, |case| case.state.market.sales[0].state = 5),
        ("a purchase is open", Kind::Open, |case| case.state.market.sales[0].state = 1),
        ("a purchase is another's", Kind::Doubled, |case| case.state.market.sales[0].id = Uuid::from_u128(9)),
        ("a purchase was told of once too often", Kind::Doubled, |case| {
            case.state.market.sales[0].events.push("purchase_requested".to_owned());
        }),
        ("a purchase is gone", Kind::Lost, |case| drop(case.state.market.sales.pop())),
        ("a purchase was not charged", Kind::Lost, |case| case.state.postings[3].reference.clear()),
        ("more was sold than there was", Kind::Books, |case| case.state.market.stock[0].total = 0),
        ("a piece is stuck", Kind::Books, |case| case.state.market.stock[0].taken = 2),
        ("the vendor has not issued", Kind::Lost, |case| case.state.market.orders.clear()),
        ("a redemption failed and kept the points", Kind::Doubled, |case| case.state.market.redemptions[0].state = 5),
        ("a redemption has no audit", Kind::Lost, |case| case.state.market.redemptions[0].steps = 1),
    ];
    for (what, kind, change) in changes {
        let mut case = Case::sound();
        change(&mut case);
        let found = case.found();
        assert!(found.count(*kind) > 0, "{what}: {:?}", found.violations);
    }
}
