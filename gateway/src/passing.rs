//! gRPC streams that pass through the edge: they end with it.
//!
//! A stream of REST is written by the edge, which ends it by itself. One that speaks gRPC or gRPC-Web is only handed on; when
//! the edge drains, its service lives on and would keep it open until the connection is cut. When its service is gone instead,
//! the caller is told so in trailers: a browser could not tell a broken reply from a finished one.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use coreloop_core::{Problem, Reason};
use http::HeaderMap;
use http_body::Frame;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};

use crate::call::away;

/// A reply that ends with UNAVAILABLE when the edge drains or its service is gone.
pub(crate) struct Passing {
    body: Option<Body>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Passing {
    pub(crate) fn new(body: Body, stopping: CancellationToken) -> Self {
        Self { body: Some(body), stopping: Box::pin(stopping.cancelled_owned()) }
    }
}

impl http_body::Body for Passing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if this.stopping.as_mut().poll(cx).is_ready() {
            this.body = None;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers(&restarting().into())))));
        }
        Pin::new(body).poll_frame(cx).map(|frame| match frame {
            Some(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a stream broke off");
                this.body = None;
                Some(Ok(Frame::trailers(trailers(&away()))))
            }
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}

/// The edge drains.
pub(crate) fn restarting() -> Problem {
    Problem::common(Reason::DependencyUnavailable, "the edge restarts; open the stream again")
        .retry_after(std::time::Duration::from_secs(1))
}

fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if status.add_header(&mut headers).is_err() {
        headers.insert(Status::GRPC_STATUS, http::HeaderValue::from_static("14"));
    }
    headers
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    #[tokio::test]
    async fn a_stream_ends_with_the_edge() {
        let stopping = CancellationToken::new();
        let silent = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Status>>());
        let mut body = Passing::new(Body::new(silent), stopping.clone());
        assert!(futures::poll!(body.frame()).is_pending());
        stopping.cancel();
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(Status::from_header_map(&trailers).unwrap().code(), tonic::Code::Unavailable);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_says_so() {
        let broken = futures::stream::iter([Err::<Frame<Bytes>, _>(Status::from(Problem::internal("reset by peer")))]);
        let mut body = Passing::new(Body::new(StreamBody::new(broken)), CancellationToken::new());
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(Status::from_header_map(&trailers).unwrap().code(), tonic::Code::Unavailable);
        assert!(body.frame().await.is_none());
    }
}
