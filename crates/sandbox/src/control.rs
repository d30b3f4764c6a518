//! `/_sandbox`: what tests and demos steer the stand-ins by.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State as Shared},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{fault::Fault, mail::MailQuery, persona::Change, state::State};

/// Routes under `/_sandbox`.
pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/_sandbox/faults", post(switch_on).delete(switch_off))
        .route("/_sandbox/stats", get(stats))
        .route("/_sandbox/looks", get(looks))
        .route("/_sandbox/personas", get(personas).post(set_persona))
        .route("/_sandbox/mail", get(mail).delete(forget_mail))
        .route("/_sandbox/health", get(|| async { Json(json!({ "status": "ok" })) }))
}

async fn switch_on(Shared(state): Shared<Arc<State>>, Json(fault): Json<Fault>) -> Response {
    let answer = json!({ "fault": fault });
    if state.faults.switch_on(fault) {
        (StatusCode::CREATED, Json(answer)).into_response()
    } else {
        (StatusCode::CONFLICT, Json(json!({ "error": "too many faults are switched on" }))).into_response()
    }
}

async fn switch_off(Shared(state): Shared<Arc<State>>) -> StatusCode {
    state.faults.clear();
    StatusCode::NO_CONTENT
}

async fn stats(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    Json(json!({ "endpoints": state.faults.counts() }))
}

/// How long the vision model took for each picture.
async fn looks(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    Json(json!({ "looks": state.looking.looks() }))
}

async fn personas(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    let personas = state.personas().all();
    Json(json!({ "personas": personas }))
}

async fn set_persona(Shared(state): Shared<Arc<State>>, Json(change): Json<Change>) -> Response {
    let set = state.personas().set(change);
    match set {
        Some(persona) => {
            let ids = json!({
                "google": persona.google_sub(),
                "kakao": persona.kakao_id().to_string(),
                "naver": persona.naver_id(),
            });
            Json(json!({ "persona": persona, "provider_user_ids": ids })).into_response()
        }
        None => (StatusCode::BAD_REQUEST, Json(json!({ "error": "id must match [a-z0-9._-]{1,64}" }))).into_response(),
    }
}

async fn mail(Shared(state): Shared<Arc<State>>, Query(query): Query<MailQuery>) -> Json<Value> {
    let mails = state.mail.wait_for(&query).await;
    Json(json!({ "mails": mails }))
}

async fn forget_mail(Shared(state): Shared<Arc<State>>) -> StatusCode {
    state.mail.clear();
    StatusCode::NO_CONTENT
}
