//! The end of a call: made presentable, counted, logged once, handed on as a span.

use std::{
    error::Error as StdError,
    fmt::Write as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use coreloop_core::{Problem, Reason};
use coreloop_db::deadline;
use coreloop_service::{Call, call::REQUEST_ID};
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;

use crate::{pipeline::Process, plan::Plan, red, spans::Outcome};

/// The end of a call, told once: by what it answered, or by being dropped when its caller went away before.
pub(crate) struct Ending {
    call: Arc<Call>,
    plan: Arc<Plan>,
    started: Instant,
    process: Arc<Process>,
    told: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.told {
            self.tell(&Status::cancelled("the caller went away"));
        }
    }
}

impl Ending {
    /// Of a call that began at `started`.
    pub(crate) fn new(call: Arc<Call>, plan: Arc<Plan>, started: Instant, process: Arc<Process>) -> Self {
        Self { call, plan, started, process, told: false }
    }

    /// Answers `response` to the caller. A failed one ends the call here; another ends it with its body.
    pub(crate) fn answer(self, response: Response<Body>, deadline: Option<Instant>) -> Response<Body> {
        let request_id = self.call.request_id.clone();
        let mut response = match response.extensions().get::<Status>() {
            Some(status) if status.code() != Code::Ok => {
                let shown = presentable(status);
                self.end(status);
                let mut answer = shown.into_http();
                for (name, value) in response.headers() {
                    if !answer.headers().contains_key(name) {
                        answer.headers_mut().append(name, value.clone());
                    }
                }
                answer
            }
            _ => {
                let alarm =
                    deadline.filter(|_| !self.plan.unary_response).map(|at| Box::pin(tokio::time::sleep_until(at)));
                response.map(|body| {
                    let call = Arc::clone(&self.call);
                    Body::new(Watched { body, call, deadline, alarm, ending: Some(self), done: false })
                })
            }
        };
        response.headers_mut().insert(REQUEST_ID, request_id);
        response
    }

    fn end(mut self, status: &Status) {
        self.tell(status);
    }

    fn tell(&mut self, status: &Status) {
        self.told = true;
        let took = self.started.elapsed();
        let code = status.code();
        self.plan.red.record(code, took.as_secs_f64());
        Arc::clone(&self.call).within(|| log(status, took.as_secs_f64() * 1000.0, self.plan.quiet));
        self.process.export(&self.call, Outcome::Grpc(code), is_ours(code), took);
    }
}

/// Faults of ours, and of parts of ours.
pub(crate) fn is_ours(code: Code) -> bool {
    matches!(code, Code::Internal | Code::Unknown | Code::DataLoss | Code::Unavailable | Code::DeadlineExceeded)
}

/// One line a call, with its cause when it failed by us.
fn log(status: &Status, duration_ms: f64, quiet: bool) {
    let code = red::name(status.code());
    match status.code() {
        Code::Internal | Code::Unknown | Code::DataLoss => {
            tracing::error!(target: "coreloop::rpc", status = code, duration_ms, error = chain(status), "call failed");
        }
        Code::Unavailable | Code::DeadlineExceeded => {
            tracing::warn!(target: "coreloop::rpc", status = code, duration_ms, error = chain(status), "call failed");
        }
        Code::Ok | Code::Cancelled if quiet => {
            tracing::debug!(target: "coreloop::rpc", status = code, duration_ms, "call answered");
        }
        Code::Ok => tracing::info!(target: "coreloop::rpc", status = code, duration_ms, "call answered"),
        _ => {
            let details = status.get_error_details();
            let reason = details.error_info().map_or("", |info| info.reason.as_str());
            tracing::info!(target: "coreloop::rpc", status = code, reason, duration_ms, "call refused");
        }
    }
}

/// The message and every source below it.
fn chain(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        let _infallible = write!(text, ": {error}");
        source = error.source();
    }
    text
}

