//! An event as a record: the key is the aggregate, the value the payload, and headers the rest of the envelope.
//!
//! Others write such records too, as Debezium's outbox router does: what they need not say has a default.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use coreloop_eventing::{Encoding, Event, Topic};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};

/// Everything but topic, key and payload.
pub(crate) fn headers(event: &Event) -> OwnedHeaders {
    let encoding = match event.encoding {
        Encoding::Json => "json",
        Encoding::Protobuf => "protobuf",
    };
    let values: [(&str, &str); 9] = [
        ("id", &event.id.to_string()),
        ("sequence", &event.sequence.to_string()),
        ("version", &event.version.to_string()),
        ("source", &event.source),
        ("trace_id", &event.trace_id),
        ("traceparent", &event.traceparent),
        ("request_id", &event.request_id),
        ("created_at", &event.created_at.to_string()),
        ("encoding", encoding),
    ];
    let headers = OwnedHeaders::new_with_capacity(values.len());
    values.iter().fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }))
}

/// The event that a record of `topic` says; none for what is no such record. Only `id` and `version` must be there: a payload is
/// JSON, and was written when its record was, unless a header says otherwise.
pub(crate) fn event(topic: &Topic, record: &BorrowedMessage<'_>) -> Option<Event> {
    let headers = record.headers()?;
    let text = |name: &str| {
        let header = headers.iter().find(|header| header.key == name)?;
        let text = std::str::from_utf8(header.value?).ok()?;
        // No column of text can hold one.
        (!text.contains('\0')).then_some(text)
    };
    let key = std::str::from_utf8(record.key()?).ok().filter(|key| !key.contains('\0'))?;
    let encoding = match text("encoding") {
        None | Some("json") => Encoding::Json,
        Some("protobuf") => Encoding::Protobuf,
        Some(_) => return None,
    };
    let created_at = match text("created_at") {
        Some(text) => text.parse().ok()?,
        None => {
            let millis = record.timestamp().to_millis().and_then(|millis| u64::try_from(millis).ok())?;
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))?.try_into().ok()?
        }
    };
    Some(Event {
        topic: topic.clone(),
        key: key.to_owned(),
        id: text("id")?.parse().ok()?,
        sequence: text("sequence").map_or(Some(0), |text| text.parse().ok())?,
        version: text("version")?.parse().ok()?,
        source: text("source").unwrap_or_default().to_owned(),
        trace_id: text("trace_id").unwrap_or_default().to_owned(),
        traceparent: text("traceparent").unwrap_or_default().to_owned(),
        request_id: text("request_id").unwrap_or_default().to_owned(),
        created_at,
        encoding,
        payload: Bytes::copy_from_slice(record.payload().unwrap_or_default()),
    })
}
