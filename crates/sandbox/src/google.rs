//! Google: OpenID Connect with discovery, JWKS, PKCE and RS256 ID tokens
//! (<https://developers.google.com/identity/openid-connect/openid-connect>).

use std::sync::Arc;

use axum::{
    Form, Json, Router,
    extract::{Query, State as Shared},
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Error,
    chooser::{Authorize, BadRequest},
    fault::{self, At},
    grant::{self, Access, Code, Redemption, Refusal},
    persona::Persona,
    state::State,
};

const PROVIDER: &str = "google";
const AUTHORIZE: &str = "/google/o/oauth2/v2/auth";
const TOKEN: &str = "/google/token";
const JWKS: &str = "/google/oauth2/v3/certs";
const USERINFO: &str = "/google/v1/userinfo";
/// Life of an access token and of an ID token, in seconds.
const LIFE_SECS: i64 = 3599;

/// Routes under `/google`; the issuer is `{base}/google`.
pub(crate) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    let played = |endpoint: &'static str, routes: MethodRouter<Arc<State>>| {
        let state = Arc::clone(state);
        let at = At { provider: PROVIDER, endpoint };
        routes.layer(from_fn(move |request, next| fault::play(Arc::clone(&state), at, request, next)))
    };
    Router::new()
        .route("/google/.well-known/openid-configuration", played("discovery", get(discovery)))
        .route(AUTHORIZE, played("authorize", get(authorize)))
        .route(TOKEN, played("token", post(token)))
        .route(JWKS, played("jwks", get(jwks)))
        .route(USERINFO, played("userinfo", get(userinfo).post(userinfo)))
}

fn issuer(state: &State) -> String {
    state.url("/google")
}

async fn discovery(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    Json(json!({
        "issuer": issuer(&state),
        "authorization_endpoint": state.url(AUTHORIZE),
        "token_endpoint": state.url(TOKEN),
        "userinfo_endpoint": state.url(USERINFO),
        "jwks_uri": state.url(JWKS),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "email", "profile"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "claims_supported": ["aud", "email", "email_verified", "exp", "iat", "iss", "name", "picture", "sub"],
        "code_challenge_methods_supported": ["plain", "S256"],
        "grant_types_supported": ["authorization_code"]
    }))
}

async fn jwks(Shared(state): Shared<Arc<State>>) -> Response {
    match state.keys.published() {
        Ok(key) => {
            ([(header::CACHE_CONTROL, "public, max-age=3600")], Json(json!({ "keys": [key.jwk()] }))).into_response()
        }
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal_failure", "no key"),
    }
}

async fn authorize(Shared(state): Shared<Arc<State>>, Query(asked): Query<Authorize>) -> Response {
    asked.answer(PROVIDER, AUTHORIZE, &state).unwrap_or_else(|bad| {
        let code = match bad {
            BadRequest::Client => "Error 401: invalid_client",
            BadRequest::RedirectUri => "Error 400: redirect_uri_mismatch",
        };
        (StatusCode::BAD_REQUEST, code).into_response()
    })
}

#[derive(Debug, Deserialize)]
struct TokenRequest {
    grant_type: Option<String>,
    code: Option<String>,
    redirect_uri: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    code_verifier: Option<String>,
}

