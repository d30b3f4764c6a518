//! States out of events: values in, values out.

use serde_json::Value;
use uuid::Uuid;

use crate::{Aggregate, BoxError, Error, Event, MAX_PAYLOAD_BYTES};

/// An event as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) sequence: i64,
    pub(crate) id: Uuid,
    pub(crate) event_type: String,
    /// As written; none in histories that are older than versions.
    pub(crate) version: Option<String>,
    pub(crate) payload: Value,
}

impl Stored {
    /// The event in its newest version, brought there step by step.
    pub(crate) fn read<E: Event>(self, of: Uuid) -> Result<E, Error> {
        let Self { sequence, event_type, version, payload, .. } = self;
        decode(&event_type, version.as_deref(), payload).map_err(|source| Error::Unreadable {
            id: of,
            sequence,
            event_type,
            version: version.unwrap_or_default(),
            source,
        })
    }
}

fn decode<E: Event>(event_type: &str, version: Option<&str>, payload: Value) -> Result<E, BoxError> {
    let kind = E::TYPES.iter().find(|kind| kind.name == event_type).ok_or("an event of an unknown type")?;
    let written: usize = version.unwrap_or("1").parse()?;
    let done = written.checked_sub(1).ok_or("versions begin with 1")?;
    let steps = kind.upcasts.get(done..).ok_or("a version that is not known yet")?;
    let payload = steps.iter().try_fold(payload, |payload, step| step(payload))?;
    E::decode(kind.name, payload)
}

/// An event on its way into the table.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) id: Uuid,
    pub(crate) event_type: &'static str,
    pub(crate) version: i32,
    /// JSON.
    pub(crate) payload: String,
}

impl Written {
    pub(crate) fn of<E: Event>(event: &E, id: Uuid) -> Result<Self, Error> {
        let event_type = event.event_type();
        let unwritable = |source: BoxError| Error::Unwritable { event_type, source };
        let kind = E::TYPES.iter().find(|kind| kind.name == event_type);
        let kind = kind.ok_or_else(|| unwritable("its type is not one of the aggregate's".into()))?;
        let payload = event.encode().map_err(unwritable)?.to_string();
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(Error::TooLarge(payload.len()));
        }
        Ok(Self { id, event_type, version: kind.version(), payload })
    }
}

/// A state as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) sequence: i64,
    /// The event it stands after.
    pub(crate) event: Uuid,
    pub(crate) state: Value,
}

/// An aggregate as its history makes it.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    id: Uuid,
    version: i64,
    head: Option<Uuid>,
    state: A,
    snapshot: i64,
}

impl<A: Aggregate> Loaded<A> {
    /// One to which nothing has happened.
    #[must_use]
    pub fn new(id: Uuid) -> Self {
        Self { id, version: 0, head: None, state: A::default(), snapshot: 0 }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Number of its last event; zero when nothing has happened yet.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Id of its last event.
    #[must_use]
    pub fn head(&self) -> Option<Uuid> {
        self.head
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> &A {
        &self.state
    }

    /// Its state, and nothing else of it.
    #[must_use]
    pub fn into_state(self) -> A {
        self.state
    }

    /// Goes on from a snapshot; none when it cannot be read.
    pub(crate) fn thaw(id: Uuid, snapshot: Snapshot) -> Option<Self> {
        let Snapshot { sequence, event, state } = snapshot;
        match serde_json::from_value(state) {
            Ok(state) => Some(Self { id, version: sequence, head: Some(event), state, snapshot: sequence }),
            Err(error) => {
                tracing::warn!(aggregate = A::TYPE, schema = A::SCHEMA, sequence, %error, "a snapshot cannot be read");
                None
            }
        }
    }

    /// The next event of the history.
    pub(crate) fn take(&mut self, stored: Stored) -> Result<(), Error> {
        let (next, event_id) = (self.version.saturating_add(1), stored.id);
        if stored.sequence != next {
            return Err(Error::Broken { aggregate_type: A::TYPE, id: self.id, missing: next });
        }
        self.state.apply(&stored.read(self.id)?);
        (self.version, self.head) = (next, Some(event_id));
        Ok(())
    }

    /// An event that has just been written; a snapshot when one is due.
    pub(crate) fn advance(&mut self, event_id: Uuid, event: &A::Event, every: i64) -> Option<Snapshot> {
        self.state.apply(event);
        (self.version, self.head) = (self.version.saturating_add(1), Some(event_id));
        if self.version - self.snapshot < every {
            return None;
        }
        // Nobody needs a snapshot, so a state that cannot be written down stops no one.
        match serde_json::to_value(&self.state) {
            Ok(state) => {
                self.snapshot = self.version;
                Some(Snapshot { sequence: self.version, event: event_id, state })
            }
            Err(error) => {
                tracing::error!(aggregate = A::TYPE, schema = A::SCHEMA, %error, "a snapshot cannot be written");
                None
            }
        }
    }

    /// Whether `snapshot` is what the history has made up to here. Both are written down to be compared: a state need not
    /// be comparable.
    pub(crate) fn agrees_with(&self, snapshot: Snapshot) -> bool {
        let same = |kept: A| Some(serde_json::to_value(kept).ok()? == serde_json::to_value(&self.state).ok()?);
        self.version == snapshot.sequence
            && self.head == Some(snapshot.event)
            && serde_json::from_value(snapshot.state).ok().and_then(same) == Some(true)
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
