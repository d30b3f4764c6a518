//! The part of the books that a batch works on: what was read under lock, what the acts made of it, what is to be written.
//!
//! Values in, values out: nothing here knows of a database. An act is drafted on copies and booked as a whole, so one that is
//! refused half-way leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use coreloop_facts::v1 as facts;
use coreloop_wallet_api::v1;
use prost::Message as _;
use uuid::Uuid;

use crate::{
    chain::{self, Line, Said},
    error::Refusal,
    funds::{Funds, Lot, Micros, Part},
    order::{Cause, Currency, Key, Order, Origin, Party},
};

/// Most that a user's account may hold: what every JSON reader takes for a whole number.
pub const MOST: i64 = 9_007_199_254_740_991;

/// An account as it stands.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// What its entries add up to.
    pub balance: i64,
    /// A user's value by kind; empty for the house.
    pub funds: Funds,
    /// What `funds` were when they were read.
    pub before: Funds,
    /// Number of the newest entry.
    pub seq: i64,
    /// Hash of the newest entry.
    pub hash: Vec<u8>,
    /// Time of the newest entry.
    pub last_at: Micros,
}

/// What is known of a hold.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// When it expires.
    pub expires_at: Micros,
    /// Neither captured nor released.
    pub open: bool,
}

/// A posting that was made before.
#[derive(Debug, Clone)]
pub struct Known {
    /// Hash of what was asked.
    pub body_hash: Vec<u8>,
    /// The answer.
    pub answer: Vec<u8>,
}

/// What was read under lock.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Accounts.
    pub accounts: HashMap<Key, Account>,
    /// Postings by the ids of the orders.
    pub postings: HashMap<Uuid, Known>,
    /// Postings that are reversed.
    pub reversed: HashSet<Uuid>,
    /// Holds.
    pub holds: HashMap<Uuid, Held>,
}

/// A posting to write.
#[derive(Debug)]
pub struct PostingRow {
    /// Id.
    pub id: Uuid,
    /// Kind, as the contract numbers it.
    pub kind: i16,
    /// Why.
    pub cause: Cause,
    /// Hash of what was asked.
    pub body_hash: Vec<u8>,
    /// The answer.
    pub answer: Vec<u8>,
    /// The posting that it reverses.
    pub reverses: Option<Uuid>,
    /// When.
    pub posted_at: Micros,
}

/// An entry to write.
#[derive(Debug, Clone, Copy)]
pub struct EntryRow {
    /// The line.
    pub line: Line,
    /// Its posting.
    pub posting: Uuid,
    /// Its hash.
    pub hash: chain::Hash,
}

/// A hold to make.
#[derive(Debug, Clone, Copy)]
pub struct HoldRow {
    /// Id: that of the posting.
    pub id: Uuid,
    /// Account.
    pub key: Key,
    /// How much.
    pub amount: i64,
    /// When it expires.
    pub expires_at: Micros,
    /// The posting that ended it in the same batch.
    pub settled: Option<SettledRow>,
}

/// A hold that ends.
#[derive(Debug, Clone, Copy)]
pub struct SettledRow {
    /// Id.
    pub id: Uuid,
    /// As the database names it.
    pub state: &'static str,
    /// The posting that ended it.
    pub by: Uuid,
}

/// A fact to tell.
#[derive(Debug)]
pub struct FactRow {
    /// The change of a user's account.
    pub posted: facts::WalletPosted,
    /// The call that it comes of.
    pub origin: Origin,
}

/// What is to be written.
#[derive(Debug, Default)]
pub struct Written {
    /// Postings.
    pub postings: Vec<PostingRow>,
    /// Entries.
    pub entries: Vec<EntryRow>,
    /// Holds to make.
    pub made: Vec<HoldRow>,
    /// Holds that end.
    pub settled: Vec<SettledRow>,
    /// Facts.
    pub facts: Vec<FactRow>,
}

/// The books of a batch.
#[derive(Debug)]
pub struct Books {
    /// What was read, and what became of it.
    pub loaded: Loaded,
    /// What is to be written.
    pub written: Written,
    /// The rows that the house uses.
    pub slot: u8,
    /// The time of the batch.
    pub now: Micros,
    /// Until when value is given whose time was over when it came back.
    pub grace: Micros,
}

