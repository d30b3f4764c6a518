//! `GetJwks`, `GetOpenIdConfiguration`.

use std::collections::BTreeSet;

use coreloop_access::token::Purpose;
use coreloop_auth_api::v1;
use coreloop_core::pb::google::api::HttpBody;
use serde_json::{Value, json};
use tonic::{Request, Response};

use crate::{App, Error};

/// Answers the public keys: active, next and retired ones that still verify.
///
/// # Errors
/// None but a fault of ours.
pub async fn get_jwks(app: &App, _: Request<v1::GetJwksRequest>) -> Result<Response<v1::GetJwksResponse>, Error> {
    let jwks = serde_json::to_value(app.keys.jwks()).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(Response::new(v1::GetJwksResponse { body: Some(body(&jwks)) }))
}

/// Answers the provider metadata (OpenID Connect Discovery 1.0, section 3): for who verifies our tokens. The endpoints are
/// where the like of each is found; they speak the JSON of this API, not the forms of OAuth 2.0. We give no ID tokens: the
/// algorithms are those of access tokens.
///
/// # Errors
/// None but a fault of ours.
pub async fn get_open_id_configuration(
    app: &App,
    _: Request<v1::GetOpenIdConfigurationRequest>,
) -> Result<Response<v1::GetOpenIdConfigurationResponse>, Error> {
    let base = app.options.public_url.trim_end_matches('/');
    // Of the keys that are published: a change of the setting does not change them at once.
    let keys = app.keys.jwks().keys;
    let algorithms: BTreeSet<_> =
        keys.iter().filter(|key| key.purpose == Purpose::User).map(|key| key.alg.as_str()).collect();
    // There is one endpoint for each provider, and room for one.
    let authorize = app.social.names().next().map(|name| format!("{base}/api/v1/auth/authorize/{name}"));
    let mut metadata = json!({
        "issuer": &**app.rules.issuer(),
        "jwks_uri": format!("{base}/.well-known/jwks.json"),
        "token_endpoint": format!("{base}/api/v1/auth/token/refresh"),
        "userinfo_endpoint": format!("{base}/api/v1/auth/me"),
        "end_session_endpoint": format!("{base}/api/v1/auth/logout"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        "token_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "roles", "typ", "sid"],
    });
    if let (Some(endpoint), Some(members)) = (authorize, metadata.as_object_mut()) {
        members.insert("authorization_endpoint".to_owned(), endpoint.into());
    }
    Ok(Response::new(v1::GetOpenIdConfigurationResponse { body: Some(body(&metadata)) }))
}

fn body(json: &Value) -> HttpBody {
    HttpBody {
        content_type: "application/json".to_owned(),
        data: json.to_string().into_bytes().into(),
        extensions: Vec::new(),
    }
}
