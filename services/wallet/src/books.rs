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
    funds::{Funds, Lot, Micros, NEVER, Part},
    order::{Cause, Currency, Key, Order, Origin, Party},
};

mod answer;

pub use answer::{micros, parts_of, proto_time};

/// The kind of the row that keeps a refusal. The contract does not number it otherwise, and nobody is told of it.
pub const REFUSED: i16 = 11;

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

/// What became of a key before.
#[derive(Debug, Clone)]
pub struct Known {
    /// Kind, as the contract numbers it; else [`REFUSED`].
    pub kind: i16,
    /// Hash of what was asked.
    pub body_hash: Vec<u8>,
    /// The answer: the posting, or the refusal.
    pub answer: Vec<u8>,
}

impl Known {
    /// The first answer, again.
    ///
    /// # Errors
    /// The first refusal; [`Refusal::Corrupt`] for what cannot be read.
    pub fn again(&self) -> Result<v1::Posting, Refusal> {
        const CORRUPT: Refusal = Refusal::Corrupt("an answer that cannot be read");
        let answer = self.answer.as_slice();
        if self.kind == REFUSED {
            return Err(v1::Refusal::decode(answer).ok().as_ref().and_then(Refusal::kept).unwrap_or(CORRUPT));
        }
        v1::Posting::decode(answer).map_err(|_| CORRUPT)
    }
}

/// What was read under lock.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Accounts.
    pub accounts: HashMap<Key, Account>,
    /// What became of keys before, by the ids of the orders.
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

impl PostingRow {
    /// What an order says of itself; what became of it is to be filled in.
    fn of(order: &Order, posted_at: Micros) -> Self {
        let (cause, body_hash) = (order.cause.clone(), order.body_hash.to_vec());
        Self { id: order.id, kind: 0, cause, body_hash, answer: Vec::new(), reverses: None, posted_at }
    }
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
        let posting = answer::posting(order, draft, &balances, at);
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
        self.loaded.reversed.extend(draft.reverses);
        self.keep(PostingRow { kind: kind(draft), answer, reverses: draft.reverses, ..PostingRow::of(order, at) });
        Ok(posting)
    }

    /// Keeps that an order was refused, for whoever asks with its key again. Nothing moves and nothing is told.
    pub fn refuse(&mut self, order: &Order, refusal: &Refusal) {
        let answer = v1::Refusal::from(refusal).encode_to_vec();
        self.keep(PostingRow { kind: REFUSED, answer, ..PostingRow::of(order, self.now) });
    }

    fn keep(&mut self, row: PostingRow) {
        let (kind, body_hash, answer) = (row.kind, row.body_hash.clone(), row.answer.clone());
        self.loaded.postings.insert(row.id, Known { kind, body_hash, answer });
        self.written.postings.push(row);
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
            for lot in both.filter(|lot| lot.expires_at != NEVER) {
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
