//! What a user has come to, as their history makes it.

use std::collections::BTreeMap;

use coreloop_eventstore::{Aggregate, BoxError, Event, EventType};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::streak::Streak;

/// Figures of a day, or of all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Scans that earn something.
    pub scans: i64,
    /// Of these, what could be recycled.
    pub recycled: i64,
    /// Thousandths of a tree.
    pub tree_milli: i64,
    /// Water, in millilitres.
    pub water_ml: i64,
    /// CO2, in grams.
    pub co2_g: i64,
}

impl Footprint {
    /// Both together.
    #[must_use]
    pub fn plus(&self, more: &Self) -> Self {
        Self {
            scans: self.scans.saturating_add(more.scans),
            recycled: self.recycled.saturating_add(more.recycled),
            tree_milli: self.tree_milli.saturating_add(more.tree_milli),
            water_ml: self.water_ml.saturating_add(more.water_ml),
            co2_g: self.co2_g.saturating_add(more.co2_g),
        }
    }
}

/// A scan that counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanned {
    /// Its task.
    pub task_id: String,
    /// Category, in small letters.
    pub category: String,
    /// Day (UTC) on which the photo came.
    pub day: i32,
    /// What it was worth when it was counted.
    pub worth: Footprint,
    /// When it was scanned, in microseconds since 1970.
    pub at: i64,
}

/// What becomes of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It came.
    Acquired,
    /// It went.
    Lost,
    /// It rose by a level.
    Evolved,
}

/// Something became of a character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// What.
    pub what: What,
    /// Of which.
    pub code: String,
    /// Its level afterwards; 0 when it went.
    pub level: i32,
    /// Characters afterwards; none where it was not said.
    pub owned: Option<i32>,
    /// Number of the event in the history of the collection.
    pub version: i64,
    /// When, in microseconds since 1970.
    pub at: i64,
}

/// A badge was earned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earned {
    /// Which.
    pub code: String,
    /// When, in microseconds since 1970.
    pub at: i64,
}

/// A shop was visited: once a day and shop, as `location` decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visited {
    /// The visit.
    pub visit_id: String,
    /// The shop.
    pub shop_id: String,
    /// When, in microseconds since 1970.
    pub at: i64,
}

/// The profile was changed. What it says is in no history: it could not be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Names of fields.
    pub fields: Vec<String>,
    /// When, in microseconds since 1970.
    pub at: i64,
}

/// What happens to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// A scan counted.
    Scanned(Scanned),
    /// Something became of a character.
    Moved(Moved),
    /// A badge was earned.
    Earned(Earned),
    /// The profile was changed.
    Changed(Changed),
    /// A shop was visited.
    Visited(Visited),
    /// The account was closed.
    Closed,
}

const SCANNED: &str = "my.scanned";
const MOVED: &str = "my.character_moved";
const EARNED: &str = "my.badge_earned";
const CHANGED: &str = "my.profile_updated";
const VISITED: &str = "my.visited";
const CLOSED: &str = "my.closed";

impl Event for Happened {
    const TYPES: &'static [EventType] = &[
        EventType::new(SCANNED),
        EventType::new(MOVED),
        EventType::new(EARNED),
        EventType::new(CHANGED),
        EventType::new(VISITED),
        EventType::new(CLOSED),
    ];

    fn event_type(&self) -> &'static str {
        match self {
            Self::Scanned(_) => SCANNED,
            Self::Moved(_) => MOVED,
            Self::Earned(_) => EARNED,
            Self::Changed(_) => CHANGED,
            Self::Visited(_) => VISITED,
            Self::Closed => CLOSED,
        }
    }

    fn encode(&self) -> Result<Value, BoxError> {
        Ok(match self {
            Self::Scanned(scanned) => serde_json::to_value(scanned)?,
            Self::Moved(moved) => serde_json::to_value(moved)?,
            Self::Earned(earned) => serde_json::to_value(earned)?,
            Self::Changed(changed) => serde_json::to_value(changed)?,
            Self::Visited(visited) => serde_json::to_value(visited)?,
            Self::Closed => serde_json::json!({}),
        })
    }

    fn decode(event_type: &str, payload: Value) -> Result<Self, BoxError> {
        Ok(match event_type {
            SCANNED => Self::Scanned(serde_json::from_value(payload)?),
            MOVED => Self::Moved(serde_json::from_value(payload)?),
            EARNED => Self::Earned(serde_json::from_value(payload)?),
            CHANGED => Self::Changed(serde_json::from_value(payload)?),
            VISITED => Self::Visited(serde_json::from_value(payload)?),
            _ => Self::Closed,
        })
    }
}

/// A user. Kept in an order, so that tables can be held to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// All days together.
    pub total: Footprint,
    /// By day.
    pub days: BTreeMap<i32, Footprint>,
    /// Scans by category.
    pub categories: BTreeMap<String, i64>,
    /// Rows of days.
    pub streak: Streak,
    /// Characters, as the newest event of the collection said.
    pub owned: i32,
    /// Its number.
    pub owned_version: i64,
    /// Badges and when they were earned, in microseconds since 1970.
    pub badges: BTreeMap<String, i64>,
    /// The account was closed.
    pub closed: bool,
}

impl Aggregate for Person {
    type Event = Happened;

    const TYPE: &'static str = "person";
    const SCHEMA: i32 = 1;

    fn apply(&mut self, event: &Happened) {
        match event {
            Happened::Scanned(scanned) => self.count(scanned),
            Happened::Moved(moved) => {
                if let Some(owned) = moved.owned.filter(|_| moved.version > self.owned_version) {
                    (self.owned, self.owned_version) = (owned, moved.version);
                }
            }
            Happened::Earned(earned) => {
                self.badges.insert(earned.code.clone(), earned.at);
            }
            // Lines of the timeline alone.
            Happened::Changed(_) | Happened::Visited(_) => {}
            Happened::Closed => *self = Self { closed: true, ..Self::default() },
        }
    }
}

impl Person {
    fn count(&mut self, scanned: &Scanned) {
        self.total = self.total.plus(&scanned.worth);
        let day = self.days.entry(scanned.day).or_default();
        *day = day.plus(&scanned.worth);
        *self.categories.entry(scanned.category.clone()).or_default() += 1;
        self.streak = Streak::of(self.days.keys().copied());
    }
}

#[cfg(test)]
#[path = "person_tests.rs"]
mod tests;
