//! A vendor of vouchers: orders under an idempotency key, which it knows for good.
//!
//! * `POST /vendor/v1/orders` with `Authorization: Bearer`, `Idempotency-Key` and `{"reference", "sku", "quantity": 1}` answers
//!   201 with `{"order_id", "status": "issued", "voucher": {"code"}}`; the same key answers the same order, whatever comes
//!   between. 422 `product_unavailable` for a sku that holds `refused`, and again for its key; 422 `idempotency_mismatch` for a key with
//!   another body; 409 `order_cancelled` for a key that was cancelled.
//! * `POST /vendor/v1/orders/{key}/cancel` answers 200 `{"status": "cancelled"}`, also for a key that never came, which then never
//!   will; 409 `already_issued` with the order when something has come of it.
//!
//! Faults as everywhere (`/_sandbox/faults`, provider `vendor`, endpoints `order` and `cancel`); `lost` does the work and loses the
//! reply. `GET /_sandbox/vendor/orders` tells what it knows.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path, State as Shared},
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

/// Most keys that are known; further ones are refused.
const MOST: usize = 100_000;
/// Longest key.
const LONGEST_KEY: usize = 200;

/// What is known of a key.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Known {
    Issued { order_id: String, sku: String, reference: String, code: String },
    Refused { sku: String },
    Cancelled,
}

/// What a vendor knows.
#[derive(Debug, Default)]
pub(crate) struct Orders(Mutex<HashMap<String, Known>>);

impl Orders {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a key has come to, by `new` if nothing yet; none when there is no room.
    fn decide(&self, key: &str, new: impl FnOnce() -> Known) -> Option<Known> {
        let mut known = self.known();
        if known.len() >= MOST && !known.contains_key(key) {
            return None;
        }
        Some(known.entry(key.to_owned()).or_insert_with(new).clone())
    }
}

#[derive(Debug, Deserialize)]
struct Ordered {
    reference: String,
    sku: String,
    quantity: u32,
}

/// `/vendor/v1/orders` and what tells of it.
pub(crate) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    let played = |endpoint: &'static str| {
        let state = Arc::clone(state);
        let at = At { provider: "vendor", endpoint };
        from_fn(move |request, next| fault::play(Arc::clone(&state), at, request, next))
    };
    Router::new()
        .route("/vendor/v1/orders", post(order).layer(played("order")))
        .route("/vendor/v1/orders/{key}/cancel", post(cancel).layer(played("cancel")))
        .route("/_sandbox/vendor/orders", get(orders))
}

fn may(state: &State, headers: &HeaderMap) -> bool {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    bearer.strip_prefix("Bearer ") == Some(state.options.vendor_api_key.as_str())
}

async fn order(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Json(asked): Json<Ordered>) -> Response {
    if !may(&state, &headers) {
        return refuse(StatusCode::UNAUTHORIZED, "unauthorized");
    }
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if key.is_empty() || key.len() > LONGEST_KEY || asked.quantity != 1 {
        return refuse(StatusCode::BAD_REQUEST, "malformed");
    }
    let known = state.orders.decide(key, || {
        if asked.sku.contains("refused") {
            return Known::Refused { sku: asked.sku.clone() };
        }
        let (sku, reference) = (asked.sku.clone(), asked.reference.clone());
        Known::Issued { order_id: secret::random(), sku, reference, code: secret::random() }
    });
    match known {
        None => refuse(StatusCode::TOO_MANY_REQUESTS, "too_many_orders"),
        Some(Known::Cancelled) => refuse(StatusCode::CONFLICT, "order_cancelled"),
        Some(Known::Issued { sku, reference, .. }) if sku != asked.sku || reference != asked.reference => {
            refuse(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch")
        }
        Some(Known::Refused { .. }) => refuse(StatusCode::UNPROCESSABLE_ENTITY, "product_unavailable"),
        Some(Known::Issued { order_id, code, .. }) => {
            (StatusCode::CREATED, Json(issued(&order_id, &code))).into_response()
        }
    }
}

async fn cancel(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Path(key): Path<String>) -> Response {
    if !may(&state, &headers) {
        return refuse(StatusCode::UNAUTHORIZED, "unauthorized");
    }
    match state.orders.decide(&key, || Known::Cancelled) {
        None => refuse(StatusCode::TOO_MANY_REQUESTS, "too_many_orders"),
        Some(Known::Issued { order_id, code, .. }) => {
            let body = json!({"error": {"code": "already_issued"}, "order": issued(&order_id, &code)});
            (StatusCode::CONFLICT, Json(body)).into_response()
        }
        Some(Known::Refused { .. } | Known::Cancelled) => Json(json!({"status": "cancelled"})).into_response(),
    }
}

async fn orders(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    let known = state.orders.known().clone();
    Json(json!({ "orders": known }))
}

fn issued(order_id: &str, code: &str) -> Value {
    json!({"order_id": order_id, "status": "issued", "voucher": {"code": code}})
}

fn refuse(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({"error": {"code": code}}))).into_response()
}
