//! The envelope of an event that is held, as its consumer's database keeps it: the payload, topic and key stand beside it.

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{Encoding, Event, Topic};

/// Everything but topic, key and payload. What an older row does not have is empty: it was written before there was any.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Envelope {
    id: Uuid,
    #[serde(default)]
    sequence: i64,
    version: u32,
    #[serde(default)]
    source: String,
    #[serde(default)]
    trace_id: String,
    #[serde(default)]
    traceparent: String,
    #[serde(default)]
    request_id: String,
    created_at: Timestamp,
    #[serde(default)]
    encoding: Encoding,
}

impl Envelope {
    pub(super) fn of(event: &Event) -> Self {
        Self {
            id: event.id,
            sequence: event.sequence,
            version: event.version,
            source: event.source.clone(),
            trace_id: event.trace_id.clone(),
            traceparent: event.traceparent.clone(),
            request_id: event.request_id.clone(),
            created_at: event.created_at,
            encoding: event.encoding,
        }
    }

    pub(super) fn event(self, topic: String, key: &str, payload: Vec<u8>) -> Event {
        Event {
            topic: Topic::kept(topic),
            key: key.to_owned(),
            id: self.id,
            sequence: self.sequence,
            version: self.version,
            source: self.source,
            trace_id: self.trace_id,
            traceparent: self.traceparent,
            request_id: self.request_id,
            created_at: self.created_at,
            encoding: self.encoding,
            payload: Bytes::from(payload),
        }
    }
}
