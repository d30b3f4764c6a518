//! The history of an image, from which its state can be told at any time.

use coreloop_eventstore::{Aggregate, BoxError, Event, EventType, message, payload};
use coreloop_facts::v1::{ImageDeleted, ImageRegistered};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An image as its history has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Photo {
    /// It is there.
    pub there: bool,
    /// Where storage has it.
    pub object_key: String,
}

/// What happened to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// It was registered.
    Registered(Box<ImageRegistered>),
    /// Its owner had it removed.
    Deleted(ImageDeleted),
}

const REGISTERED: &str = "image.registered";
const DELETED: &str = "image.deleted";

impl Event for Happened {
    const TYPES: &'static [EventType] = &[EventType::new(REGISTERED), EventType::new(DELETED)];

    fn event_type(&self) -> &'static str {
        match self {
            Self::Registered(_) => REGISTERED,
            Self::Deleted(_) => DELETED,
        }
    }

    fn encode(&self) -> Result<Value, BoxError> {
        match self {
            Self::Registered(fact) => payload(&**fact),
            Self::Deleted(fact) => payload(fact),
        }
    }

    fn decode(event_type: &str, value: Value) -> Result<Self, BoxError> {
        Ok(match event_type {
            DELETED => Self::Deleted(message(&value)?),
            _ => Self::Registered(Box::new(message(&value)?)),
        })
    }
}

impl Aggregate for Photo {
    type Event = Happened;

    const TYPE: &'static str = "image";
    const SCHEMA: i32 = 1;

    fn apply(&mut self, event: &Happened) {
        match event {
            Happened::Registered(fact) => *self = Self { there: true, object_key: fact.object_key.clone() },
            Happened::Deleted(_) => self.there = false,
        }
    }
}
