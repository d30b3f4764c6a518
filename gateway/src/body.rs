//! Request bodies: bounded in size and in time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use coreloop_core::Reason;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;

use crate::fail::Failure;

/// Reads a body of at most `limit` bytes. One that states a greater length is refused unread.
///
/// # Errors
/// 413 `BODY_TOO_LARGE`, 415 for an encoded body, 408 when it does not arrive in `patience`, 400 when it breaks off.
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, Failure> {
    if stated(headers).is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Failure::common(Reason::UnsupportedMediaType, "request bodies are sent without content-encoding"));
    }
    // Most bodies are here already: no timer for those.
    let mut first = std::pin::pin!(collect(&mut body, limit));
    match futures::poll!(&mut first) {
        std::task::Poll::Ready(read) => read,
        std::task::Poll::Pending => tokio::time::timeout(patience, first).await.unwrap_or_else(|_| Err(too_slow())),
    }
}

/// The length a request states, when it states one.
pub(crate) fn stated(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn collect(body: &mut Body, limit: usize) -> Result<Bytes, Failure> {
    let mut whole = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::common(Reason::MalformedRequest, "the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(too_large());
        }
        if whole.is_empty() {
            whole = data;
        } else {
            let mut joined = whole.try_into_mut().unwrap_or_else(|part| BytesMut::from(part.as_ref()));
            joined.extend_from_slice(&data);
            whole = joined.freeze();
        }
    }
    Ok(whole)
}

/// The body is larger than admitted.
pub(crate) fn too_large() -> Failure {
    Failure::common(Reason::BodyTooLarge, "the body is larger than this call admits")
}

fn too_slow() -> Failure {
    Failure::common(Reason::DeadlineExceeded, "the body did not arrive in time").answered(StatusCode::REQUEST_TIMEOUT)
}
