//! Compression of replies whose size is known and worth it. Streams are not compressed: each message is flushed.

use std::convert::Infallible;

use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Body as _;
use tonic::body::Body;
use tower::ServiceExt as _;
use tower_http::compression::Compression;

/// Compresses a reply by what the client accepts (zstd, gzip).
pub(crate) async fn apply(response: Response<Body>, accept: HeaderValue) -> Response<Body> {
    let mut asked = Request::new(());
    asked.headers_mut().insert(header::ACCEPT_ENCODING, accept);
    let mut held = Some(response);
    let once = tower::service_fn(move |_: Request<()>| {
        std::future::ready(Ok::<_, Infallible>(held.take().unwrap_or_default()))
    });
    let Ok(response) = Compression::new(once).oneshot(asked).await;
    response.map(Body::new)
}

/// The reply is text of a known size of at least `floor` bytes.
pub(crate) fn worth(response: &Response<Body>, floor: u64) -> bool {
    response.body().size_hint().exact().is_some_and(|size| size >= floor)
        && !response.headers().contains_key(header::CONTENT_ENCODING)
        && is_text(response.headers())
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.starts_with("application/json")
        || kind.starts_with("text/")
        || kind.starts_with("application/openmetrics-text")
}
