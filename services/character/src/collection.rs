//! The collection of a user, as its history makes it.

use std::collections::{BTreeMap, BTreeSet};

use coreloop_eventstore::{Aggregate, BoxError, Event, EventType, message, payload};
use coreloop_facts::v1::{CharacterAcquired, CharacterClosed, CharacterEvolved, CharacterLost};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    times::{from_micros, micros},
    week,
};

/// Weeks of which a collection knows how many characters came: the newest in which some did.
pub const WEEKS: usize = 8;

/// Why a character went, when an administrator took it: then it is not earned again.
pub const DELETED: &str = "deleted";
/// Why a character went, when its time was over.
pub const EXPIRED: &str = "expired";

/// A character that is owned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// From 1.
    pub level: i32,
    /// Where it came from: `scan`, `unlock`, `campaign`, `reward`.
    pub source: String,
    /// Since when, in microseconds since 1970.
    pub acquired_at: i64,
    /// Until when; none: for good.
    pub expires_at: Option<i64>,
}

impl Piece {
    /// Its time is not over, whether or not somebody has looked.
    #[must_use]
    pub fn lasts(&self, at: i64) -> bool {
        self.expires_at.is_none_or(|expires| expires > at)
    }
}

/// A collection. Kept in an order, so that a snapshot can be held to the history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// What is in it, by code.
    pub owned: BTreeMap<String, Piece>,
    /// What an administrator took.
    pub barred: BTreeSet<String>,
    /// How many came, by week; at most [`WEEKS`] of them.
    pub weeks: BTreeMap<String, u32>,
    /// Its user closed the account.
    pub closed: bool,
}

/// What happens to a collection.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// A character came.
    Acquired(CharacterAcquired),
    /// A character went.
    Lost(CharacterLost),
    /// A character rose by a level.
    Evolved(CharacterEvolved),
    /// Its user closed the account.
    Closed(CharacterClosed),
}

const ACQUIRED: &str = "character.acquired";
const LOST: &str = "character.lost";
const EVOLVED: &str = "character.evolved";
const CLOSED: &str = "character.closed";

impl Event for Happened {
    const TYPES: &'static [EventType] =
        &[EventType::new(ACQUIRED), EventType::new(LOST), EventType::new(EVOLVED), EventType::new(CLOSED)];

    fn event_type(&self) -> &'static str {
        match self {
            Self::Acquired(_) => ACQUIRED,
            Self::Lost(_) => LOST,
            Self::Evolved(_) => EVOLVED,
            Self::Closed(_) => CLOSED,
        }
    }

    fn encode(&self) -> Result<Value, BoxError> {
        match self {
            Self::Acquired(fact) => payload(fact),
            Self::Lost(fact) => payload(fact),
            Self::Evolved(fact) => payload(fact),
            Self::Closed(fact) => payload(fact),
        }
    }

    fn decode(event_type: &str, value: Value) -> Result<Self, BoxError> {
        Ok(match event_type {
            ACQUIRED => Self::Acquired(message(&value)?),
            LOST => Self::Lost(message(&value)?),
            EVOLVED => Self::Evolved(message(&value)?),
            _ => Self::Closed(message(&value)?),
        })
    }
}

impl Aggregate for Collection {
    type Event = Happened;

    const TYPE: &'static str = "collection";
    const SCHEMA: i32 = 1;

    fn apply(&mut self, event: &Happened) {
        match event {
            Happened::Acquired(fact) => self.acquire(fact),
            Happened::Lost(fact) => {
                self.owned.remove(&fact.code);
                if fact.cause == DELETED {
                    self.barred.insert(fact.code.clone());
                }
            }
            Happened::Evolved(fact) => {
                if let Some(piece) = self.owned.get_mut(&fact.code) {
                    piece.level = fact.level;
                }
            }
            Happened::Closed(_) => *self = Self { closed: true, ..Self::default() },
        }
    }
}

impl Collection {
    fn acquire(&mut self, fact: &CharacterAcquired) {
        let acquired_at = fact.occurred_at.as_ref().map(micros).unwrap_or_default();
        let expires_at = fact.expires_at.as_ref().map(micros);
        let piece = Piece { level: 1, source: fact.source.clone(), acquired_at, expires_at };
        self.owned.insert(fact.code.clone(), piece);
        self.barred.remove(&fact.code);
        *self.weeks.entry(week::of(from_micros(acquired_at))).or_default() += 1;
        while self.weeks.len() > WEEKS {
            self.weeks.pop_first();
        }
    }
}

#[cfg(test)]
#[path = "collection_tests.rs"]
mod tests;
