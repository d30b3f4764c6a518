//! The admin HTTP server of each process: probes and metrics, for the machine room and not for clients.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use coreloop_service::{Component, Metrics, Readiness};
use serde_json::{Value, json};

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    metrics: Metrics,
}

/// `/livez` and `/healthz` never depend on anything but this process; `/readyz` says each part; `/metrics` is OpenMetrics.
pub(crate) fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .with_state(Admin { readiness, metrics })
}

async fn live() -> Json<Value> {
    Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    let components = admin.readiness.components().await;
    let all = components.iter().all(Component::ready);
    let parts: Vec<Value> = components.iter().map(|part| json!({"name": part.name, "ready": part.ready()})).collect();
    let (status, text) = if all { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    (status, Json(json!({"status": text, "components": parts})))
}

async fn metrics_text(State(admin): State<Admin>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], admin.metrics.encode())
}