/// A status that was made by `core` is shown as it is. One that was not, by tonic or a peer that cannot be reached, may
/// name hosts or types of ours; its code is kept and its text is not.
pub(crate) fn presentable(status: &Status) -> Status {
    if status.get_error_details().error_info().is_some() {
        // The source stays here.
        return Status::with_details_and_metadata(
            status.code(),
            status.message(),
            Bytes::copy_from_slice(status.details()),
            status.metadata().clone(),
        );
    }
    let undecoded = status.message().starts_with("failed to decode Protobuf message");
    let problem = match status.code() {
        Code::Internal if undecoded => Problem::common(Reason::MalformedRequest, "the message cannot be decoded"),
        Code::InvalidArgument => Problem::common(Reason::MalformedRequest, "the request cannot be read"),
        Code::OutOfRange => Problem::common(Reason::BodyTooLarge, "the message is too large"),
        Code::Unimplemented => Problem::common(Reason::Unimplemented, "there is no such method"),
        Code::NotFound => Problem::common(Reason::NotFound, "this was not found"),
        Code::Unauthenticated => Problem::common(Reason::TokenMissing, "sign in first"),
        Code::PermissionDenied => Problem::common(Reason::AccessDenied, "this is not allowed"),
        Code::ResourceExhausted => Problem::common(Reason::Overloaded, "more work than can be done; try again soon"),
        Code::Unavailable => Problem::common(Reason::DependencyUnavailable, "a part that this call needs is away")
            .retry_after(std::time::Duration::from_secs(1)),
        Code::DeadlineExceeded => Problem::common(Reason::DeadlineExceeded, "the deadline passed"),
        Code::Cancelled => {
            return Status::from(Problem::new(
                coreloop_core::Kind::Cancelled,
                coreloop_core::problem::COMMON_DOMAIN,
                "CANCELLED",
                "the call was cancelled",
            ));
        }
        _ => Problem::common(Reason::Internal, "internal error"),
    };
    Status::from(problem)
}

/// A body that ends its call with itself, also when it is dropped before its end.
struct Watched {
    body: Body,
    call: Arc<Call>,
    deadline: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
    ending: Option<Ending>,
    done: bool,
}

impl Watched {
    fn finish(&mut self, status: &Status) {
        self.done = true;
        if let Some(ending) = self.ending.take() {
            ending.end(status);
        }
    }

    /// Trailers of a stream that failed are made presentable too.
    fn trailers(&mut self, trailers: HeaderMap) -> HeaderMap {
        let Some(status) = Status::from_header_map(&trailers).filter(|status| status.code() != Code::Ok) else {
            self.finish(&Status::ok(""));
            return trailers;
        };
        self.finish(&status);
        headers_of(&presentable(&status))
    }
}

fn headers_of(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if status.add_header(&mut headers).is_err() {
        headers.insert(Status::GRPC_STATUS, http::HeaderValue::from_static("13"));
    }
    headers
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        if let Some(alarm) = &mut this.alarm
            && alarm.as_mut().poll(cx).is_ready()
        {
            let late = Status::from(Problem::common(Reason::DeadlineExceeded, "the deadline passed"));
            this.finish(&late);
            return Poll::Ready(Some(Ok(Frame::trailers(headers_of(&late)))));
        }
        let body = Pin::new(&mut this.body);
        // A stream does its work here, so its logs and statements are the call's.
        let polled = match (this.ending.as_ref().is_some_and(|ending| ending.plan.unary_response), this.deadline) {
            (true, _) => body.poll_frame(cx),
            (false, Some(at)) => Arc::clone(&this.call).within(|| deadline::within_sync(at, || body.poll_frame(cx))),
            (false, None) => Arc::clone(&this.call).within(|| body.poll_frame(cx)),
        };
        match std::task::ready!(polled) {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(match frame.into_trailers() {
                Ok(trailers) => Frame::trailers(this.trailers(trailers)),
                Err(frame) => frame,
            }))),
            Some(Err(status)) => {
                this.finish(&status);
                Poll::Ready(Some(Ok(Frame::trailers(headers_of(&presentable(&status))))))
            }
            None => {
                this.finish(&Status::ok(""));
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done || (self.ending.is_none() && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_not_shown() {
        for code in [Code::Unavailable, Code::Internal, Code::Unknown, Code::Unimplemented, Code::OutOfRange] {
            let shown = presentable(&Status::new(code, "tcp connect error: 10.0.0.7:5432"));
            assert!(!shown.message().contains("10.0.0.7"), "{code:?}");
            assert!(shown.get_error_details().error_info().is_some(), "{code:?}");
        }
    }

    #[test]
    fn our_own_status_is_kept_without_its_source() {
        let ours = Status::from(Problem::unavailable("a part is away", "postgres://secret"));
        let shown = presentable(&ours);
        assert_eq!((shown.code(), shown.message()), (Code::Unavailable, "a part is away"));
        assert_eq!(shown.details(), ours.details());
        assert!(shown.source().is_none());
        assert_eq!(chain(&ours), "a part is away: postgres://secret");
    }
}
