//! A command as one JSON object, for transports whose messages are bodies: the fields of chapter 06 item 5, and its key.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Command, Queue};
use crate::{Encoding, Error, Event, Topic};

impl Command {
    /// As one JSON object.
    ///
    /// # Errors
    /// A payload that is no JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        let codec = |error| Error::Codec(coreloop_core::Problem::internal(error));
        let payload: Value = serde_json::from_slice(&self.payload).map_err(codec)?;
        let whole = json!({
            "key": self.key,
            "idempotency_key": self.idempotency_key,
            "trace_id": self.trace_id,
            "traceparent": self.traceparent,
            "request_id": self.request_id,
            "timestamp": self.timestamp,
            "source": self.source,
            "version": self.version,
            "payload": payload,
        });
        serde_json::to_vec(&whole).map_err(codec)
    }

    /// The command of `queue` that a JSON object says; traces and ids of requests may be missing.
    #[must_use]
    pub fn from_json(queue: Queue, json: &[u8]) -> Option<Self> {
        let whole: Map<String, Value> = serde_json::from_slice(json).ok()?;
        let text = |name: &str| whole.get(name).and_then(Value::as_str);
        let payload = serde_json::to_vec(whole.get("payload")?).ok()?;
        Some(Self {
            queue,
            key: text("key")?.to_owned(),
            idempotency_key: text("idempotency_key")?.parse::<Uuid>().ok()?,
            trace_id: text("trace_id").unwrap_or_default().to_owned(),
            traceparent: text("traceparent").unwrap_or_default().to_owned(),
            request_id: text("request_id").unwrap_or_default().to_owned(),
            timestamp: text("timestamp")?.parse::<Timestamp>().ok()?,
            source: text("source")?.to_owned(),
            version: u32::try_from(whole.get("version")?.as_u64()?).ok()?,
            payload: Bytes::from(payload),
        })
    }

    /// As the workers' machinery, which is that of events, takes it from a transport.
    #[must_use]
    pub fn into_event(self) -> Event {
        Event {
            topic: Topic::of_queue(self.queue),
            key: self.key,
            id: self.idempotency_key,
            sequence: 0,
            version: self.version,
            source: self.source,
            trace_id: self.trace_id,
            traceparent: self.traceparent,
            request_id: self.request_id,
            created_at: self.timestamp,
            encoding: Encoding::Json,
            payload: self.payload,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn command() -> Command {
        Command {
            queue: Queue::SHOP_SETTLE,
            key: "a key with \"quotes\"".into(),
            idempotency_key: Uuid::from_u128(7),
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
            traceparent: String::new(),
            request_id: "r".into(),
            timestamp: "2026-01-02T03:04:05.000006Z".parse().unwrap(),
            source: "shop".into(),
            version: 1,
            payload: Bytes::from_static(br#"{"b":1,"a":[2.5,null]}"#),
        }
    }

    #[test]
    fn a_command_goes_round_with_every_required_field() {
        let json = command().to_json().unwrap();
        let whole: Value = serde_json::from_slice(&json).unwrap();
        for field in "trace_id request_id idempotency_key timestamp source version payload".split(' ') {
            assert!(whole.get(field).is_some(), "{field}");
        }
        assert_eq!(Command::from_json(Queue::SHOP_SETTLE, &json).unwrap(), command());
        assert_eq!(Command::of(Queue::SHOP_SETTLE, &command().into_event()), command());
    }

    #[test]
    fn what_is_no_command_is_none_and_what_is_newer_is_read() {
        let mut whole: Value = serde_json::from_slice(&command().to_json().unwrap()).unwrap();
        whole["shoe_size"] = 43.into();
        let read = |whole: &Value| Command::from_json(Queue::SHOP_SETTLE, whole.to_string().as_bytes());
        assert_eq!(read(&whole).unwrap(), command());
        for required in ["key", "idempotency_key", "timestamp", "source", "version", "payload"] {
            let mut less = whole.clone();
            less.as_object_mut().unwrap().remove(required);
            assert_eq!(read(&less), None, "{required}");
        }
        assert_eq!(Command::from_json(Queue::SHOP_SETTLE, b"not json"), None);
    }
}
