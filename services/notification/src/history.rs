//! The history of a notification: that it was made, and read. Neither texts nor data are in it, for it cannot be deleted.

use coreloop_eventstore::{Aggregate, BoxError, Event, EventType, message, payload};
use coreloop_facts::v1::{NotificationCreated, NotificationRead};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A notification as its history has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// As the contract numbers it; 0: it was never made.
    pub kind: i32,
    /// It was read.
    pub is_read: bool,
}

/// What happened to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// It was made.
    Created(NotificationCreated),
    /// It was read.
    Read(NotificationRead),
}

const CREATED: &str = "notification.created";
const READ: &str = "notification.read";

impl Happened {
    /// Of a fact that people hear, without its words.
    #[must_use]
    pub fn created(fact: &NotificationCreated) -> Self {
        Self::Created(NotificationCreated {
            notification_id: fact.notification_id.clone(),
            user_id: fact.user_id.clone(),
            kind: fact.kind,
            source_event_id: fact.source_event_id.clone(),
            occurred_at: fact.occurred_at,
            ..NotificationCreated::default()
        })
    }
}

impl Event for Happened {
    const TYPES: &'static [EventType] = &[EventType::new(CREATED), EventType::new(READ)];

    fn event_type(&self) -> &'static str {
        match self {
            Self::Created(_) => CREATED,
            Self::Read(_) => READ,
        }
    }

    fn encode(&self) -> Result<Value, BoxError> {
        match self {
            Self::Created(fact) => payload(fact),
            Self::Read(fact) => payload(fact),
        }
    }

    fn decode(event_type: &str, value: Value) -> Result<Self, BoxError> {
        Ok(match event_type {
            READ => Self::Read(message(&value)?),
            _ => Self::Created(message(&value)?),
        })
    }
}

impl Aggregate for Note {
    type Event = Happened;

    const TYPE: &'static str = "notification";
    const SCHEMA: i32 = 1;

    fn apply(&mut self, event: &Happened) {
        match event {
            Happened::Created(fact) => self.kind = fact.kind,
            Happened::Read(_) => self.is_read = true,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_somebody_is_in_no_history() {
        let fact = NotificationCreated {
            notification_id: "n".to_owned(),
            user_id: "u".to_owned(),
            kind: 2,
            title: "headline".to_owned(),
            body: "words".to_owned(),
            data: [("code".to_owned(), "CHR001".to_owned())].into(),
            source_event_id: "e".to_owned(),
            occurred_at: None,
        };
        let kept = Happened::created(&fact);
        let written = kept.encode().unwrap();
        let text = written.to_string();
        assert!(!text.contains("headline") && !text.contains("words") && !text.contains("CHR001"), "{text}");
        assert_eq!(Happened::decode(CREATED, written).unwrap(), kept);
        let mut note = Note::default();
        note.apply(&kept);
        note.apply(&Happened::Read(NotificationRead::default()));
        assert_eq!(note, Note { kind: 2, is_read: true });
    }
}
