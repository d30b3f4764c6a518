//! Everybody's books in memory, and the acts that tests do on them.

use std::collections::BTreeSet;

use super::super::*;
use crate::{
    books::{Held, Loaded},
    funds::Lot,
};

pub(super) const HOUR: Micros = 3_600_000_000;

/// Everybody's books, kept from batch to batch as the database keeps them.
pub(super) struct Everything {
    pub(super) loaded: Loaded,
    pub(super) now: Micros,
    pub(super) written: Vec<crate::books::Written>,
    keys: u32,
}

pub(super) fn user(number: u128) -> UserId {
    UserId(Uuid::from_u128((7 << 100) + number))
}

impl Everything {
    pub(super) fn new() -> Self {
        Self { loaded: Loaded::default(), now: HOUR, written: Vec::new(), keys: 0 }
    }

    /// Posts orders as one batch.
    pub(super) fn batch(&mut self, orders: &[Order]) -> Vec<Result<v1::Posting, Refusal>> {
        for account in self.loaded.accounts.values_mut() {
            account.before = account.funds.clone();
        }
        let mut keys = BTreeSet::new();
        orders.iter().for_each(|order| order.accounts(3, &mut keys));
        // A batch knows the accounts that it named, and no others.
        let others: Vec<_> = self.loaded.accounts.extract_if(|key, _| !keys.contains(key)).collect();
        for key in keys {
            self.loaded.accounts.entry(key).or_default();
        }
        let mut books = Books::new(std::mem::take(&mut self.loaded), 3, self.now, self.now + 24 * HOUR);
        let outcomes: Vec<_> = orders.iter().map(|order| apply(&mut books, order)).collect();
        books.loaded.accounts.extend(others);
        for (order, outcome) in orders.iter().zip(&outcomes) {
            assert!(!matches!(outcome, Err(Refusal::Corrupt(_))), "{outcome:?}: {order:?}");
        }
        let mut ids: Vec<Uuid> = self.written.iter().flat_map(|batch| &batch.postings).map(|row| row.id).collect();
        ids.extend(books.written.postings.iter().map(|row| row.id));
        let all = ids.len();
        assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), all, "no posting is made twice");
        for hold in &books.written.made {
            books.loaded.holds.entry(hold.id).or_insert(Held { expires_at: hold.expires_at, open: true });
        }
        self.loaded = books.loaded;
        self.written.push(books.written);
        outcomes
    }

    pub(super) fn one(&mut self, order: &Order) -> Result<v1::Posting, Refusal> {
        self.batch(std::slice::from_ref(order)).remove(0)
    }

    pub(super) fn fresh(&mut self, act: Act) -> Order {
        self.keys += 1;
        order(&self.keys.to_string(), act)
    }

    pub(super) fn act(&mut self, act: Act) -> Result<v1::Posting, Refusal> {
        let order = self.fresh(act);
        self.one(&order)
    }

    pub(super) fn has(&self, user: UserId) -> i64 {
        self.loaded.accounts.get(&(user.0, 1)).map_or(0, |account| account.balance)
    }

    /// What must hold of the books whatever was done.
    pub(super) fn sound(&self) {
        for currency in [1, 2] {
            let accounts = self.loaded.accounts.iter().filter(|(key, _)| key.1 == currency);
            assert_eq!(accounts.map(|(_, account)| account.balance).sum::<i64>(), 0, "the accounts add up to zero");
        }
        for (key, account) in &self.loaded.accounts {
            let house = key.0.as_u128() < 1 << 32;
            assert!(house || account.balance >= 0, "nobody owes");
            assert!(house || account.funds.total() == Some(account.balance), "value has a kind");
            let lines: Vec<_> =
                self.written.iter().flat_map(|batch| &batch.entries).filter(|entry| entry.line.key == *key).collect();
            assert_eq!(lines.iter().map(|entry| entry.line.delta).sum::<i64>(), account.balance);
            assert!((1..).zip(&lines).all(|(seq, entry)| entry.line.seq == seq), "no gap");
            assert!(lines.windows(2).all(|pair| pair[0].line.posted_at <= pair[1].line.posted_at));
        }
        for posting in self.written.iter().flat_map(|batch| &batch.postings) {
            let entries =
                self.written.iter().flat_map(|batch| &batch.entries).filter(|entry| entry.posting == posting.id);
            assert_eq!(entries.map(|entry| entry.line.delta).sum::<i64>(), 0, "a posting takes as much as it gives");
        }
    }
}

pub(super) fn order(key: &str, act: Act) -> Order {
    let cause = Cause {
        caller: "service:test".into(),
        actor: "service:test".into(),
        key: key.to_owned(),
        reason: "test".to_owned(),
        reference: "1".to_owned(),
    };
    Order::new(cause, "Test", &v1::Refusal::default(), act)
}

pub(super) fn movement(from: Party, to: Party, amount: i64, lot: Lot) -> Movement {
    Movement { from, to, currency: 1, amount, lot }
}

pub(super) fn grant_of(user: UserId, amount: i64, lot: Lot) -> Act {
    let movements = vec![movement(Party::House(House::Mint), Party::User(user), amount, lot)];
    Act::Move { kind: PostingKind::Grant, movements }
}

pub(super) fn grant(user: UserId, amount: i64) -> Act {
    grant_of(user, amount, Lot::FREE)
}

pub(super) fn spend(user: UserId, amount: i64) -> Act {
    let movements = vec![movement(Party::User(user), Party::House(House::Sink), amount, Lot::FREE)];
    Act::Move { kind: PostingKind::Spend, movements }
}

pub(super) fn transfer(from: UserId, to: UserId, amount: i64) -> Act {
    let movements = vec![movement(Party::User(from), Party::User(to), amount, Lot::FREE)];
    Act::Move { kind: PostingKind::Transfer, movements }
}

pub(super) fn hold_of(user: UserId, amount: i64, expires_at: Micros) -> Act {
    Act::Hold { user, currency: 1, amount, expires_at }
}

pub(super) fn settling(made: &v1::Posting, how: Settle) -> Act {
    Act::Settle { made: Box::new(made.clone()), how }
}

pub(super) fn capture(made: &v1::Posting, amount: Option<i64>) -> Act {
    settling(made, Settle::Capture { amount, to: House::Sink })
}

pub(super) fn undo(original: &v1::Posting, amount: Option<i64>) -> Act {
    Act::Reverse { original: Box::new(original.clone()), amount }
}