/// A change of one account within an act.
#[derive(Debug, Clone)]
pub struct Leg {
    /// Whose.
    pub party: Party,
    /// Currency.
    pub currency: Currency,
    /// Change; not zero.
    pub delta: i64,
    /// What moved.
    pub parts: Vec<Part>,
}

/// What an act comes to.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Kind.
    pub kind: v1::PostingKind,
    /// Its legs.
    pub legs: Vec<Leg>,
    /// The hold that it makes or ends, with its owner.
    pub hold: Option<(Uuid, Uuid)>,
    /// When the hold that it makes expires.
    pub hold_expires_at: Option<Micros>,
    /// The posting that it reverses.
    pub reverses: Option<Uuid>,
}

impl Books {
    /// The books of what was read.
    #[must_use]
    pub fn new(loaded: Loaded, slot: u8, now: Micros, grace: Micros) -> Self {
        Self { loaded, written: Written::default(), slot, now, grace }
    }

    /// Books a draft: nothing happens when an account would hold too much or too little.
    ///
    /// # Errors
    /// [`Refusal::BalanceLimit`]; [`Refusal::Corrupt`] for an account that was not read: what it holds is not known.
    pub fn book(&mut self, order: &Order, draft: &Draft) -> Result<v1::Posting, Refusal> {
        let balances = self.balances(draft)?;
        // Times of an account never go back, whichever replica's clock is behind.
        let times = draft.legs.iter().filter_map(|leg| self.loaded.accounts.get(&self.key(leg)));
        let at = times.fold(self.now, |at, account| at.max(account.last_at));
        let posting = posting(order, draft, &balances, at);
        let answer = posting.encode_to_vec();
        let cause = &order.cause;
        let said = Said {
            id: order.id,
            kind: kind(draft),
            words: [&cause.caller, &cause.key, &cause.actor, &cause.reason, &cause.reference],
            body_hash: &order.body_hash,
            answer: &answer,
            reverses: draft.reverses,
            posted_at: at,
        };
        let hash = chain::posting(&said);
        for (leg, balance) in draft.legs.iter().zip(balances) {
            self.line(order, leg, balance, &posting, (at, &hash));
        }
        self.loaded.postings.insert(order.id, Known { body_hash: order.body_hash.to_vec(), answer: answer.clone() });
        self.loaded.reversed.extend(draft.reverses);
        self.written.postings.push(PostingRow {
            id: order.id,
            kind: kind(draft),
            cause: cause.clone(),
            body_hash: order.body_hash.to_vec(),
            answer,
            reverses: draft.reverses,
            posted_at: at,
        });
        Ok(posting)
    }

    /// What each leg's account will hold after it.
    fn balances(&self, draft: &Draft) -> Result<Vec<i64>, Refusal> {
        let mut seen = HashMap::<Key, i64>::new();
        let mut after = Vec::with_capacity(draft.legs.len());
        for leg in &draft.legs {
            let key = self.key(leg);
            let before = self.loaded.accounts.get(&key).map(|account| account.balance);
            let before = before.ok_or(Refusal::Corrupt("an act touches an account that it did not name"))?;
            let balance = seen.entry(key).or_insert(before);
            *balance = balance.checked_add(leg.delta).ok_or(Refusal::BalanceLimit)?;
            after.push(*balance);
        }
        Ok(after)
    }

    fn line(
        &mut self,
        order: &Order,
        leg: &Leg,
        balance: i64,
        posting: &v1::Posting,
        (at, hash): (Micros, &chain::Hash),
    ) {
        let key = self.key(leg);
        let account = self.loaded.accounts.entry(key).or_default();
        let line = Line { key, seq: account.seq + 1, delta: leg.delta, balance_after: balance, posted_at: at };
        let hash = chain::line(&account.hash, hash, &line);
        account.balance = balance;
        account.seq = line.seq;
        account.hash = hash.to_vec();
        account.last_at = at;
        self.written.entries.push(EntryRow { line, posting: order.id, hash });
        if let Party::User(user) = leg.party {
            let posted = facts::WalletPosted {
                user_id: user.to_string(),
                currency: leg.currency.into(),
                delta: leg.delta,
                balance_after: balance,
                reason: posting.reason.clone(),
                reference: posting.reference.clone(),
                posting_id: posting.posting_id.clone(),
                kind: posting.kind,
                sequence: line.seq,
                occurred_at: posting.posted_at,
            };
            self.written.facts.push(FactRow { posted, origin: order.origin.clone() });
        }
    }

