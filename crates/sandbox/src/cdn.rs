//! What stands in front of the S3 store, as a CDN does: `GET` and `HEAD /cdn/{bucket}/{key}`, without a signature.
//!
//! It shows what people load, below `uploads/` and `thumbnails/`; of anything else it says what S3 says to who may not read (403
//! `AccessDenied`). Nothing can be changed here, and the store itself goes on refusing what is not signed. It keeps nothing, so
//! what was removed is gone at once: a real one shows it for as long as its `Cache-Control` allows.
//!
//! Faults as everywhere: provider `cdn`, endpoint `get`.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Request, State as Shared},
    middleware::from_fn,
    response::Response,
    routing::get,
};
use http::{StatusCode, Uri, header};

use crate::{
    fault::{self, At},
    s3::refuse,
    state::State,
};

/// Where keys begin that everybody may load.
const PUBLIC: [&str; 2] = ["uploads/", "thumbnails/"];
/// Where it is.
const PREFIX: &str = "/cdn";

/// `/cdn/{bucket}/{key}`.
pub(crate) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    let played = Arc::clone(state);
    let layer = from_fn(move |request: Request, next| {
        fault::play(Arc::clone(&played), At { provider: "cdn", endpoint: "get" }, request, next)
    });
    Router::new().route(&format!("{PREFIX}/{{bucket}}/{{*key}}"), get(show).layer(layer))
}

async fn show(Shared(state): Shared<Arc<State>>, Path((_, key)): Path<(String, String)>, request: Request) -> Response {
    if !is_public(&key) {
        return refuse(StatusCode::FORBIDDEN, "AccessDenied");
    }
    // As it was written, so that the store decodes it as it does its own.
    let path = request.uri().path().strip_prefix(PREFIX).and_then(|path| path.parse::<Uri>().ok());
    let Some(path) = path else { return refuse(StatusCode::BAD_REQUEST, "InvalidURI") };
    let mut asked = http::Request::new(s3s::Body::empty());
    *asked.method_mut() = request.method().clone();
    *asked.uri_mut() = path;
    if let Some(range) = request.headers().get(header::RANGE) {
        asked.headers_mut().insert(header::RANGE, range.clone());
    }
    state.storage.shown(asked).await
}

fn is_public(key: &str) -> bool {
    PUBLIC.iter().any(|begins| key.starts_with(begins)) && !key.split('/').any(|part| [".", ".."].contains(&part))
}
