//! What becomes of an order: the rules of chapter 03, on books that were read under lock.

use std::collections::HashMap;

use coreloop_core::UserId;
use coreloop_planted::{self as planted, Bug};
use coreloop_wallet_api::v1::{self, House, PostingKind};
use uuid::Uuid;

use crate::{
    books::{Books, Draft, HoldRow, Leg, MOST, SettledRow, parts_of},
    error::Refusal,
    funds::{self, Funds, Micros, Part},
    order::{Act, Cause, Currency, Key, Movement, Order, Party, Settle, currency_of},
};

/// Posts an order, or keeps that it was refused. A key that named the same before answers the same again.
///
/// # Errors
/// The [`Refusal`]; nothing of the order has happened.
pub fn apply(books: &mut Books, order: &Order) -> Result<v1::Posting, Refusal> {
    if let Some(known) = books.loaded.postings.get(&order.id) {
        return if known.body_hash == order.body_hash { known.again() } else { Err(Refusal::KeyReused) };
    }
    let outcome = act(books, order);
    if let Err(refusal) = &outcome
        && refusal.is_decided()
        && !order.is_swept()
        && !(*refusal == Refusal::BalanceLimit && order.gives_back())
        && !planted::on(Bug::RefusalForgotten)
    {
        books.refuse(order, refusal);
    }
    outcome
}

fn act(books: &mut Books, order: &Order) -> Result<v1::Posting, Refusal> {
    expire(books, order)?;
    match &order.act {
        Act::Move { kind, movements } => moving(books, order, *kind, movements),
        Act::Hold { user, currency, amount, expires_at } => {
            hold(books, order, (*user, *currency), (*amount, *expires_at))
        }
        Act::Settle { made, how } => settle(books, order, made, *how),
        Act::Reverse { original, amount } => reverse(books, order, original, *amount),
        Act::Expire { .. } => Ok(v1::Posting::default()),
    }
}

/// An act that is being put together: the funds that it has changed so far, and its legs.
struct Desk<'a> {
    books: &'a mut Books,
    funds: HashMap<Key, Funds>,
    legs: Vec<Leg>,
}

impl<'a> Desk<'a> {
    fn new(books: &'a mut Books) -> Self {
        Self { books, funds: HashMap::new(), legs: Vec::new() }
    }

    fn purse(&mut self, user: UserId, currency: Currency) -> &mut Funds {
        let key = (user.0, currency);
        let accounts = &self.books.loaded.accounts;
        self.funds.entry(key).or_insert_with(|| accounts.get(&key).map(|it| it.funds.clone()).unwrap_or_default())
    }

    /// Takes from a party; `wanted` is what is taken first of a user's. The house gives whatever is asked.
    fn take(&mut self, party: Party, currency: Currency, amount: i64, wanted: &[Part]) -> Result<Vec<Part>, Refusal> {
        let parts = match party {
            Party::House(_) => Vec::new(),
            Party::User(user) => {
                // What the account has, not what legs before this one left of it: nothing of a refused act is done.
                let account = self.books.loaded.accounts.get(&(user.0, currency));
                let available = account.and_then(|account| account.funds.total()).unwrap_or_default();
                self.purse(user, currency).take_like(amount, wanted).ok_or(Refusal::InsufficientFunds {
                    currency: v1::Currency::try_from(i32::from(currency)).unwrap_or_default(),
                    available,
                })?
            }
        };
        self.legs.push(Leg { party, currency, delta: -amount, parts: parts.clone() });
        Ok(parts)
    }

    /// Gives `amount` to a party, a user in `parts`.
    fn put(&mut self, party: Party, currency: Currency, amount: i64, parts: Vec<Part>) -> Result<(), Refusal> {
        if let Party::User(user) = party
            && !self.purse(user, currency).put(&parts, MOST)
        {
            return Err(Refusal::BalanceLimit);
        }
        self.legs.push(Leg { party, currency, delta: amount, parts });
        Ok(())
    }

    /// Books what is on the desk.
    fn book(self, order: &Order, draft: impl FnOnce(Vec<Leg>) -> Draft) -> Result<v1::Posting, Refusal> {
        let Self { books, funds, legs } = self;
        let posting = books.book(order, &draft(legs))?;
        for (key, funds) in funds {
            if let Some(account) = books.loaded.accounts.get_mut(&key) {
                account.funds = funds;
            }
        }
        Ok(posting)
    }
}

