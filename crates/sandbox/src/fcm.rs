//! Firebase Cloud Messaging: the HTTP API, version 1, and the token endpoint before it
//! (<https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send>).
//!
//! * `POST /fcm/token` takes an assertion of the service account (RFC 7523) and checks it as Google does: RS256 by the account's key,
//!   issuer, audience, scope, an hour at most, within five minutes of the machine's clock. It answers an access token for an hour.
//! * `POST /fcm/v1/projects/{project}/messages:send` with that token answers `{"name"}`, or an error as FCM words it. What is sent is kept.
//!
//! **What a device's token says decides its fate**: one that holds `unregistered` is of an app that was removed (404 `UNREGISTERED`), one
//! that holds `stranger` of another project's (403 `SENDER_ID_MISMATCH`), one that holds `malformed`, or is shorter than 16 or not of
//! letters, digits and `_:.%-`, is none (400 `INVALID_ARGUMENT`, with FCM's sentence and without the field). Data of more than 4,096 bytes, or that is no text, and
//! a message to nobody are refused as well.
//!
//! Faults as everywhere (`/_sandbox/faults`, provider `fcm`, endpoints `token` and `send`); `error` with the statuses 400, 401, 403, 404,
//! 429, 500 and 503 is worded as FCM does; `lost` takes the message and loses the reply. `GET /_sandbox/pushes?token=…&wait_ms=…` tells
//! what was taken, `DELETE` forgets it.

mod assertion;
mod message;
pub(crate) mod refusal;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use axum::{
    Form, Json, Router,
    body::Bytes,
    extract::{Path, Query, State as Shared},
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use coreloop_core::Clock as _;
use http::{HeaderMap, StatusCode, header};
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use self::{assertion::Refused, refusal::Refusal};
use crate::{
    Options,
    fault::{self, At},
    grant::Access,
    secret,
    state::State,
};

const PROVIDER: &str = "fcm";
/// Where access tokens are given.
const TOKEN: &str = "/fcm/token";
/// Kind of grant of an assertion.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Life of an access token, in seconds.
const LIFE_SECS: i64 = 3_599;
/// Most messages kept; the oldest gives way.
const MOST: usize = 10_000;
/// Longest wait of a reader, in milliseconds.
const LONGEST_WAIT_MS: u64 = 30_000;

/// A message that was taken.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Taken {
    /// Its name.
    name: String,
    /// As it arrived, with the token of the device.
    message: Value,
    received_at: jiff::Timestamp,
}

/// What a reader asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PushQuery {
    /// Only messages to this device.
    token: Option<String>,
    /// Wait this long for the first one.
    wait_ms: u64,
}

/// The messages that were taken, and the key of who may send them.
#[derive(Default)]
pub(crate) struct Pushes {
    taken: Mutex<VecDeque<Taken>>,
    arrived: Notify,
    key: OnceLock<Option<DecodingKey>>,
}

impl std::fmt::Debug for Pushes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pushes").finish_non_exhaustive()
    }
}

impl Pushes {
    /// Messages that the query asks for, newest last; waits for the first one as long as the query says.
    async fn wait_for(&self, query: &PushQuery) -> Vec<Taken> {
        let patience = Duration::from_millis(query.wait_ms.min(LONGEST_WAIT_MS));
        let some = async {
            loop {
                let arrival = self.arrived.notified();
                let taken = self.read(query);
                if !taken.is_empty() {
                    return taken;
                }
                arrival.await;
            }
        };
        tokio::time::timeout(patience, some).await.unwrap_or_else(|_| self.read(query))
    }

    fn read(&self, query: &PushQuery) -> Vec<Taken> {
        let sent_to = |taken: &Taken, token: &str| taken.message.get("token").is_some_and(|to| to == token);
        let wanted = |taken: &&Taken| query.token.as_ref().is_none_or(|token| sent_to(taken, token));
        self.taken().iter().filter(wanted).cloned().collect()
    }

    fn accept(&self, message: Taken) {
        let mut taken = self.taken();
        if taken.len() >= MOST {
            taken.pop_front();
        }
        taken.push_back(message);
        drop(taken);
        self.arrived.notify_waiters();
    }

    fn taken(&self) -> MutexGuard<'_, VecDeque<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The public half of the service account's key; none where it has none.
    fn key(&self, options: &Options) -> Option<&DecodingKey> {
        self.key.get_or_init(|| assertion::public_key(&options.fcm_private_key)).as_ref()
    }
}

/// `/fcm` and what tells of it.
pub(crate) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    let played = |endpoint: &'static str| {
        let state = Arc::clone(state);
        let at = At { provider: PROVIDER, endpoint };
        from_fn(move |request, next| fault::play(Arc::clone(&state), at, request, next))
    };
    Router::new()
        .route(TOKEN, post(token).layer(played("token")))
        .route("/fcm/v1/projects/{project}/messages:send", post(send).layer(played("send")))
        .route("/_sandbox/pushes", get(pushes).delete(forget))
}

#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    grant_type: String,
    #[serde(default)]
    assertion: String,
}

async fn token(Shared(state): Shared<Arc<State>>, Form(asked): Form<Asked>) -> Response {
    if asked.grant_type != GRANT {
        return unauthorized("unsupported_grant_type", "Invalid grant_type");
    }
    let Some(key) = state.pushes.key(&state.options) else {
        return unauthorized("invalid_grant", "Invalid grant: account not found");
    };
    let expected =
        assertion::Expected { issuer: &state.options.fcm_client_email, audience: &state.url(TOKEN), now: state.now() };
    match assertion::check(&asked.assertion, key, &expected) {
        Ok(()) => {
            let persona = state.options.fcm_client_email.clone();
            let expires_at = state.now() + LIFE_SECS;
            let secret = state.tokens().issue(Access { provider: PROVIDER, persona, expires_at });
            let answer = json!({"access_token": secret, "expires_in": LIFE_SECS, "token_type": "Bearer"});
            ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
        }
        Err(Refused { error, why }) => unauthorized(error, why),
    }
}

/// As Google's token endpoint refuses.
fn unauthorized(error: &str, why: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": error, "error_description": why}))).into_response()
}

async fn send(
    Shared(state): Shared<Arc<State>>,
    Path(project): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match take(&state, &project, &headers, &body) {
        Ok(name) => Json(json!({ "name": name })).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn take(state: &State, project: &str, headers: &HeaderMap, body: &[u8]) -> Result<String, Refusal> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bearer = bearer.strip_prefix("Bearer ").unwrap_or_default();
    let good = |access: &Access| access.provider == PROVIDER && state.now() < access.expires_at;
    if !state.tokens().get(bearer).is_some_and(good) {
        return Err(Refusal::Unauthenticated);
    }
    if project != state.options.fcm_project {
        return Err(Refusal::Project);
    }
    let message = message::read(body)?;
    let name = format!("projects/{project}/messages/{}", secret::random());
    state.pushes.accept(Taken { name: name.clone(), message, received_at: state.clock.now() });
    Ok(name)
}

async fn pushes(Shared(state): Shared<Arc<State>>, Query(query): Query<PushQuery>) -> Json<Value> {
    let pushes = state.pushes.wait_for(&query).await;
    Json(json!({ "pushes": pushes }))
}

async fn forget(Shared(state): Shared<Arc<State>>) -> StatusCode {
    state.pushes.taken().clear();
    StatusCode::NO_CONTENT
}
