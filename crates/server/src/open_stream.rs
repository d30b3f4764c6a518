//! Answers that stay open: streams end when their caller's token does, and when the process drains.
//!
//! **Places.** A stream holds a place of [`crate::admission`] only until it is opened. Places bound work, and an idle stream
//! does none; kept, a few hundred watchers would starve every unary call of the service. What streams do cost, memory, has
//! a bound of its own, `server.max_open_streams`, over which a new one is refused as OVERLOADED. Handlers bound what one
//! user may open.
//!
//! **The token.** A stream was admitted once; [`Hold`] tells when a new call with its token would not be, and the stream ends
//! with that very refusal as its status. A revocation wakes the streams it speaks of and no other. A client that does not
//! read cannot be told so, but is sent nothing more either: frames are asked for only as far as its window is open.
//!
//! **Draining.** Open streams end with UNAVAILABLE and a time to come back as soon as the process begins to drain, so that
//! they do not use up the time that unary calls are given to finish.
//!
//! Watches of health and reflection need no token, and are counted and ended like any other stream.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use coreloop_access::{Allowed, Gate, HeaderView, Hold};
use coreloop_core::{Problem, Reason};
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};

/// When a client that was told to go is to come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// The open streams of one service.
pub(crate) struct OpenStreams {
    open: Arc<AtomicUsize>,
    most: usize,
    gauge: Gauge,
    shed: Counter,
    stopping: CancellationToken,
}

impl OpenStreams {
    pub(crate) fn new(most: usize, gauge: Gauge, shed: Counter, stopping: CancellationToken) -> Self {
        Self { open: Arc::default(), most, gauge, shed, stopping }
    }

    /// Admits a call whose answer is a stream.
    pub(crate) async fn admit(&self, gate: &Gate, allowed: &Allowed, headers: &HeaderMap) -> Result<Admitted, Problem> {
        let seat = self.seat()?;
        let hold = gate.hold(&allowed.rpc, &HeaderView::Map(headers)).await?;
        Ok(Admitted { seat, hold, stopping: self.stopping.clone() })
    }

    fn seat(&self) -> Result<Seat, Problem> {
        let seat = Seat { open: Arc::clone(&self.open), gauge: self.gauge.clone() };
        self.gauge.inc();
        if self.open.fetch_add(1, Ordering::Relaxed) < self.most {
            return Ok(seat);
        }
        drop(seat);
        self.shed.inc();
        Err(Problem::common(Reason::Overloaded, "too many streams are open; try again soon").retry_after(COME_BACK))
    }
}

/// One of the streams that may be open; given back when dropped.
struct Seat {
    open: Arc<AtomicUsize>,
    gauge: Gauge,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.gauge.dec();
    }
}

/// A stream that may be opened.
pub(crate) struct Admitted {
    seat: Seat,
    hold: Option<Hold>,
    stopping: CancellationToken,
}

impl Admitted {
    /// The handler's answer, looked after until it ends.
    pub(crate) fn keep(self, response: Response<Body>) -> Response<Body> {
        let Self { seat, hold, stopping } = self;
        let stopping = Box::pin(stopping.cancelled_owned());
        response.map(|body| Body::new(OpenStream { inner: Some((body, seat)), hold, stopping }))
    }
}

/// A body that ends before its time when it must.
struct OpenStream {
    /// None once it ended; what the handler holds is let go then, not when the client has read the end.
    inner: Option<(Body, Seat)>,
    hold: Option<Hold>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl OpenStream {
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Problem> {
        if let Some(hold) = &self.hold
            && let Poll::Ready(denied) = hold.poll_ended(cx)
        {
            return Poll::Ready(denied.into());
        }
        self.stopping.as_mut().poll(cx).map(|()| {
            Problem::common(Reason::DependencyUnavailable, "the service restarts; open the stream again")
                .retry_after(COME_BACK)
        })
    }

    fn end(&mut self, problem: Problem) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.inner = None;
        self.hold = None;
        Poll::Ready(Some(Err(problem.into())))
    }
}

impl http_body::Body for OpenStream {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.inner.is_none() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(problem) = this.poll_ended(cx) {
            return this.end(problem);
        }
        let Some((body, _)) = &mut this.inner else { return Poll::Ready(None) };
        // The layers around a unary call do not reach here: a panic would take the whole connection with it.
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx)));
        polled.unwrap_or_else(|_| this.end(Problem::internal("a stream panicked")))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use tonic::Code;

    use super::*;

    fn streams(most: usize) -> OpenStreams {
        OpenStreams::new(most, Gauge::default(), Counter::default(), CancellationToken::new())
    }

    fn open(streams: &OpenStreams, body: Body) -> Body {
        let admitted = Admitted { seat: streams.seat().unwrap(), hold: None, stopping: streams.stopping.clone() };
        admitted.keep(Response::new(body)).into_body()
    }

    fn endless() -> Body {
        Body::new(StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Status>>()))
    }

    #[tokio::test]
    async fn as_many_as_may_be_are_open_and_one_that_ends_makes_room() {
        let streams = streams(2);
        let first = open(&streams, endless());
        let _second = open(&streams, endless());
        let refused = streams.seat().err().unwrap();
        assert_eq!((refused.reason(), streams.shed.get(), streams.gauge.get()), ("OVERLOADED", 1, 2));
        drop(first);
        assert!(streams.seat().is_ok());
    }

    #[tokio::test]
    async fn draining_ends_what_is_open_and_lets_go_of_it() {
        let streams = streams(2);
        let mut body = open(&streams, endless());
        assert!(futures::poll!(body.frame()).is_pending());
        streams.stopping.cancel();
        let status = body.frame().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(streams.gauge.get(), 0, "also while the client still holds the answer");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_stream_only() {
        let streams = streams(2);
        let panics = futures::stream::poll_fn(|_| -> Poll<Option<Result<Frame<Bytes>, Status>>> { panic!("planted") });
        let mut body = open(&streams, Body::new(StreamBody::new(panics)));
        let status = body.frame().await.unwrap().unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"));
    }
}