fn plain(kind: PostingKind) -> impl FnOnce(Vec<Leg>) -> Draft {
    move |legs| Draft { kind, legs, hold: None, hold_expires_at: None, reverses: None }
}

/// Takes out of the users' accounts of an order what is over, each lot by a posting of its own.
fn expire(books: &mut Books, order: &Order) -> Result<(), Refusal> {
    let mut keys = std::collections::BTreeSet::new();
    order.accounts(books.slot, &mut keys);
    for (owner, currency) in keys {
        let Some(account) = books.loaded.accounts.get(&(owner, currency)) else { continue };
        for part in account.funds.clone().expire(books.now) {
            // A lot may be made again after it was over, by a process whose clock is behind: the next line of the account,
            // which is locked, tells the two apart.
            let line = books.loaded.accounts.get(&(owner, currency)).map_or(0, |account| account.seq + 1);
            let cause = Cause {
                caller: "wallet".into(),
                actor: "wallet".into(),
                key: format!("expire:{owner}:{currency}:{}:{}:{line}", part.lot.expires_at, part.lot.paid),
                reason: "wallet.expired".to_owned(),
                reference: format!("{}", part.lot.expires_at),
            };
            let body = v1::Part { amount: part.amount, ..v1::Part::default() };
            let act = Act::Expire { user: UserId(owner), currency };
            let mut own = Order::new(cause, "wallet.Expire", &body, act);
            own.origin = order.origin.clone();
            let mut desk = Desk::new(books);
            desk.take(Party::User(UserId(owner)), currency, part.amount, &[part])?;
            desk.put(Party::House(House::Sink), currency, part.amount, Vec::new())?;
            desk.book(&own, plain(PostingKind::Expiry))?;
        }
    }
    Ok(())
}

fn moving(books: &mut Books, order: &Order, kind: PostingKind, movements: &[Movement]) -> Result<v1::Posting, Refusal> {
    // Asked only of what is new: a key that named it before is answered, however late.
    if movements.iter().any(|one| one.lot.expires_at <= books.now) {
        return Err(Refusal::TimePassed);
    }
    let mut desk = Desk::new(books);
    for one in movements {
        let taken = desk.take(one.from, one.currency, one.amount, &[])?;
        let given = match (one.from, one.to) {
            (Party::House(_), Party::User(_)) => vec![Part { lot: one.lot, amount: one.amount }],
            (Party::User(_), Party::User(_)) => taken,
            _ => Vec::new(),
        };
        desk.put(one.to, one.currency, one.amount, given)?;
    }
    desk.book(order, plain(kind))
}

fn hold(
    books: &mut Books,
    order: &Order,
    (user, currency): (UserId, Currency),
    (amount, expires_at): (i64, Micros),
) -> Result<v1::Posting, Refusal> {
    let mut desk = Desk::new(books);
    desk.take(Party::User(user), currency, amount, &[])?;
    desk.put(Party::House(House::Escrow), currency, amount, Vec::new())?;
    let posting = desk.book(order, |legs| Draft {
        hold: Some((order.id, user.0)),
        hold_expires_at: Some(expires_at),
        ..plain(PostingKind::Hold)(legs)
    })?;
    books.make_hold(HoldRow { id: order.id, key: (user.0, currency), amount, expires_at, settled: None });
    Ok(posting)
}

/// The user's leg of a posting that made a hold: who, which currency, how much, of what kind.
fn held(made: &v1::Posting) -> Option<(Uuid, UserId, Currency, Vec<Part>)> {
    let id = made.posting_id.parse().ok().filter(|_| made.kind() == PostingKind::Hold)?;
    let leg = made.legs.iter().find(|leg| leg.delta < 0)?;
    match Party::of(leg.account.as_ref())? {
        Party::User(user) => Some((id, user, currency_of(leg), parts_of(leg))),
        Party::House(_) => None,
    }
}

