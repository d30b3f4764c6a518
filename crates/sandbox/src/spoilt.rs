//! Answers that a fault spoils: errors as each provider words them, bodies that break off or come slowly.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, to_bytes},
    response::{IntoResponse as _, Response},
};
use futures::StreamExt as _;
use http::{StatusCode, header};

use crate::{fault::At, fcm::refusal};

/// Most of an answer that is taken to be cut.
const MOST_CUT: usize = 64 << 20;
/// What a client that asks too much is told to wait, in seconds.
const RETRY_AFTER_SECS: &str = "1";

/// Kakao Local, asked too often.
const THROTTLED: &str = r#"{"errorType":"RequestThrottled","message":"API limit has been exceeded."}"#;

/// An error as the provider words it. One that says "too many" or "not now" says when to come again.
pub(crate) fn failure(at: At, status: Option<u16>) -> Response {
    let status = status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let body = match (at.provider, at.endpoint) {
        ("s3" | "cdn", _) if status == StatusCode::SERVICE_UNAVAILABLE => {
            "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
        }
        ("s3" | "cdn", _) => {
            "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
        }
        ("openai", _) if status == StatusCode::TOO_MANY_REQUESTS => {
            r#"{"error":{"message":"Rate limit reached for requests","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#
        }
        ("openai", _) => {
            r#"{"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":null}}"#
        }
        ("kakao_local", _) if status == StatusCode::TOO_MANY_REQUESTS => THROTTLED,
        ("kakao_local", _) => r#"{"errorType":"InternalServerError","message":"internal server error"}"#,
        ("fcm", "send") => refusal::worded(status),
        ("kakao", "userinfo") => r#"{"msg":"internal error","code":-1}"#,
        ("kakao", _) => r#"{"error":"server_error","error_description":"internal error","error_code":"KOE9999"}"#,
        ("naver", "userinfo") => r#"{"resultcode":"500","message":"Internal Server Error"}"#,
        ("sendgrid", _) => r#"{"errors":[{"message":"Internal Server Error","field":null,"help":null}]}"#,
        _ => r#"{"error":"server_error","error_description":"Internal error encountered."}"#,
    };
    worded(at, status, body)
}

/// A quota that is used up, as the provider words it.
pub(crate) fn over_quota(at: At, status: Option<u16>) -> Response {
    let (usual, body) = match at.provider {
        "s3" | "cdn" => {
            (503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")
        }
        "openai" => (
            429,
            r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
        ),
        "fcm" => (429, refusal::QUOTA),
        "kakao_local" => (429, THROTTLED),
        "kakao" => (429, r#"{"msg":"API limit has been exceeded.","code":-10}"#),
        _ => (429, r#"{"error":"quota_exceeded","error_description":"The quota is used up."}"#),
    };
    let status = StatusCode::from_u16(status.unwrap_or(usual)).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
    worded(at, status, body)
}

fn worded(at: At, status: StatusCode, body: &'static str) -> Response {
    let kind = if ["s3", "cdn"].contains(&at.provider) { "application/xml" } else { "application/json;charset=UTF-8" };
    let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static(RETRY_AFTER_SECS));
    }
    response
}

/// Status 200 and no JSON.
pub(crate) fn garbage() -> Response {
    ([(header::CONTENT_TYPE, "application/json;charset=UTF-8")], "\u{0}<html>{\"access_token\":").into_response()
}

/// Promises a body and breaks off: hyper closes the connection.
pub(crate) fn broken() -> Response {
    let body = Body::from_stream(futures::stream::once(async { Err::<Bytes, _>(reset()) }));
    ([(header::CONTENT_LENGTH, "1024")], body).into_response()
}

/// The first half of an answer, and then the connection breaks.
pub(crate) async fn cut(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let mut whole = to_bytes(body, MOST_CUT).await.unwrap_or_default();
    whole.truncate(whole.len() / 2);
    // The length that was promised stays promised.
    let pieces = futures::stream::once(async { Ok(whole) }).chain(futures::stream::once(async {
        // Waiting once has hyper send what it holds; what breaks at once is dropped unsent.
        tokio::task::yield_now().await;
        Err(reset())
    }));
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// An answer whose pieces come `pause` after one another.
pub(crate) fn trickle(response: Response, pause: Duration) -> Response {
    let (parts, body) = response.into_parts();
    let pieces = body.into_data_stream().then(move |piece| async move {
        tokio::time::sleep(pause).await;
        piece
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// The first half of an answer, and the rest after a `pause`.
pub(crate) async fn stall(response: Response, pause: Duration) -> Response {
    let (parts, body) = response.into_parts();
    let mut first = to_bytes(body, MOST_CUT).await.unwrap_or_default();
    let rest = first.split_off(first.len() / 2);
    let pieces = futures::stream::once(async { Ok(first) }).chain(futures::stream::once(async move {
        tokio::time::sleep(pause).await;
        Ok::<_, std::io::Error>(rest)
    }));
    Response::from_parts(parts, Body::from_stream(pieces))
}

fn reset() -> std::io::Error {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset)
}
