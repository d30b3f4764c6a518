//! Server streams: a JSON line a message, or server-sent events where the client asks for them.
//!
//! A failure before the first message is a reply of its own, `{"error":…}` with the mapped status. After it the status
//! line is gone, so the failure is the last line. A stream does not wait for its first message longer than
//! a second: browsers report a stream as open only once its headers have come. While it says nothing it beats, by comments of events
//! and by empty lines: whoever is between closes what is silent. Events carry no id, for the edge has no
//! place to go on from: a stream begins with the state, and each of its messages is whole (docs/streams.md).

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use coreloop_core::Problem;
use coreloop_transcode::{
    options::Lang,
    response::{ndjson_error, ndjson_result, sse_event},
    router::Route,
};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};

use crate::{
    call::{self, Messages},
    edge::{Shared, lang},
    fail::{Failure, JSON},
    outbound,
    passing::restarting,
    rest::{Ready, late},
    table::NO_STORE,
};

const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
/// Of an event stream: a comment.
const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");
/// Of lines: one that says nothing.
const EMPTY: Bytes = Bytes::from_static(b"\n");
/// How long a stream waits for its first message before its headers are sent.
const FIRST: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Lines,
    Events,
    Raw,
}

/// Opens the stream and answers its first message, or the failure that came instead.
pub(crate) async fn serve(shared: &Arc<Shared>, ready: Ready<'_>) -> Result<Response<Body>, Failure> {
    let shape = shape(&ready);
    let until = ready.deadline.map(|deadline| Instant::now() + deadline);
    let link = ready.row.link.clone();
    let opening =
        call::open(link, ready.row.path.clone(), ready.metadata, &ready.message, shared.options.reply_limit_bytes);
    let opened = unless_stopping(&shared.stopping, bounded(until, opening)).await;
    let (metadata, messages) = opened.map_err(Failure::in_stream)?;
    let mut pump = Pump {
        shared: Arc::clone(shared),
        route: ready.route,
        messages,
        shape,
        lang: lang(ready.headers),
        until,
        state: State::Open,
    };
    let first = async {
        match shape {
            // Its type is in its first message, and what is not ours is not to be told empty lines.
            Shape::Raw => pump.message().await,
            Shape::Lines | Shape::Events => timeout(FIRST, pump.message()).await.unwrap_or(Ok(First::Later)),
        }
    };
    let first = unless_stopping(&shared.stopping, first).await.map_err(Failure::in_stream)?;
    let mut kind = if shape == Shape::Events { EVENTS } else { JSON };
    let first = match first {
        First::Message(message) => {
            if shape == Shape::Raw {
                kind = raw_kind(shared, ready.route, &message)?;
            }
            Some(pump.frame(&message)?)
        }
        First::End => {
            pump.state = State::Ended;
            None
        }
        First::Later => None,
    };
    Ok(respond(&metadata, kind, Body::new(StreamBody::new(pump.chunks(first)))))
}

fn respond(metadata: &HeaderMap, kind: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    outbound::headers(metadata, response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    response
}

fn shape(ready: &Ready<'_>) -> Shape {
    let accepts = |kind: &str| {
        let accepted = ready.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        accepted
            .flat_map(|value| value.split(','))
            .any(|entry| entry.split(';').next().is_some_and(|k| k.trim() == kind))
    };
    match ready.row.raw {
        true => Shape::Raw,
        false if accepts("text/event-stream") => Shape::Events,
        false => Shape::Lines,
    }
}

fn raw_kind(shared: &Shared, route: &Route, message: &[u8]) -> Result<HeaderValue, Failure> {
    let kind = shared.encoder.encode(route, message)?.content_type;
    Ok(HeaderValue::try_from(kind.as_ref()).unwrap_or(HeaderValue::from_static("application/octet-stream")))
}

async fn bounded<T>(until: Option<Instant>, act: impl Future<Output = Result<T, Status>>) -> Result<T, Failure> {
    match until {
        Some(until) => timeout_at(until, act).await.map_err(|_| late())?.map_err(Failure::from),
        None => act.await.map_err(Failure::from),
    }
}

/// A stream that is not open yet would hold the drain up as long as its service is silent.
async fn unless_stopping<T>(
    stopping: &CancellationToken,
    act: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    stopping.run_until_cancelled(act).await.unwrap_or_else(|| Err(restarting().into()))
}

enum First {
    Message(Bytes),
    End,
    Later,
}

#[derive(PartialEq, Eq)]
enum State {
    Open,
    Ended,
}

struct Pump {
    shared: Arc<Shared>,
    route: &'static Route,
    messages: Messages,
    shape: Shape,
    lang: Option<Lang>,
    until: Option<Instant>,
    state: State,
}

impl Pump {
    /// The next message. Dropping the future loses nothing.
    async fn message(&mut self) -> Result<First, Failure> {
        match bounded(self.until, self.messages.next()).await? {
            Some(message) => Ok(First::Message(message)),
            None => Ok(First::End),
        }
    }

    fn frame(&mut self, message: &[u8]) -> Result<Bytes, Failure> {
        if self.shape == Shape::Raw {
            return Ok(self.shared.encoder.encode(self.route, message)?.body);
        }
        let json = self.shared.encoder.stream_json(self.route, message)?;
        if self.shape == Shape::Lines {
            return Ok(ndjson_result(&json));
        }
        Ok(sse_event(&json))
    }

    fn last_words(&mut self, failure: Failure) -> Option<Bytes> {
        self.state = State::Ended;
        let error = ndjson_error(&failure.json(&self.shared.encoder, self.lang).body);
        match self.shape {
            Shape::Raw => None,
            Shape::Lines => Some(error),
            Shape::Events => Some([b"event: error\ndata: ", error.trim_ascii_end(), b"\n\n"].concat().into()),
        }
    }

    /// The next piece of the body; none at its end.
    async fn chunk(&mut self) -> Option<Bytes> {
        if self.state == State::Ended {
            return None;
        }
        let stopping = self.shared.stopping.clone();
        let beat = Duration::from_secs(self.shared.options.heartbeat_secs);
        let (beats, heartbeat) = match self.shape {
            Shape::Lines => (true, EMPTY),
            Shape::Events => (true, COMMENT),
            Shape::Raw => (false, EMPTY),
        };
        let next = tokio::select! {
            next = self.message() => next,
            () = stopping.cancelled() => Err(Failure::from(restarting())),
            () = tokio::time::sleep(beat), if beats => return Some(heartbeat),
        };
        match next {
            Ok(First::Message(message)) => match self.frame(&message) {
                Ok(chunk) => Some(chunk),
                Err(failure) => self.last_words(failure),
            },
            Ok(First::End | First::Later) => None,
            Err(failure) => self.last_words(failure),
        }
    }

    fn chunks(self, first: Option<Bytes>) -> impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>> {
        futures::stream::unfold((self, first), |(mut pump, first)| async move {
            let chunk = match first {
                Some(first) => Some(first),
                // A panic here would end the connection, which Envoy shares between many callers.
                None => AssertUnwindSafe(pump.chunk()).catch_unwind().await.unwrap_or_else(|_| {
                    tracing::error!(route = %pump.route.template, "a stream panicked");
                    pump.last_words(Problem::internal("panic").into())
                }),
            };
            chunk.map(|chunk| (Ok(Frame::data(chunk)), (pump, None)))
        })
    }
}
