//! What is asked of the books: one act with its name, its cause and where it came from.

use std::{collections::BTreeSet, sync::Arc};

use aws_lc_rs::digest;
use coreloop_core::UserId;
use coreloop_planted::{self as planted, Bug};
use coreloop_service::{Call, Trace};
use coreloop_wallet_api::v1;
use prost::Message;
use uuid::Uuid;

use crate::funds::{Lot, Micros};

/// Slots of each account of the house, as the migration makes them.
pub const SLOTS: u8 = 16;

/// A currency, as the database numbers it.
pub type Currency = i16;

/// GOLD, whose account is also the lock of its owner.
pub const GOLD: Currency = 1;

/// An account: owner and currency.
pub type Key = (Uuid, Currency);

/// Who has an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// A user.
    User(UserId),
    /// The house.
    House(v1::House),
}

/// Value from one party to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Movement {
    /// From whom.
    pub from: Party,
    /// To whom.
    pub to: Party,
    /// Currency.
    pub currency: Currency,
    /// How much; above zero.
    pub amount: i64,
    /// Of what kind it is when the house gives it.
    pub lot: Lot,
}

/// How a hold ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Some of it, or all, goes to the house.
    Capture {
        /// How much; none: all.
        amount: Option<i64>,
        /// Who gets it.
        to: v1::House,
    },
    /// All of it goes back, because its maker says so.
    Release,
    /// All of it goes back, because its time is over.
    Expire,
}

/// What is to happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Value moves.
    Move {
        /// What it is called.
        kind: v1::PostingKind,
        /// What moves.
        movements: Vec<Movement>,
    },
    /// Value is set aside.
    Hold {
        /// Whose.
        user: UserId,
        /// Currency.
        currency: Currency,
        /// How much.
        amount: i64,
        /// Until when.
        expires_at: Micros,
    },
    /// A hold ends.
    Settle {
        /// The posting that made it.
        made: Box<v1::Posting>,
        /// How.
        how: Settle,
    },
    /// A posting is undone.
    Reverse {
        /// The posting.
        original: Box<v1::Posting>,
        /// How much of it; none: all.
        amount: Option<i64>,
    },
    /// What is over in an account goes. Any act on an account begins with that; this one does nothing else.
    Expire {
        /// Whose.
        user: UserId,
        /// Currency.
        currency: Currency,
    },
}

/// Trace and request of the call that asks, for the events.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Trace id.
    pub trace_id: String,
    /// W3C trace context.
    pub traceparent: String,
    /// Request id.
    pub request_id: String,
}

impl Origin {
    /// Of the call that runs.
    #[must_use]
    pub fn current() -> Self {
        Call::current().map_or_else(Self::default, |call| Self {
            trace_id: call.trace.trace_id_hex(),
            traceparent: call.trace.header(),
            request_id: call.request_id.to_str().unwrap_or_default().to_owned(),
        })
    }

    /// As a caller tells it that asks for many; nothing where it is no trace context.
    #[must_use]
    pub fn told(traceparent: &str, request_id: &str) -> Self {
        let trace = Trace::parse(traceparent);
        Self {
            trace_id: trace.map(|trace| trace.trace_id_hex()).unwrap_or_default(),
            traceparent: trace.map(|trace| trace.header()).unwrap_or_default(),
            request_id: request_id.to_owned(),
        }
    }
}

/// Why something is to happen, and by which name.
#[derive(Debug, Clone)]
pub struct Cause {
    /// Whose key it is: a service of the mesh, `admin`, `wallet`.
    pub caller: Arc<str>,
    /// Who does it.
    pub actor: Arc<str>,
    /// Names the act among those of the caller.
    pub key: String,
    /// Why, in a word.
    pub reason: String,
    /// What it belongs to.
    pub reference: String,
}

/// An act to be posted.
#[derive(Debug, Clone)]
pub struct Order {
    /// Id of the posting: made of caller and key, so that a key is one act.
    pub id: Uuid,
    /// Why.
    pub cause: Cause,
    /// SHA-256 of what was asked, without the key.
    pub body_hash: [u8; 32],
    /// What.
    pub act: Act,
    /// Where it came from.
    pub origin: Origin,
    /// Whose act it is, where it is an administrator's: the audit of the mesh is told.
    pub by: Option<Administrator>,
}

