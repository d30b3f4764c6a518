//! A payment service that takes external points: answers at once or later, tells by webhook, late, twice, or not at all.
//!
//! What a payment comes to is said by its handle, as the test cards of real ones do: `refused` and `blocked…` are refused,
//! `pending…` stays undecided until somebody decides it (`POST /_sandbox/payments/{payment_id}`), `late…` is confirmed and
//! told after a moment, `lost…` is confirmed after a moment and not told, `void…` is given back after a moment and told.
//! Everything else is confirmed at once. A payment is one however often it is asked for (`Idempotency-Key`); a key with another
//! body is refused (422 `idempotency_mismatch`).

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, Query, State as Shared},
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    fault::{self, At},
    secret,
    state::State,
};

/// Most payments kept; the oldest gives way.
const MOST: usize = 100_000;
/// How long a moment is.
const MOMENT: Duration = Duration::from_millis(300);

/// A payment.
#[derive(Clone, Debug, Serialize)]
struct Payment {
    payment_id: String,
    reference: String,
    user: String,
    amount: i64,
    status: String,
    reason: String,
    callback_url: String,
}

/// What is asked for.
#[derive(Debug, Deserialize)]
struct Pay {
    reference: String,
    user: String,
    amount: i64,
    #[serde(default)]
    handle: String,
    #[serde(default)]
    callback_url: String,
}

/// A decision, and how its webhook lies.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Decision {
    /// `confirmed`, `voided` or `refused`.
    status: String,
    /// Why.
    reason: String,
    /// Where the webhook goes; empty: where the payment says, or nowhere.
    callback_url: String,
    /// No webhook is sent.
    silent: bool,
    /// Times that it is sent; 0: once.
    times: u32,
    /// Event id; absent: a new one. The same one again is a replay.
    event_id: Option<String>,
    /// Timestamp in seconds since the epoch; absent: now.
    timestamp: Option<i64>,
    /// Secret to sign with; absent: the right one.
    secret: Option<String>,
}

/// Payments by their ids.
#[derive(Debug, Default)]
pub(crate) struct Payments(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<String, Payment>,
    by_key: HashMap<String, String>,
    order: VecDeque<(String, String)>,
}

impl Payments {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The payment of a key, made when it is the first time; answers whether it is.
    fn take(&self, key: &str, make: impl FnOnce() -> Payment) -> (Payment, bool) {
        let mut kept = self.kept();
        if let Some(known) = kept.by_key.get(key).and_then(|id| kept.by_id.get(id)) {
            return (known.clone(), false);
        }
        let made = make();
        kept.by_key.insert(key.to_owned(), made.payment_id.clone());
        kept.by_id.insert(made.payment_id.clone(), made.clone());
        kept.order.push_back((key.to_owned(), made.payment_id.clone()));
        if kept.order.len() > MOST
            && let Some((key, id)) = kept.order.pop_front()
        {
            kept.by_key.remove(&key);
            kept.by_id.remove(&id);
        }
        (made, true)
    }

    fn find(&self, id: &str) -> Option<Payment> {
        self.kept().by_id.get(id).cloned()
    }

    /// Decides what is not decided; answers the payment as it then stands.
    fn decide(&self, id: &str, status: &str, reason: &str) -> Option<Payment> {
        let mut kept = self.kept();
        let payment = kept.by_id.get_mut(id)?;
        if payment.status == "pending" || status == "voided" {
            status.clone_into(&mut payment.status);
            reason.clone_into(&mut payment.reason);
        }
        Some(payment.clone())
    }
}

/// `/payment/v1/payments`, and what steers it.
pub(crate) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    let played = |endpoint: &'static str| {
        let state = Arc::clone(state);
        let at = At { provider: "payment", endpoint };
        from_fn(move |request, next| fault::play(Arc::clone(&state), at, request, next))
    };
    Router::new()
        .route("/payment/v1/payments", post(pay).layer(played("pay")))
        .route("/payment/v1/payments/{id}", get(look).layer(played("look")))
        .route("/payment/v1/payments/{id}/void", post(void).layer(played("void")))
        .route("/_sandbox/payments", get(list))
        .route("/_sandbox/payments/{id}", post(decide).get(look_unasked))
}

fn believed(state: &State, headers: &HeaderMap) -> bool {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    bearer.strip_prefix("Bearer ") == Some(state.options.payment_api_key.as_str())
}

fn answer(payment: &Payment) -> Response {
    let status = match payment.status.as_str() {
        "pending" => StatusCode::ACCEPTED,
        "refused" => StatusCode::PAYMENT_REQUIRED,
        _ => StatusCode::OK,
    };
    (status, Json(json!({ "payment_id": payment.payment_id, "status": payment.status, "reason": payment.reason })))
        .into_response()
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "error": reason }))).into_response()
}

