//! An event as it travels: the envelope and its payload.

use bytes::Bytes;
use coreloop_core::Fact;
use coreloop_service::Trace;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{Failure, Topic, topic::Kind};

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
    /// Service that wrote it.
    pub source: String,
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
    /// The message, if it travelled on the topic of `F` in its version. Fields that a newer producer added are left out.
    ///
    /// # Errors
    /// [`Failure::Permanent`] for another topic, another version or a payload that is not such a message: trying again
    /// would not help, but a consumer that was taught may be given the dead letter.
    pub fn decode<F: Fact>(&self) -> Result<F, Failure> {
        let kind = Kind::of(F::TYPE).map_err(|error| Failure::permanent("WRONG_TOPIC", error.to_string()))?;
        if Topic::named(&kind.domain, &kind.event) != self.topic {
            return Err(Failure::permanent("WRONG_TOPIC", format!("{} is not a {}", self.topic, F::TYPE)));
        }
        if kind.version != self.version {
            let what = format!("version {} of {} is not a {}", self.version, self.topic, F::TYPE);
            return Err(Failure::permanent("UNKNOWN_VERSION", what));
        }
        let malformed = |error: String| Failure::permanent("MALFORMED_EVENT", error);
        let wire = match self.encoding {
            Encoding::Protobuf => self.payload.clone(),
            Encoding::Json => coreloop_transcode::message::from_json(F::TYPE, &self.payload)
                .map_err(|problem| malformed(problem.message().to_owned()))?,
        };
        F::decode(wire).map_err(|error| malformed(error.to_string()))
    }

    /// As Protobuf on the wire. What this process has no descriptor of stays as it is: every reader reads either.
    pub(crate) fn into_protobuf(mut self) -> Self {
        let Some(name) = self.topic.message(self.version).filter(|_| self.encoding == Encoding::Json) else {
            return self;
        };
        match coreloop_transcode::message::from_json(&name, &self.payload) {
            Ok(wire) => (self.encoding, self.payload) = (Encoding::Protobuf, wire),
            Err(problem) => {
                tracing::warn!(%problem, name, "a payload of the outbox is not its message; it travels as it is")
            }
        }
        self
    }

    /// The payload for people: ProtoJSON, where it can be read.
    pub(crate) fn shown(topic: &Topic, version: u32, encoding: Encoding, payload: Vec<u8>) -> Vec<u8> {
        let Some(name) = topic.message(version).filter(|_| encoding == Encoding::Protobuf) else { return payload };
        coreloop_transcode::message::to_json(&name, &payload).map_or(payload, |json| json.to_vec())
    }

    /// Whether a database can keep it: a NUL is no text there, though a broker carries it.
    pub(crate) fn keepable(&self) -> bool {
        let texts = [&self.key, &self.source, &self.trace_id, &self.traceparent, &self.request_id];
        texts.iter().all(|text| !text.contains('\0'))
    }

    /// The trace context: as it was written, else made from the trace's id, with the event's own id as the span; else a
    /// trace of the event's own.
    #[must_use]
    pub fn context(&self) -> Trace {
        let span = self.id.as_u128() as u64 | 1;
        let own = Trace { trace_id: *self.id.as_bytes(), span_id: span.to_be_bytes(), parent: None, sampled: false };
        Trace::parse(&self.traceparent)
            .or_else(|| Trace::parse(&format!("00-{}-{span:016x}-00", self.trace_id)))
            .unwrap_or(own)
    }
}
