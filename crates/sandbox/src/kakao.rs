//! Kakao Login (<https://developers.kakao.com/docs/latest/en/kakaologin/rest-api>): form-encoded token requests, `KOE`
//! error codes, and a profile whose useful parts are nested in `kakao_account`.

use std::sync::Arc;

use axum::{
    Form, Json, Router,
    extract::{Query, State as Shared},
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, post},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::{
    chooser::{Authorize, BadRequest},
    fault::{self, At},
    google::bearer,
    grant::{self, Access, Redemption, Refusal},
    secret,
    state::State,
};

const PROVIDER: &str = "kakao";
const AUTHORIZE: &str = "/kakao/oauth/authorize";
/// Life of an access token in seconds.
const LIFE_SECS: i64 = 21_599;

/// Routes under `/kakao`: `kauth` and `kapi` in one.
pub(crate) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    let played = |endpoint: &'static str, routes: MethodRouter<Arc<State>>| {
        let state = Arc::clone(state);
        let at = At { provider: PROVIDER, endpoint };
        routes.layer(from_fn(move |request, next| fault::play(Arc::clone(&state), at, request, next)))
    };
    Router::new()
        .route(AUTHORIZE, played("authorize", get(authorize)))
        .route("/kakao/oauth/token", played("token", post(token)))
        .route("/kakao/v2/user/me", played("userinfo", get(me).post(me)))
}

async fn authorize(Shared(state): Shared<Arc<State>>, Query(asked): Query<Authorize>) -> Response {
    asked.answer(PROVIDER, AUTHORIZE, &state).unwrap_or_else(|bad| match bad {
        BadRequest::Client => refuse(StatusCode::BAD_REQUEST, "invalid_client", "KOE101", "Not exist client_id"),
        BadRequest::RedirectUri => {
            refuse(StatusCode::BAD_REQUEST, "invalid_request", "KOE006", "Not registered redirect URI in the app.")
        }
    })
}

#[derive(Debug, Deserialize)]
struct TokenRequest {
    grant_type: Option<String>,
    client_id: Option<String>,
    redirect_uri: Option<String>,
    code: Option<String>,
    client_secret: Option<String>,
    code_verifier: Option<String>,
}

async fn token(Shared(state): Shared<Arc<State>>, Form(asked): Form<TokenRequest>) -> Response {
    if asked.grant_type.as_deref() != Some("authorization_code") {
        let text = "unsupported grant_type";
        return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type", "KOE205", text);
    }
    let client_id = asked.client_id.unwrap_or_default();
    let Some(client) = state.client(PROVIDER, &client_id) else {
        let text = format!("Not exist client_id [{client_id}]");
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client", "KOE101", &text);
    };
    if !grant::proves(client, asked.client_secret.as_deref()) {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client", "KOE010", "Bad client credentials");
    }
    let shown = asked.code.unwrap_or_default();
    let taken = state.codes().take(&shown);
    let redemption = Redemption {
        provider: PROVIDER,
        client_id: &client_id,
        redirect_uri: Some(asked.redirect_uri.as_deref().unwrap_or_default()),
        verifier: asked.code_verifier.as_deref(),
        now: state.now(),
    };
    let admitted = taken.ok_or(Refusal::Code).and_then(|code| code.admit(redemption).map(|()| code));
    match admitted {
        Ok(code) => {
            let expires_at = state.now() + LIFE_SECS;
            let access = state.tokens().issue(Access { provider: PROVIDER, persona: code.persona, expires_at });
            Json(json!({
                "access_token": access,
                "token_type": "bearer",
                "refresh_token": secret::random(),
                "expires_in": LIFE_SECS,
                "scope": "account_email profile_image profile_nickname",
                "refresh_token_expires_in": 5_183_999
            }))
            .into_response()
        }
        Err(Refusal::RedirectUri) => {
            refuse(StatusCode::BAD_REQUEST, "invalid_grant", "KOE303", "Redirect URI mismatch.")
        }
        Err(Refusal::Code | Refusal::Verifier) => {
            let text = format!("authorization code not found for code={shown}");
            refuse(StatusCode::BAD_REQUEST, "invalid_grant", "KOE320", &text)
        }
    }
}

async fn me(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Response {
    let Some(persona) = bearer(&state, PROVIDER, &headers) else {
        let body = json!({ "msg": "this access token does not exist", "code": -401 });
        return (StatusCode::UNAUTHORIZED, Json(body)).into_response();
    };
    let thumbnail = format!("{}?thumbnail", persona.picture);
    let mut account = json!({
        "profile_nickname_needs_agreement": false,
        "profile_image_needs_agreement": false,
        "profile": {
            "nickname": persona.name,
            "thumbnail_image_url": thumbnail,
            "profile_image_url": persona.picture,
            "is_default_image": false,
            "is_default_nickname": false
        },
        "has_email": persona.email.is_some(),
        "email_needs_agreement": false
    });
    if let (Some(email), Some(fields)) = (&persona.email, account.as_object_mut()) {
        fields.insert("is_email_valid".to_owned(), json!(true));
        fields.insert("is_email_verified".to_owned(), json!(persona.email_verified));
        fields.insert("email".to_owned(), json!(email));
    }
    Json(json!({
        "id": persona.kakao_id(),
        "connected_at": "2026-01-01T00:00:00Z",
        "properties": { "nickname": persona.name, "profile_image": persona.picture, "thumbnail_image": thumbnail },
        "kakao_account": account
    }))
    .into_response()
}

fn refuse(status: StatusCode, error: &str, code: &str, description: &str) -> Response {
    let body = json!({ "error": error, "error_description": description, "error_code": code });
    (status, Json(body)).into_response()
}