async fn pay(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Json(asked): Json<Pay>) -> Response {
    if !believed(&state, &headers) {
        return refuse(StatusCode::UNAUTHORIZED, "unknown key");
    }
    let Some(key) = headers.get("idempotency-key").and_then(|value| value.to_str().ok()) else {
        return refuse(StatusCode::BAD_REQUEST, "an idempotency-key is required");
    };
    if asked.amount <= 0 {
        return refuse(StatusCode::BAD_REQUEST, "the amount must be above zero");
    }
    let (handle, reference, amount) = (asked.handle.clone(), asked.reference.clone(), asked.amount);
    let (status, reason) = match handle.as_str() {
        handle if handle == "refused" || handle.starts_with("blocked") => ("refused", "INSUFFICIENT_POINTS"),
        handle if ["pending", "late", "lost", "void"].iter().any(|word| handle.starts_with(word)) => ("pending", ""),
        _ => ("confirmed", ""),
    };
    let (payment, first) = state.payments.take(key, || Payment {
        payment_id: format!("pay_{}", secret::random()),
        reference: asked.reference,
        user: asked.user,
        amount: asked.amount,
        status: status.to_owned(),
        reason: reason.to_owned(),
        callback_url: asked.callback_url,
    });
    if (&payment.reference, payment.amount) != (&reference, amount) {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch");
    }
    if first && payment.status == "pending" {
        later(&state, &payment, &handle);
    }
    answer(&payment)
}

/// Decides after a moment what is to be decided by itself.
fn later(state: &Arc<State>, payment: &Payment, handle: &str) {
    let status = match handle {
        handle if handle.starts_with("void") => "voided",
        handle if handle.starts_with("late") || handle.starts_with("lost") => "confirmed",
        _ => return,
    };
    let decision = Decision { status: status.to_owned(), silent: handle.starts_with("lost"), ..Decision::default() };
    let (state, id) = (Arc::clone(state), payment.payment_id.clone());
    tokio::spawn(async move {
        tokio::time::sleep(MOMENT).await;
        if let Some(payment) = state.payments.decide(&id, &decision.status, &decision.reason) {
            let _nobody_asks_for_the_answers = tell(&state, &payment, &decision).await;
        }
    });
}

async fn look(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if !believed(&state, &headers) {
        return refuse(StatusCode::UNAUTHORIZED, "unknown key");
    }
    match state.payments.find(&id) {
        // What became of a payment is no refusal of the question.
        Some(payment) => Json(json!(payment)).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "no such payment"),
    }
}

async fn look_unasked(Shared(state): Shared<Arc<State>>, Path(id): Path<String>) -> Response {
    state.payments.find(&id).map_or_else(
        || refuse(StatusCode::NOT_FOUND, "no such payment"),
        |payment| Json(json!(payment)).into_response(),
    )
}

/// Which payments are listed.
#[derive(Debug, Deserialize)]
struct Of {
    reference: String,
}

/// Payments of a reference: more than one, where somebody paid twice.
async fn list(Shared(state): Shared<Arc<State>>, Query(of): Query<Of>) -> Response {
    let kept = state.payments.kept();
    let payments: Vec<_> = kept.by_id.values().filter(|payment| payment.reference == of.reference).collect();
    Json(json!({ "payments": payments })).into_response()
}

async fn void(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if !believed(&state, &headers) {
        return refuse(StatusCode::UNAUTHORIZED, "unknown key");
    }
    match state.payments.decide(&id, "voided", "MERCHANT") {
        Some(payment) => answer(&payment),
        None => refuse(StatusCode::NOT_FOUND, "no such payment"),
    }
}

async fn decide(Shared(state): Shared<Arc<State>>, Path(id): Path<String>, Json(decision): Json<Decision>) -> Response {
    let Some(payment) = state.payments.decide(&id, &decision.status, &decision.reason) else {
        return refuse(StatusCode::NOT_FOUND, "no such payment");
    };
    let told = tell(&state, &payment, &decision).await;
    Json(json!({ "status": payment.status, "webhooks": told })).into_response()
}

/// Sends the webhook; answers the statuses that it got.
async fn tell(state: &State, payment: &Payment, decision: &Decision) -> Vec<Value> {
    let url = if decision.callback_url.is_empty() { &payment.callback_url } else { &decision.callback_url };
    if url.is_empty() || decision.silent {
        return Vec::new();
    }
    let event_id = decision.event_id.clone().unwrap_or_else(secret::random);
    let status = if decision.status.is_empty() { &payment.status } else { &decision.status };
    let body = json!({
        "event_id": event_id,
        "payment_id": payment.payment_id,
        "reference": payment.reference,
        "status": status,
        "reason": decision.reason,
    })
    .to_string();
    let timestamp = decision.timestamp.unwrap_or_else(|| state.now()).to_string();
    let key = decision.secret.as_deref().unwrap_or(&state.options.payment_webhook_secret);
    let mut told = Vec::new();
    for _ in 0..decision.times.max(1) {
        let sent = state
            .http
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-coreloop-timestamp", &timestamp)
            .header("x-coreloop-signature", secret::webhook_signature(key, &timestamp, body.as_bytes()))
            .body(body.clone())
            .send()
            .await;
        told.push(match sent {
            Ok(answer) => {
                let status = answer.status().as_u16();
                json!({ "status": status, "body": answer.text().await.unwrap_or_default() })
            }
            Err(error) => {
                tracing::warn!(%error, "webhook was not delivered");
                json!({ "status": 0 })
            }
        });
    }
    told
}
