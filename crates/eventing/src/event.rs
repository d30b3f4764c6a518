//! An event as it travels: the envelope and its payload.

use bytes::Bytes;
use coreloop_core::Fact;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{Failure, Topic};

/// How a payload is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// ProtoJSON with the names of the proto: what an outbox row holds.
    #[default]
    Json,
    /// The wire form of the message.
    Protobuf,
}

/// An event on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it travels.
    pub topic: Topic,
    /// Its aggregate: events of one key keep their order.
    pub key: String,
    /// Id: however often it is delivered, it is one event.
    pub id: Uuid,
    /// Place among the events of its source. Grows with time for one key; over keys it says nothing.
    pub sequence: i64,
    /// Version of the message's package.
    pub version: u32,
    /// Trace of what caused it (32 hex digits); may be empty.
    pub trace_id: String,
    /// W3C trace context of what caused it; may be empty.
    pub traceparent: String,
    /// Id of the request that caused it; may be empty.
    pub request_id: String,
    /// When it was written.
    pub created_at: Timestamp,
    /// How the payload is written.
    pub encoding: Encoding,
    /// The message.
    pub payload: Bytes,
}

impl Event {
    /// The message, if it travelled on the topic of `F`. Fields that a newer producer added are left out.
    ///
    /// # Errors
    /// [`Failure::Permanent`] for another topic or a payload that is not such a message: trying again would not help.
    pub fn decode<F: Fact>(&self) -> Result<F, Failure> {
        let mine = Topic::of::<F>().is_ok_and(|topic| topic == self.topic);
        if !mine {
            return Err(Failure::permanent("WRONG_TOPIC", format!("{} is not a {}", self.topic, F::TYPE)));
        }
        let malformed = |error: String| Failure::permanent("MALFORMED_EVENT", error);
        let wire = match self.encoding {
            Encoding::Protobuf => self.payload.clone(),
            Encoding::Json => coreloop_transcode::message::from_json(F::TYPE, &self.payload)
                .map_err(|problem| malformed(format!("{problem:?}")))?,
        };
        F::decode(wire).map_err(|error| malformed(error.to_string()))
    }

    /// The trace context: as it was written, else made from the trace's id, with the event's own id as the span.
    #[must_use]
    pub fn context(&self) -> Option<coreloop_service::Trace> {
        coreloop_service::Trace::parse(&self.traceparent).or_else(|| {
            let span = self.id.as_u128() as u64 | 1;
            coreloop_service::Trace::parse(&format!("00-{}-{span:016x}-00", self.trace_id))
        })
    }
}
