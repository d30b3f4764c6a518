//! Failures on their way out: `google.rpc.Status` as JSON, whatever failed.

use coreloop_core::{Kind, Problem, Reason, problem::COMMON_DOMAIN};
use coreloop_limit::Limited;
use coreloop_transcode::{
    options::Lang,
    response::{Encoder, ndjson_error},
    status::ErrorReply,
};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use tonic::{Code, Status, body::Body};

use crate::{outbound, table::NO_STORE};

/// Media type of every JSON reply.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Fixed: the status message is never put into a challenge.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer");

/// A request that will not be served.
pub(crate) struct Failure {
    status: Box<Status>,
    /// Empty for a status of a service.
    reason: String,
    http: Option<StatusCode>,
    allow: Option<String>,
    in_stream: bool,
}

impl Failure {
    /// A refusal with one of the common reasons.
    pub(crate) fn common(reason: Reason, message: &'static str) -> Self {
        Problem::common(reason, message).into()
    }

    /// Sets an HTTP status that no gRPC code has.
    pub(crate) fn answered(mut self, http: StatusCode) -> Self {
        self.http = Some(http);
        self
    }

    /// The failure of a server stream before its first message: `{"error":…}`, with the status it maps to.
    pub(crate) fn in_stream(self) -> Self {
        Self { in_stream: true, ..self }
    }

    /// Nothing at this path.
    pub(crate) fn no_route() -> Self {
        Self::common(Reason::RouteNotFound, "no route answers this path")
    }

    /// The path exists, the method does not.
    pub(crate) fn method(allow: String) -> Self {
        Self { allow: Some(allow), ..Self::common(Reason::MethodNotAllowed, "this method is not allowed here") }
    }

    /// The status as gRPC callers get it.
    pub(crate) fn into_status(self) -> Status {
        told(*self.status)
    }

    /// `google.rpc.Status` as JSON, for a line of a stream.
    pub(crate) fn json(self, encoder: &Encoder<'_>, lang: Option<Lang>) -> ErrorReply {
        let status = self.into_status();
        encoder.error(status.code() as i32, status.message(), status.details(), lang)
    }

    /// The reason of a refusal by the edge itself.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// The whole reply.
    pub(crate) fn reply(self, encoder: &Encoder<'_>, lang: Option<Lang>) -> Response<Body> {
        let (http, allow, in_stream) = (self.http, self.allow.clone(), self.in_stream);
        let status = self.into_status();
        let error = encoder.error(status.code() as i32, status.message(), status.details(), lang);
        let http = http.or_else(|| StatusCode::from_u16(error.http_status).ok());
        let body = if in_stream { ndjson_error(&error.body) } else { error.body };
        let mut response = Response::new(Body::new(Full::from(body)));
        *response.status_mut() = http.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let unauthenticated = response.status() == StatusCode::UNAUTHORIZED;
        let headers = response.headers_mut();
        outbound::headers(status.metadata().as_ref(), headers);
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        if unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        if let Some(secs) = error.retry_after_secs {
            headers.insert(header::RETRY_AFTER, secs.into());
        }
        insert(headers, header::ALLOW, allow);
        response
    }
}

fn insert(headers: &mut http::HeaderMap, name: HeaderName, value: Option<String>) {
    if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
        headers.insert(name, value);
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let reason = problem.reason().to_owned();
        Self { reason, ..Status::from(problem).into() }
    }
}

impl From<Limited> for Failure {
    fn from(limited: Limited) -> Self {
        let (window, mut failure) = (limited.headers, Self::from(Problem::from(limited)));
        let metadata = failure.status.metadata_mut();
        metadata.insert("ratelimit-limit", window.limit.into());
        metadata.insert("ratelimit-remaining", window.remaining.into());
        metadata.insert("ratelimit-reset", window.reset_secs.into());
        failure
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self { status: Box::new(status), reason: String::new(), http: None, allow: None, in_stream: false }
    }
}

/// What a caller may be told. A status without details was made by a library, not by a `Problem`: its text may name hosts
/// or types, so it is replaced.
fn told(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    let problem = match status.code() {
        Code::Unavailable => Problem::common(Reason::DependencyUnavailable, "a part that this call needs is away")
            .retry_after(std::time::Duration::from_secs(1)),
        Code::DeadlineExceeded => Problem::common(Reason::DeadlineExceeded, "the deadline passed"),
        Code::Cancelled => Problem::new(Kind::Cancelled, COMMON_DOMAIN, "CANCELLED", "the call was cancelled"),
        Code::Unimplemented => Problem::common(Reason::Unimplemented, "this call is not built"),
        Code::NotFound => Problem::common(Reason::NotFound, "not found"),
        Code::Unauthenticated => Problem::common(Reason::TokenInvalid, "the token is not accepted"),
        Code::PermissionDenied => Problem::common(Reason::AccessDenied, "not allowed"),
        Code::ResourceExhausted => Problem::common(Reason::Overloaded, "more work than can be done"),
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => {
            Problem::common(Reason::MalformedRequest, "the request cannot be read")
        }
        _ => Problem::common(Reason::Internal, "internal error"),
    };
    let mut replaced = Status::from(problem);
    *replaced.metadata_mut() = status.metadata().clone();
    replaced
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn json(failure: Failure) -> (StatusCode, http::HeaderMap, serde_json::Value) {
        let encoder = Encoder::new(coreloop_transcode::router::router());
        let (parts, body) = failure.reply(&encoder, None).into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn text_that_no_problem_wrote_is_never_sent() {
        for code in 1..=16 {
            let status = Status::new(Code::from_i32(code), "connect to 10.1.2.3:5432 failed: src/main.rs");
            let (_, _, body) = json(status.into()).await;
            assert!(!body.to_string().contains("10.1.2.3"), "{body}");
            assert!(body.to_string().contains("\"reason\":"), "{body}");
        }
    }

    #[tokio::test]
    async fn the_challenge_is_fixed() {
        let (status, headers, body) = json(Failure::common(Reason::TokenMissing, "a token is needed")).await;
        assert_eq!(status, 401);
        assert_eq!(headers["www-authenticate"], "Bearer");
        assert_eq!(body["code"], 16);
    }

    #[tokio::test]
    async fn a_wrong_method_names_the_right_ones() {
        let (status, headers, body) = json(Failure::method("GET, POST".into())).await;
        assert_eq!((status.as_u16(), body["code"].as_i64()), (405, Some(12)));
        assert_eq!(headers["allow"], "GET, POST");
        assert_eq!(body["details"][0]["reason"], "METHOD_NOT_ALLOWED");
    }

    #[tokio::test]
    async fn retry_info_becomes_retry_after() {
        let (status, headers, _) = json(call_away()).await;
        assert_eq!(status, 503);
        assert_eq!(headers["retry-after"], "1");
    }

    fn call_away() -> Failure {
        crate::call::away().into()
    }
}