fn settle(books: &mut Books, order: &Order, made: &v1::Posting, how: Settle) -> Result<v1::Posting, Refusal> {
    let (id, user, currency, parts) = held(made).ok_or(Refusal::HoldNotFound)?;
    let known = books.loaded.holds.get(&id).copied().ok_or(Refusal::HoldNotFound)?;
    let twice = planted::on(Bug::DoubleRelease) && how == Settle::Release;
    if !known.open && !twice {
        return Err(Refusal::HoldSettled);
    }
    let over = known.expires_at <= books.now;
    let all = funds::sum(&parts);
    let (taken, to, state, kind) = match how {
        Settle::Capture { .. } if over && !planted::on(Bug::LateCapture) => return Err(Refusal::HoldExpired),
        Settle::Expire if !over => return Err(Refusal::HoldSettled),
        Settle::Capture { amount, to } => (amount.unwrap_or(all), to, "captured", PostingKind::Capture),
        Settle::Release => (0, House::Sink, "released", PostingKind::Release),
        Settle::Expire => (0, House::Sink, "expired", PostingKind::Release),
    };
    if taken > all {
        return Err(Refusal::AmountTooLarge);
    }
    let (now, grace) = (books.now, books.grace);
    let mut desk = Desk::new(books);
    desk.take(Party::House(House::Escrow), currency, all, &[])?;
    if taken > 0 {
        // Says what was captured, so that a reversal can give it back.
        desk.put(Party::House(to), currency, taken, funds::first(&parts, taken))?;
    }
    if taken < all {
        let back = funds::give_back(&parts, all - taken, now, grace);
        desk.put(Party::User(user), currency, all - taken, back)?;
    }
    let posting = desk.book(order, |legs| Draft { hold: Some((id, user.0)), ..plain(kind)(legs) })?;
    books.settle_hold(SettledRow { id, state, by: order.id });
    Ok(posting)
}

fn reverse(
    books: &mut Books,
    order: &Order,
    original: &v1::Posting,
    amount: Option<i64>,
) -> Result<v1::Posting, Refusal> {
    let id: Uuid = original.posting_id.parse().map_err(|_| Refusal::PostingNotFound)?;
    if books.loaded.reversed.contains(&id) {
        return Err(Refusal::AlreadyReversed);
    }
    let legs = undoing(original).ok_or(Refusal::NotReversible)?;
    let whole = legs.iter().map(|leg| leg.delta.abs()).max().unwrap_or_default();
    let part = match amount {
        None => None,
        Some(amount) if amount > whole => return Err(Refusal::AmountTooLarge),
        Some(amount) if amount < whole && legs.len() != 2 => return Err(Refusal::NotReversible),
        Some(amount) => Some(amount).filter(|amount| *amount < whole),
    };
    let between_users = legs.iter().all(|leg| matches!(leg.party, Party::User(_)));
    let (now, grace) = (books.now, books.grace);
    let mut desk = Desk::new(books);
    let mut taken = Vec::new();
    for leg in legs.iter().filter(|leg| leg.delta > 0) {
        taken.extend(desk.take(leg.party, leg.currency, part.unwrap_or(leg.delta), &leg.parts)?);
    }
    for leg in legs.iter().filter(|leg| leg.delta < 0) {
        let amount = part.unwrap_or(-leg.delta);
        let back = match leg.party {
            Party::House(_) => Vec::new(),
            // Between two users what is taken is given, so that nothing becomes paid that was free.
            Party::User(_) if between_users && legs.len() == 2 => std::mem::take(&mut taken),
            Party::User(_) => funds::give_back(&leg.parts, amount, now, grace),
        };
        desk.put(leg.party, leg.currency, amount, back)?;
    }
    desk.book(order, |legs| Draft { reverses: Some(id), ..plain(PostingKind::Reversal)(legs) })
}

/// The legs that a reversal turns round; none for what cannot be reversed. Of a capture it is as if the owner had spent what
/// was captured: the rest went back already.
fn undoing(original: &v1::Posting) -> Option<Vec<Leg>> {
    let leg = |leg: &v1::Leg| {
        let party = Party::of(leg.account.as_ref())?;
        Some(Leg { party, currency: currency_of(leg), delta: leg.delta, parts: parts_of(leg) })
    };
    match original.kind() {
        PostingKind::Grant
        | PostingKind::Spend
        | PostingKind::Transfer
        | PostingKind::Adjustment
        | PostingKind::Batch => original.legs.iter().map(leg).collect(),
        PostingKind::Capture => {
            let user = Party::User(original.user_id.parse().ok()?);
            let house = original
                .legs
                .iter()
                .filter_map(leg)
                .find(|leg| leg.delta > 0 && matches!(leg.party, Party::House(_)))?;
            let owner = Leg { party: user, delta: -house.delta, ..house.clone() };
            Some(vec![owner, house])
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