/// An administrator, and the call in which they ask.
#[derive(Debug, Clone)]
pub struct Administrator {
    /// Who.
    pub id: UserId,
    /// The call.
    pub call: Arc<Call>,
}

impl Order {
    /// An order of the call that runs: `rpc` with `body`, the request without its key.
    pub fn new(cause: Cause, rpc: &str, body: &impl Message, act: Act) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(rpc.as_bytes());
        hash.update(&[0]);
        hash.update(&body.encode_to_vec());
        let id = if planted::on(Bug::KeyForgotten) { Uuid::new_v4() } else { posting_id(&cause.caller, &cause.key) };
        Self { id, body_hash: sha(hash), cause, act, origin: Origin::current(), by: None }
    }

    /// As the act of the administrator `id` in the call that runs.
    #[must_use]
    pub fn by(self, id: UserId) -> Self {
        Self { by: Call::current().map(|call| Administrator { id, call }), ..self }
    }

    /// The accounts it touches where the house uses `slot`, and those whose lock it needs.
    pub fn accounts(&self, slot: u8, into: &mut BTreeSet<Key>) {
        let mut add = |party: Party, currency: Currency| {
            into.insert((party.owner(slot), currency));
            if let Party::User(_) = party {
                // What is over in the account that is the lock goes too, whichever currency moves.
                into.insert((Party::House(v1::House::Sink).owner(slot), GOLD));
            }
            if let Party::User(user) = party
                && !planted::on(Bug::NoRowLock)
            {
                into.insert((user.0, GOLD));
            }
        };
        match &self.act {
            Act::Move { movements, .. } => {
                for movement in movements {
                    add(movement.from, movement.currency);
                    add(movement.to, movement.currency);
                    add(Party::House(v1::House::Sink), movement.currency);
                }
            }
            Act::Hold { user, currency, .. } | Act::Expire { user, currency } => {
                add(Party::User(*user), *currency);
                add(Party::House(v1::House::Escrow), *currency);
                add(Party::House(v1::House::Sink), *currency);
            }
            Act::Settle { made: posting, how } => {
                posting.legs.iter().for_each(|leg| leg_accounts(leg, &mut add));
                if let Settle::Capture { to, .. } = how {
                    posting.legs.iter().for_each(|leg| add(Party::House(*to), currency_of(leg)));
                }
            }
            Act::Reverse { original, .. } => {
                original.legs.iter().for_each(|leg| leg_accounts(leg, &mut add));
                // Whose hold was captured gets it back, and may have no leg in it.
                if let Some(user) = original.user_id.parse().ok().filter(is_person) {
                    original.legs.iter().for_each(|leg| add(Party::User(user), currency_of(leg)));
                }
            }
        }
    }
}

impl Order {
    /// The wallet itself looks after what is over, and looks again: that it was too early once is no answer for ever.
    #[must_use]
    pub fn is_swept(&self) -> bool {
        matches!(self.act, Act::Expire { .. } | Act::Settle { how: Settle::Expire, .. })
    }

    /// It gives back what is somebody's already. That they had no room for it once is no reason to keep it from them for ever.
    #[must_use]
    pub fn gives_back(&self) -> bool {
        matches!(self.act, Act::Settle { .. } | Act::Reverse { .. })
    }

    /// The users it touches: whoever works on one of them has locked them.
    #[must_use]
    pub fn users(&self) -> Vec<u128> {
        let mut keys = BTreeSet::new();
        self.accounts(0, &mut keys);
        let users = keys.into_iter().map(|(owner, _)| UserId(owner)).filter(is_person);
        let mut users: Vec<u128> = users.map(|user| user.0.as_u128()).collect();
        // Accounts are in the order of their owners.
        users.dedup();
        users
    }
}

fn leg_accounts(leg: &v1::Leg, add: &mut impl FnMut(Party, Currency)) {
    if let Some(party) = Party::of(leg.account.as_ref()) {
        add(party, currency_of(leg));
    }
    // What is over in an account of the posting goes to the sink.
    add(Party::House(v1::House::Sink), currency_of(leg));
}

