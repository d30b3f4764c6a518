//! Naver Login (<https://developers.naver.com/docs/login/api/api.md>). Its ways: token requests by GET or POST with
//! query parameters, **errors with status 200** and an `error` field, `expires_in` as text, and a profile inside
//! `response` beside `resultcode` and `message`.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, State as Shared},
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get},
};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use crate::{
    chooser::{Authorize, BadRequest},
    fault::{self, At},
    google::bearer,
    grant::{self, Access, Redemption},
    secret,
    state::State,
};

const PROVIDER: &str = "naver";
const AUTHORIZE: &str = "/naver/oauth2.0/authorize";
/// Life of an access token in seconds.
const LIFE_SECS: i64 = 3600;

/// Routes under `/naver`: `nid` and `openapi` in one.
pub(crate) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    let played = |endpoint: &'static str, routes: MethodRouter<Arc<State>>| {
        let state = Arc::clone(state);
        let at = At { provider: PROVIDER, endpoint };
        routes.layer(from_fn(move |request, next| fault::play(Arc::clone(&state), at, request, next)))
    };
    Router::new()
        .route(AUTHORIZE, played("authorize", get(authorize)))
        .route("/naver/oauth2.0/token", played("token", get(token).post(token)))
        .route("/naver/v1/nid/me", played("userinfo", get(me).post(me)))
}

async fn authorize(Shared(state): Shared<Arc<State>>, Query(asked): Query<Authorize>) -> Response {
    asked.answer(PROVIDER, AUTHORIZE, &state).unwrap_or_else(|bad| match bad {
        BadRequest::Client => refuse("invalid_client", "wrong client id / client secret pair"),
        BadRequest::RedirectUri => refuse("invalid_request", "redirect_uri is not registered"),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenRequest {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    code: Option<String>,
    state: Option<String>,
    redirect_uri: Option<String>,
    code_verifier: Option<String>,
}

impl TokenRequest {
    /// Parameters may come by query or by form; what the form says wins.
    fn or(self, other: Self) -> Self {
        Self {
            grant_type: self.grant_type.or(other.grant_type),
            client_id: self.client_id.or(other.client_id),
            client_secret: self.client_secret.or(other.client_secret),
            code: self.code.or(other.code),
            state: self.state.or(other.state),
            redirect_uri: self.redirect_uri.or(other.redirect_uri),
            code_verifier: self.code_verifier.or(other.code_verifier),
        }
    }

    fn of_form(headers: &HeaderMap, body: &Bytes) -> Self {
        let form = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        if !form {
            return Self::default();
        }
        let mut asked = Self::default();
        for (name, value) in url::form_urlencoded::parse(body) {
            let slot = match name.as_ref() {
                "grant_type" => &mut asked.grant_type,
                "client_id" => &mut asked.client_id,
                "client_secret" => &mut asked.client_secret,
                "code" => &mut asked.code,
                "state" => &mut asked.state,
                "redirect_uri" => &mut asked.redirect_uri,
                "code_verifier" => &mut asked.code_verifier,
                _ => continue,
            };
            *slot = Some(value.into_owned());
        }
        asked
    }
}

async fn token(
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    Query(query): Query<TokenRequest>,
    body: Bytes,
) -> Response {
    let asked = TokenRequest::of_form(&headers, &body).or(query);
    if asked.grant_type.as_deref() != Some("authorization_code") {
        return refuse("unsupported_grant_type", "not supported grant_type");
    }
    let client_id = asked.client_id.unwrap_or_default();
    let proven =
        state.client(PROVIDER, &client_id).is_some_and(|client| grant::proves(client, asked.client_secret.as_deref()));
    if !proven {
        return refuse("invalid_client", "wrong client id / client secret pair");
    }
    let taken = state.codes().take(asked.code.as_deref().unwrap_or_default());
    let redemption = Redemption {
        provider: PROVIDER,
        client_id: &client_id,
        redirect_uri: asked.redirect_uri.as_deref(),
        verifier: asked.code_verifier.as_deref(),
        now: state.now(),
    };
    let admitted = taken
        .filter(|code| code.admit(redemption).is_ok() && asked.state.as_ref().is_none_or(|sent| *sent == code.state));
    let Some(code) = admitted else {
        return refuse("invalid_request", "no valid data in session");
    };
    let expires_at = state.now() + LIFE_SECS;
    let access = state.tokens().issue(Access { provider: PROVIDER, persona: code.persona, expires_at });
    Json(json!({
        "access_token": access,
        "refresh_token": secret::random(),
        "token_type": "bearer",
        "expires_in": LIFE_SECS.to_string()
    }))
    .into_response()
}

async fn me(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Response {
    let Some(persona) = bearer(&state, PROVIDER, &headers) else {
        let body = json!({ "resultcode": "024", "message": "Authentication failed (인증에 실패했습니다.)" });
        return (StatusCode::UNAUTHORIZED, Json(body)).into_response();
    };
    let mut profile = json!({
        "id": persona.naver_id(),
        "nickname": persona.name,
        "name": persona.name,
        "profile_image": persona.picture,
        "age": "30-39",
        "gender": "F"
    });
    if let (Some(email), Some(fields)) = (&persona.email, profile.as_object_mut()) {
        fields.insert("email".to_owned(), json!(email));
    }
    Json(json!({ "resultcode": "00", "message": "success", "response": profile })).into_response()
}

/// An error as Naver sends it: with status 200.
fn refuse(error: &str, description: &str) -> Response {
    Json(json!({ "error": error, "error_description": description })).into_response()
}
