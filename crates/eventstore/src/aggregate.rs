//! What a domain says of its aggregates and events.

use coreloop_core::Fact;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::BoxError;

/// Something with a history: its state, which begins as the default and is changed by events alone.
pub trait Aggregate: Default + Serialize + DeserializeOwned + Send + Sync {
    /// What happens to it.
    type Event: Event;

    /// `aggregate_type` of its events, as `wallet`; never changed.
    const TYPE: &'static str;

    /// Number of the fold, from 1: raised with every change of what [`Aggregate::apply`] makes of the events, or of how the
    /// state is written down. Snapshots of another number are ignored.
    const SCHEMA: i32;

    /// The fold. It cannot refuse: what happened has happened; rules are asked before the event is made. It looks at the
    /// event and the state alone, or the same history would not always make the same state.
    fn apply(&mut self, event: &Self::Event);
}

/// What happened to an aggregate.
pub trait Event: Sized + Send + Sync {
    /// All types of event, those that are not written any more too.
    const TYPES: &'static [EventType];

    /// Its type: the name of one of [`Event::TYPES`].
    fn event_type(&self) -> &'static str;

    /// Its payload, in the newest version of its type.
    ///
    /// # Errors
    /// What makes it impossible to write down.
    fn encode(&self) -> Result<Value, BoxError>;

    /// The event that a payload of the newest version says.
    ///
    /// # Errors
    /// Why it does not.
    fn decode(event_type: &str, payload: Value) -> Result<Self, BoxError>;
}

/// A type of event, and how its old payloads are read.
#[derive(Debug, Clone, Copy)]
pub struct EventType {
    /// Name, as `wallet.credited`; never changed.
    pub name: &'static str,
    /// The first brings a payload of version 1 to version 2, and so on; so the newest version is one more than there are.
    /// Additions that an older reader may overlook need none.
    pub upcasts: &'static [Upcast],
}

/// Brings a payload up by one version. What it makes is read like any payload of that version, so it must not depend on when
/// it is made.
pub type Upcast = fn(Value) -> Result<Value, BoxError>;

impl EventType {
    /// A type whose payload never changed but for additions.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, upcasts: &[] }
    }

    /// Version that is written today.
    #[must_use]
    pub fn version(&self) -> i32 {
        i32::try_from(self.upcasts.len()).unwrap_or(i32::MAX).saturating_add(1)
    }
}

/// The payload of an event that is a fact: ProtoJSON, as the outbox has it.
///
/// # Errors
/// A message that is not in the committed descriptors.
pub fn payload<F: Fact>(fact: &F) -> Result<Value, BoxError> {
    Ok(serde_json::from_slice(&coreloop_transcode::message::to_json(F::TYPE, &fact.encode_to_vec())?)?)
}

/// The message that a payload says; fields that are not known here are left out.
///
/// # Errors
/// A payload that is not that message.
pub fn message<F: Fact>(payload: &Value) -> Result<F, BoxError> {
    let json = serde_json::to_vec(payload)?;
    Ok(F::decode(coreloop_transcode::message::from_json(F::TYPE, &json)?)?)
}