    /// The account of a leg.
    #[must_use]
    pub fn key(&self, leg: &Leg) -> Key {
        (leg.party.owner(self.slot), leg.currency)
    }

    /// Notes a hold to make.
    pub fn make_hold(&mut self, hold: HoldRow) {
        self.loaded.holds.insert(hold.id, Held { expires_at: hold.expires_at, open: true });
        self.written.made.push(hold);
    }

    /// Notes that a hold ends.
    pub fn settle_hold(&mut self, settled: SettledRow) {
        if let Some(held) = self.loaded.holds.get_mut(&settled.id) {
            held.open = false;
        }
        match self.written.made.iter_mut().find(|made| made.id == settled.id) {
            Some(made) => made.settled = Some(settled),
            None => self.written.settled.push(settled),
        }
    }

    /// Accounts that entries were written for, as they stand now.
    pub fn changed(&self) -> impl Iterator<Item = (Key, &Account)> {
        let keys: BTreeSet<Key> = self.written.entries.iter().map(|entry| entry.line.key).collect();
        keys.into_iter().filter_map(|key| self.loaded.accounts.get(&key).map(|account| (key, account)))
    }

    /// Lots that are other than they were, with what is in them now: zero for those that are gone.
    #[must_use]
    pub fn changed_lots(&self) -> BTreeMap<(Key, Lot), i64> {
        let mut changed = BTreeMap::new();
        for (key, account) in self.changed() {
            let both = account.before.lots().chain(account.funds.lots()).map(|part| part.lot);
            for lot in both.filter(|lot| lot.expires_at != crate::funds::NEVER) {
                let now = account.funds.of(lot);
                if now != account.before.of(lot) {
                    changed.insert((key, lot), now);
                }
            }
        }
        changed
    }
}

fn kind(draft: &Draft) -> i16 {
    i16::try_from(draft.kind as i32).unwrap_or_default()
}

/// The answer: what a draft comes to where the accounts then hold `balances`.
fn posting(order: &Order, draft: &Draft, balances: &[i64], at: Micros) -> v1::Posting {
    let legs = draft.legs.iter().zip(balances).map(|(leg, balance)| v1::Leg {
        account: Some(leg.party.account()),
        currency: leg.currency.into(),
        delta: leg.delta,
        balance_after: matches!(leg.party, Party::User(_)).then_some(*balance),
        parts: leg.parts.iter().map(|part| proto_part(*part)).collect(),
    });
    v1::Posting {
        posting_id: order.id.to_string(),
        kind: draft.kind.into(),
        reason: order.cause.reason.clone(),
        reference: order.cause.reference.clone(),
        legs: legs.collect(),
        posted_at: Some(proto_time(at)),
        hold_id: draft.hold.map(|(id, _)| id.to_string()).unwrap_or_default(),
        hold_expires_at: draft.hold_expires_at.map(proto_time),
        reverses: draft.reverses.map(|id| id.to_string()).unwrap_or_default(),
        user_id: draft.hold.map(|(_, user)| user.to_string()).unwrap_or_default(),
    }
}

/// Microseconds as the contract says them.
#[must_use]
pub fn proto_time(at: Micros) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.rem_euclid(1_000_000) * 1_000).unwrap_or_default();
    prost_types::Timestamp { seconds: at.div_euclid(1_000_000), nanos }
}

/// A time of the contract in microseconds.
#[must_use]
pub fn micros(at: &prost_types::Timestamp) -> Micros {
    at.seconds.saturating_mul(1_000_000).saturating_add(i64::from(at.nanos) / 1_000)
}

fn proto_part(part: Part) -> v1::Part {
    let funds = if part.lot.paid { v1::Funds::Paid } else { v1::Funds::Free };
    let expires_at = (part.lot.expires_at != crate::funds::NEVER).then(|| proto_time(part.lot.expires_at));
    v1::Part { funds: funds.into(), expires_at, amount: part.amount }
}

/// The parts of a leg as it was answered.
#[must_use]
pub fn parts_of(leg: &v1::Leg) -> Vec<Part> {
    let part = |part: &v1::Part| Part {
        lot: Lot {
            paid: part.funds() == v1::Funds::Paid,
            expires_at: part.expires_at.as_ref().map_or(crate::funds::NEVER, micros),
        },
        amount: part.amount,
    };
    leg.parts.iter().map(part).collect()
}
