//! A vision and chat model behind OpenAI's wire (<https://platform.openai.com/docs/api-reference/chat>), and a plain classifier.
//!
//! * `POST /v1/chat/completions` with `Authorization: Bearer`. When a message has an `image_url` part the model sees: it
//!   fetches the last such address (http, https or a `data:` URL; 20 MiB, 10 s), and answers what [`crate::vision`] decides: with
//!   `response_format: {"type": "json_object"}` the object `{category, sub_category, confidence, guidance, recyclable}`, else a
//!   sentence. Without a picture it chats: `I have read {n} messages of {w} words. You wrote: {the last user text}`, where the
//!   counts take in every message, so a test sees what context came. Four texts of a user are wishes: to `Say nothing.` it answers
//!   nothing, to `Say what must not be said.` it ends with `content_filter`, to `Go on for ever.` it says 100,000 letters, whatever
//!   `max_tokens` allows, and to `Repeat what you were told.` all that it has read.
//! * `stream: true` answers server-sent events, one word a piece, ending in `[DONE]`; with `stream_options.include_usage` the
//!   last piece before has the usage.
//! * A token is a word here: `usage` counts the words of the messages (and 85 a picture) and of the answer, `max_tokens` cuts
//!   the answer after so many (`finish_reason: "length"`).
//! * `POST /classify` with `{"image_url", "user_input"}` answers the object alone.
//!
//! It is strict where OpenAI is: an unknown key (401), JSON asked for without the word in a message, `stream_options` without
//! `stream`, a picture that cannot be had (`invalid_image_url`; the error repeats the address, as theirs does, so who logs it
//! logs a signed address). Faults as everywhere: provider `openai`, endpoints `vision`, `chat` and `classify`; 429 and 503 say
//! `Retry-After`. `GET /_sandbox/looks` tells how long each look took, by the path of its picture.

mod answer;
mod ask;
mod picture;
mod refusal;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{DefaultBodyLimit, Request, State as Shared},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
    routing::post,
};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};

pub(crate) use self::picture::Looking;
use self::{answer::Answer, ask::Ask, refusal::Refusal};
use crate::{
    fault::{self, At},
    state::State,
    vision::Seen,
};

/// Largest request: a photo as a `data:` URL.
const MOST_BYTES: usize = 32 << 20;
/// What the model says of a photo that it cannot put into JSON.
const AT_A_LOSS: &str = "I'm sorry, I can't tell what this photo shows.";

/// `/v1/chat/completions` and `/classify`.
pub(crate) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    let (completing, classifying) = (Arc::clone(state), Arc::clone(state));
    let completing = from_fn(move |request, next| play(Arc::clone(&completing), request, next));
    let at = At { provider: "openai", endpoint: "classify" };
    let classifying = from_fn(move |request, next| fault::play(Arc::clone(&classifying), at, request, next));
    Router::new()
        .route("/v1/chat/completions", post(complete).layer(DefaultBodyLimit::disable()).layer(completing))
        .route("/classify", post(classify).layer(DefaultBodyLimit::max(MOST_BYTES)).layer(classifying))
}

/// Whether it is asked to see or to chat stands in the body, which faults are told apart by.
async fn play(state: Arc<State>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MOST_BYTES).await else {
        return Refusal::invalid("The request is too large.").with(StatusCode::PAYLOAD_TOO_LARGE).into_response();
    };
    let sees = body.windows(b"\"image_url\"".len()).any(|part| part == b"\"image_url\"");
    let at = At { provider: "openai", endpoint: if sees { "vision" } else { "chat" } };
    fault::play(state, at, Request::from_parts(parts, Body::from(body)), next).await
}

async fn complete(Shared(state): Shared<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    match completed(&state, &headers, &body).await {
        Ok(answered) => answered,
        Err(refusal) => refusal.into_response(),
    }
}

async fn completed(state: &State, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refusal> {
    admit(state, headers)?;
    let ask: Ask = read(body)?;
    ask.check()?;
    let text = match ask.picture() {
        Some(address) => seen(&ask, state.looking.at(&state.http, address).await?)?,
        None => ask.reply(),
    };
    let answer = Answer::of(&ask, text, state.now());
    Ok(if ask.stream { answer.streamed(&ask) } else { answer.whole() })
}

fn seen(ask: &Ask, seen: Seen) -> Result<String, Refusal> {
    Ok(match seen {
        Seen::Nonsense => AT_A_LOSS.to_owned(),
        Seen::Thing(category, confidence) if ask.wants_json() => {
            serde_json::to_string(&category.verdict(confidence)).map_err(|_| Refusal::server())?
        }
        Seen::Thing(category, confidence) => category.sentence(confidence),
    })
}

#[derive(Debug, Deserialize)]
struct Plain {
    image_url: String,
    #[serde(default, rename = "user_input")]
    _user_input: Option<String>,
}

async fn classify(Shared(state): Shared<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    let classified = async {
        admit(&state, &headers)?;
        let plain: Plain = read(&body)?;
        state.looking.at(&state.http, &plain.image_url).await
    };
    match classified.await {
        Ok(Seen::Thing(category, confidence)) => Json(category.verdict(confidence)).into_response(),
        Ok(Seen::Nonsense) => AT_A_LOSS.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn admit(state: &State, headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|value| value.strip_prefix("Bearer ")) {
        None => Err(Refusal::invalid("You didn't provide an API key.").with(StatusCode::UNAUTHORIZED)),
        Some(key) if key == state.options.openai_api_key => Ok(()),
        Some(_) => {
            Err(Refusal::invalid("Incorrect API key provided.").with(StatusCode::UNAUTHORIZED).code("invalid_api_key"))
        }
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid(format!("We could not parse the JSON body of your request: {error}")))
}
