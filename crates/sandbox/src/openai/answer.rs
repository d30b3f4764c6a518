//! What the model answers, whole or in pieces.

use std::convert::Infallible;

use axum::{
    Json,
    response::{
        IntoResponse as _, Response,
        sse::{Event, Sse},
    },
};
use serde_json::{Value, json};

use super::ask::{Ask, Wish};
use crate::secret;

/// Pieces that are said for ever, and letters of each.
const FOREVER: (usize, usize) = (100, 1_000);

/// The pieces of an answer, and why it ends.
fn said(ask: &Ask, text: &str) -> (Vec<String>, &'static str) {
    let told = ask.told();
    let text = if ask.wish() == Some(Wish::Repeat) { told.as_str() } else { text };
    let words = text.split_inclusive(char::is_whitespace);
    let mut pieces: Vec<String> = words.map(str::to_owned).collect();
    match ask.wish() {
        Some(Wish::Nothing) => return (Vec::new(), "stop"),
        Some(Wish::Filtered) => return (Vec::new(), "content_filter"),
        Some(Wish::Forever) => return (vec!["o".repeat(FOREVER.1); FOREVER.0], "stop"),
        Some(Wish::Repeat) | None => {}
    }
    let finish_reason = if pieces.len() > ask.most_words() { "length" } else { "stop" };
    pieces.truncate(ask.most_words());
    (pieces, finish_reason)
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    id: String,
    created: i64,
    model: String,
    /// One word each, with the space behind it.
    pieces: Vec<String>,
    finish_reason: &'static str,
    usage: Value,
}

impl Answer {
    /// The answer `text`, as far as it may go.
    pub(super) fn of(ask: &Ask, text: String, created: i64) -> Self {
        let (pieces, finish_reason) = said(ask, &text);
        let (asked, answered) = (ask.tokens(), pieces.len());
        let usage = json!({
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "total_tokens": asked.saturating_add(answered),
        });
        let id = format!("chatcmpl-{}", secret::random());
        Self { id, created, model: ask.model.clone(), pieces, finish_reason, usage }
    }

    /// One JSON object.
    pub(super) fn whole(self) -> Response {
        let message = json!({ "role": "assistant", "content": self.pieces.concat(), "refusal": null });
        let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": self.finish_reason });
        Json(json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [choice],
            "usage": self.usage,
            "system_fingerprint": "fp_sandbox",
        }))
        .into_response()
    }

    /// Server-sent events.
    pub(super) fn streamed(self, ask: &Ask) -> Response {
        let said = |delta: Value, finish_reason: Option<&str>| json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason }]);
        let mut choices = vec![said(json!({ "role": "assistant", "content": "" }), None)];
        choices.extend(self.pieces.iter().map(|piece| said(json!({ "content": piece }), None)));
        choices.push(said(json!({}), Some(self.finish_reason)));
        // Who asks for the usage is told in every piece that it is not known yet, as OpenAI does.
        let unknown = ask.wants_usage().then_some(&Value::Null);
        let mut events: Vec<Value> = choices.into_iter().map(|choices| self.chunk(choices, unknown)).collect();
        if ask.wants_usage() {
            events.push(self.chunk(json!([]), Some(&self.usage)));
        }
        let events = events.into_iter().map(|event| event.to_string()).chain(["[DONE]".to_owned()]);
        let events: Vec<_> = events.map(|data| Ok::<_, Infallible>(Event::default().data(data))).collect();
        Sse::new(futures::stream::iter(events)).into_response()
    }

    fn chunk(&self, choices: Value, usage: Option<&Value>) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_sandbox",
            "choices": choices,
        });
        if let (Some(usage), Some(fields)) = (usage, chunk.as_object_mut()) {
            fields.insert("usage".to_owned(), usage.clone());
        }
        chunk
    }
}