/// The currency of a leg.
#[must_use]
pub fn currency_of(leg: &v1::Leg) -> Currency {
    Currency::try_from(leg.currency).unwrap_or_default()
}

impl Party {
    /// The party that an account names, if it names one.
    #[must_use]
    pub fn of(account: Option<&v1::Account>) -> Option<Self> {
        match account?.owner.as_ref()? {
            v1::account::Owner::UserId(id) => id.parse().ok().filter(is_person).map(Self::User),
            v1::account::Owner::House(house) => v1::House::try_from(*house).ok().map(Self::House),
        }
    }

    /// As the contract says it.
    #[must_use]
    pub fn account(self) -> v1::Account {
        let owner = match self {
            Self::User(user) => v1::account::Owner::UserId(user.to_string()),
            Self::House(house) => v1::account::Owner::House(house.into()),
        };
        v1::Account { owner: Some(owner) }
    }

    /// The owner of its row; of the house's, that of `slot`.
    #[must_use]
    pub fn owner(self, slot: u8) -> Uuid {
        match self {
            Self::User(user) => user.0,
            Self::House(house) => Uuid::from_u128((u128::from(house as u32) << 8) | u128::from(slot % SLOTS)),
        }
    }
}

/// Whether it can be a user's id: the lowest numbers are the house's.
#[must_use]
pub fn is_person(user: &UserId) -> bool {
    user.0.as_u128() > u128::from(u32::MAX)
}

/// The posting that a caller's key names.
#[must_use]
pub fn posting_id(caller: &str, key: &str) -> Uuid {
    if planted::on(Bug::SharedKey) { id_of(key) } else { id_of(&format!("{caller}\n{key}")) }
}

/// The id of the posting that `caller` and key name.
pub(crate) fn id_of(name: &str) -> Uuid {
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    let bytes = hash.as_ref().first_chunk::<16>().copied().unwrap_or_default();
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Ends a SHA-256.
#[must_use]
pub fn sha(hash: digest::Context) -> [u8; 32] {
    hash.finish().as_ref().first_chunk::<32>().copied().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn cause(caller: &str, key: &str) -> Cause {
        Cause {
            caller: caller.into(),
            actor: "service:shop".into(),
            key: key.to_owned(),
            reason: "test".to_owned(),
            reference: "1".to_owned(),
        }
    }

    fn order(caller: &str, key: &str, amount: i64) -> Order {
        let body = v1::SpendRequest { amount, ..v1::SpendRequest::default() };
        Order::new(
            cause(caller, key),
            "Spend",
            &body,
            Act::Move { kind: v1::PostingKind::Spend, movements: Vec::new() },
        )
    }

    #[test]
    fn a_key_names_an_act_of_its_caller_alone() {
        assert_eq!(order("shop", "k", 1).id, order("shop", "k", 2).id);
        assert_ne!(order("shop", "k", 1).id, order("rewards", "k", 1).id);
        assert_ne!(order("shop", "k", 1).id, order("shop", "l", 1).id);
        assert_eq!(order("shop", "k", 1).id.get_version_num(), 8);
    }

    #[test]
    fn another_body_or_another_kind_of_request_has_another_hash() {
        let spend = order("shop", "k", 1);
        assert_eq!(spend.body_hash, order("shop", "l", 1).body_hash);
        assert_ne!(spend.body_hash, order("shop", "k", 2).body_hash);
        let hold = v1::HoldRequest { amount: 1, ..v1::HoldRequest::default() };
        assert_ne!(spend.body_hash, Order::new(cause("shop", "k"), "Hold", &hold, spend.act.clone()).body_hash);
    }

    #[test]
    fn no_user_has_an_id_of_the_house() {
        for house in [v1::House::Mint, v1::House::Escrow] {
            for slot in 0..SLOTS {
                assert!(!is_person(&UserId(Party::House(house).owner(slot))));
            }
        }
        assert!(is_person(&UserId(Uuid::from_u128(0x0190_c5a0_7b3e_7000_8000_0000_0000_0001))));
    }

    #[test]
    fn the_row_of_the_house_is_as_the_migration_makes_it() {
        let owner = Party::House(v1::House::Escrow).owner(15);
        assert_eq!(owner.to_string(), "00000000-0000-0000-0000-00000000050f");
    }
}