async fn token(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Form(mut asked): Form<TokenRequest>) -> Response {
    if let Some((id, secret)) = basic(&headers) {
        asked.client_id = Some(id);
        asked.client_secret = Some(secret);
    }
    if asked.grant_type.as_deref() != Some("authorization_code") {
        return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type", "Invalid grant_type");
    }
    let client_id = asked.client_id.unwrap_or_default();
    let Some(client) = state.client(PROVIDER, &client_id) else {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client", "The OAuth client was not found.");
    };
    if !grant::proves(client, asked.client_secret.as_deref()) {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client", "Unauthorized");
    }
    // Taken first: a code is spent by the first who shows it, whatever comes of it.
    let taken = state.codes().take(asked.code.as_deref().unwrap_or_default());
    let redemption = Redemption {
        provider: PROVIDER,
        client_id: &client_id,
        redirect_uri: Some(asked.redirect_uri.as_deref().unwrap_or_default()),
        verifier: asked.code_verifier.as_deref(),
        now: state.now(),
    };
    let admitted = taken.ok_or(Refusal::Code).and_then(|code| code.admit(redemption).map(|()| code));
    match admitted {
        Ok(code) => issue(&state, &code)
            .unwrap_or_else(|_| refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal_failure", "no key")),
        Err(Refusal::Code) => refuse(StatusCode::BAD_REQUEST, "invalid_grant", "Malformed auth code."),
        Err(Refusal::RedirectUri) => refuse(StatusCode::BAD_REQUEST, "redirect_uri_mismatch", "Bad Request"),
        Err(Refusal::Verifier) if asked.code_verifier.is_none() => {
            refuse(StatusCode::BAD_REQUEST, "invalid_grant", "Missing code verifier.")
        }
        Err(Refusal::Verifier) => refuse(StatusCode::BAD_REQUEST, "invalid_grant", "Invalid code verifier."),
    }
}

fn issue(state: &State, code: &Code) -> Result<Response, Error> {
    let Some(persona) = state.personas().find(&code.persona) else {
        return Ok(refuse(StatusCode::BAD_REQUEST, "invalid_grant", "Account has been deleted"));
    };
    let expires_at = state.now() + LIFE_SECS;
    let access = state.tokens().issue(Access { provider: PROVIDER, persona: persona.id.clone(), expires_at });
    let what = state.faults.tamper(At { provider: PROVIDER, endpoint: "token" });
    let id_token = id_token(state, code, &persona, what.as_deref())?;
    let mut answer = json!({
        "access_token": access,
        "expires_in": LIFE_SECS,
        "scope": code.scope,
        "token_type": "Bearer",
        "id_token": id_token,
    });
    if what.as_deref() == Some("missing")
        && let Some(fields) = answer.as_object_mut()
    {
        fields.remove("id_token");
    }
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// The ID token, true or lying in the way a `tamper` fault says.
fn id_token(state: &State, code: &Code, persona: &Persona, what: Option<&str>) -> Result<String, Error> {
    let now = state.now();
    let mut claims = json!({
        "iss": issuer(state),
        "azp": code.client_id,
        "aud": code.client_id,
        "sub": persona.google_sub(),
        "name": persona.name,
        "picture": persona.picture,
        "iat": now,
        "exp": now + LIFE_SECS,
    });
    let mut set = |name: &str, value: Value| {
        if let Some(claims) = claims.as_object_mut() {
            claims.insert(name.to_owned(), value);
        }
    };
    if let Some(nonce) = &code.nonce {
        set("nonce", json!(nonce));
    }
    if let Some(email) = &persona.email {
        set("email", json!(email));
        set("email_verified", json!(persona.email_verified));
    }
    match what {
        Some("nonce") => set("nonce", json!("another-nonce")),
        Some("no_nonce") => set("nonce", Value::Null),
        Some("aud") => set("aud", json!("stranger-google")),
        Some("iss") => set("iss", json!("https://accounts.evil.example")),
        Some("exp") => {
            set("iat", json!(now - 7_200));
            set("exp", json!(now - 3_600));
        }
        Some("sub") => set("sub", Value::Null),
        _ => {}
    }
    let published = state.keys.published()?;
    let signed = match what {
        // The right key id over a signature that the key did not make.
        Some("key") => state.keys.impostor()?.sign(published.kid(), &claims)?,
        Some("kid") => state.keys.impostor()?.sign(state.keys.impostor()?.kid(), &claims)?,
        Some("alg_none") => unsigned(&json!({ "alg": "none", "typ": "JWT" }), &claims),
        Some("hs256") => confused(published.kid(), published.modulus(), &claims),
        _ => published.sign(published.kid(), &claims)?,
    };
    Ok(match what {
        Some("signature") => flipped(&signed),
        Some("garbage") => "not.a.token".to_owned(),
        _ => signed,
    })
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}

/// Signed with HS256 under the public modulus: algorithm confusion (RFC 8725, 2.1).
fn confused(kid: &str, modulus: &str, claims: &Value) -> String {
    let body = unsigned(&json!({ "alg": "HS256", "typ": "JWT", "kid": kid }), claims);
    let signed = body.trim_end_matches('.');
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, modulus.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

fn flipped(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let turned: String = signature.chars().rev().collect();
    format!("{signed}.{turned}")
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

async fn userinfo(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Response {
    let Some(persona) = bearer(&state, PROVIDER, &headers) else {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_request", "Invalid Credentials");
    };
    let mut profile = json!({ "sub": persona.google_sub(), "name": persona.name, "picture": persona.picture });
    if let (Some(email), Some(fields)) = (&persona.email, profile.as_object_mut()) {
        fields.insert("email".to_owned(), json!(email));
        fields.insert("email_verified".to_owned(), json!(persona.email_verified));
    }
    Json(profile).into_response()
}

/// The persona whose profile the bearer token opens.
pub(crate) fn bearer(state: &State, provider: &str, headers: &HeaderMap) -> Option<Persona> {
    let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    let access = state.tokens().get(token).cloned()?;
    if access.provider != provider || state.now() >= access.expires_at {
        return None;
    }
    state.personas().find(&access.persona)
}

fn refuse(status: StatusCode, error: &str, description: &str) -> Response {
    (status, Json(json!({ "error": error, "error_description": description }))).into_response()
}
