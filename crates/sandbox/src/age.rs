//! The age-verification provider: on demand it sends its signed webhook.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State as Shared,
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::post,
};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use crate::{
    fault::{self, At},
    secret,
    state::State,
};

/// What the webhook shall say, and how it shall lie.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verification {
    /// Where the webhook goes.
    callback_url: String,
    /// User it is about.
    user_id: String,
    /// `verified` or `rejected`.
    #[serde(default = "verified")]
    result: String,
    /// Event id; absent: a new one. The same one again is a replay.
    event_id: Option<String>,
    /// Timestamp in seconds since the epoch; absent: now.
    timestamp: Option<i64>,
    /// Secret to sign with; absent: the right one.
    secret: Option<String>,
}

fn verified() -> String {
    "verified".to_owned()
}

/// `POST /age/verifications`.
pub(crate) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    let state = Arc::clone(state);
    let at = At { provider: "age", endpoint: "verify" };
    let played = from_fn(move |request, next| fault::play(Arc::clone(&state), at, request, next));
    Router::new().route("/age/verifications", post(verify).layer(played))
}

async fn verify(Shared(state): Shared<Arc<State>>, Json(asked): Json<Verification>) -> Response {
    let event_id = asked.event_id.unwrap_or_else(secret::random);
    let body = json!({ "event_id": event_id, "user_id": asked.user_id, "result": asked.result }).to_string();
    let timestamp = asked.timestamp.unwrap_or_else(|| state.now()).to_string();
    let key = asked.secret.as_deref().unwrap_or(&state.options.age_webhook_secret);
    let sent = state
        .http
        .post(&asked.callback_url)
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-coreloop-timestamp", &timestamp)
        .header("x-coreloop-signature", secret::webhook_signature(key, &timestamp, body.as_bytes()))
        .body(body)
        .send()
        .await;
    match sent {
        Ok(answer) => {
            let status = answer.status().as_u16();
            let body = answer.text().await.unwrap_or_default();
            Json(json!({ "event_id": event_id, "status": status, "body": body })).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "webhook was not delivered");
            (StatusCode::BAD_GATEWAY, Json(json!({ "event_id": event_id, "error": "not delivered" }))).into_response()
        }
    }
}
