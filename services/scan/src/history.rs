//! The history of a task, from which what it came to can be told at any time.

use coreloop_eventstore::{Aggregate, BoxError, Event, EventType, message, payload};
use coreloop_facts::v1::{ScanCompleted, ScanFailed, ScanRewardCompensated};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A task as its history has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// As the contract numbers it; 0: no result.
    pub category: i32,
    /// Whether it earns something.
    pub eligible: bool,
    /// Why it came to nothing, or could not be rewarded; empty: neither.
    pub reason: String,
}

/// What happened to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// It has a result.
    Completed(Box<ScanCompleted>),
    /// It came to nothing.
    Failed(ScanFailed),
    /// It could not be rewarded.
    Compensated(ScanRewardCompensated),
}

const COMPLETED: &str = "scan.completed";
const FAILED: &str = "scan.failed";
const COMPENSATED: &str = "scan.reward_compensated";

impl Event for Happened {
    const TYPES: &'static [EventType] =
        &[EventType::new(COMPLETED), EventType::new(FAILED), EventType::new(COMPENSATED)];

    fn event_type(&self) -> &'static str {
        match self {
            Self::Completed(_) => COMPLETED,
            Self::Failed(_) => FAILED,
            Self::Compensated(_) => COMPENSATED,
        }
    }

    fn encode(&self) -> Result<Value, BoxError> {
        match self {
            Self::Completed(fact) => payload(fact.as_ref()),
            Self::Failed(fact) => payload(fact),
            Self::Compensated(fact) => payload(fact),
        }
    }

    fn decode(event_type: &str, value: Value) -> Result<Self, BoxError> {
        Ok(match event_type {
            FAILED => Self::Failed(message(&value)?),
            COMPENSATED => Self::Compensated(message(&value)?),
            _ => Self::Completed(Box::new(message(&value)?)),
        })
    }
}

impl Aggregate for Scan {
    type Event = Happened;

    const TYPE: &'static str = "scan";
    const SCHEMA: i32 = 1;

    fn apply(&mut self, event: &Happened) {
        match event {
            Happened::Completed(fact) => {
                *self = Self { category: fact.category, eligible: fact.reward_eligible, reason: String::new() };
            }
            Happened::Failed(fact) => fact.reason.clone_into(&mut self.reason),
            Happened::Compensated(fact) => fact.reason.clone_into(&mut self.reason),
        }
    }
}
