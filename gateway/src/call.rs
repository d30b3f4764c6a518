//! One gRPC call with messages as bytes: the wire framing, straight.
//!
//! A gRPC message is a flag, a length and a payload (PROTOCOL-HTTP2). A unary call is one such frame each way, so it is
//! written and read here without a codec: one allocation out, none in when the reply arrives in one chunk.

use bytes::{Buf as _, Bytes, BytesMut};
use coreloop_core::{Problem, Reason};
use coreloop_service::{Link, frame};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Full};
use tonic::{Code, Status, body::Body};
use tower::Service as _;

/// Times a call is sent whose peer cannot have seen it: a few, for each of a peer's connections may end at once.
const TRIES: u32 = 4;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// The reply of a unary call.
pub(crate) struct Reply {
    /// Header metadata.
    pub(crate) headers: HeaderMap,
    /// The message, protobuf.
    pub(crate) message: Bytes,
    /// Trailer metadata.
    pub(crate) trailers: HeaderMap,
}

/// Calls a unary RPC.
///
/// # Errors
/// The status of the service, or one of ours with a fixed text when it could not be had.
pub(crate) async fn unary(
    link: Link,
    path: PathAndQuery,
    metadata: HeaderMap,
    message: &[u8],
    limit: usize,
) -> Result<Reply, Status> {
    let (headers, mut messages) = open(link, path, metadata, message, limit).await?;
    let Some(message) = messages.next().await? else { return Err(broken("a reply without a message")) };
    if messages.next().await?.is_some() {
        return Err(broken("a unary reply with two messages"));
    }
    Ok(Reply { headers, message, trailers: messages.trailers })
}

/// Opens a call and reads no message yet.
///
/// # Errors
/// As [`unary`].
pub(crate) async fn open(
    mut link: Link,
    path: PathAndQuery,
    metadata: HeaderMap,
    message: &[u8],
    limit: usize,
) -> Result<(HeaderMap, Messages), Status> {
    // A peer that drains lets the calls it has taken end; one that it did not take finds another.
    let again = link.is_remote().then(|| (path.clone(), metadata.clone()));
    let (mut next, mut tries) = (request(path, metadata, one(message)), 1);
    let response = loop {
        match (link.call(next).await, &again) {
            (Ok(response), _) => break response,
            (Err(error), Some((path, metadata))) if tries < TRIES && unsent(&error) => {
                tries += 1;
                next = request(path.clone(), metadata.clone(), one(message));
            }
            (Err(error), _) => return Err(unreached(&link, tries, &error)),
        }
    };
    answered(response, limit)
}

/// Opens a call whose messages come as the client says them, framed, in `body`; it is sent once.
///
/// # Errors
/// As [`unary`].
pub(crate) async fn open_both_ways(
    mut link: Link,
    path: PathAndQuery,
    metadata: HeaderMap,
    body: Body,
    limit: usize,
) -> Result<(HeaderMap, Messages), Status> {
    match link.call(request(path, metadata, body)).await {
        Ok(response) => answered(response, limit),
        Err(error) => Err(unreached(&link, 1, &error)),
    }
}

/// What a service says before its first message.
fn answered(response: Response<Body>, limit: usize) -> Result<(HeaderMap, Messages), Status> {
    let (parts, body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers) {
        return match status.code() {
            Code::Ok => Ok((parts.headers, Messages::new(Body::empty(), limit, true))),
            _ => Err(with_metadata(status, &parts.headers)),
        };
    }
    if parts.status != StatusCode::OK {
        return Err(from_http(parts.status));
    }
    Ok((parts.headers, Messages::new(body, limit, false)))
}

fn unreached(link: &Link, tries: u32, error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::warn!(peer = link.name(), tries, error, "call did not reach its peer");
    unanswered(error)
}

/// The peer cannot have seen the call: it was not connected, or said that it takes no more (GOAWAY, REFUSED_STREAM; RFC
/// 9113, 6.8 and 8.7), or the connection was closed before the call was written.
fn unsent(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
        let turned_away = |error: &h2::Error| {
            error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
        };
        error.downcast_ref().is_some_and(refused)
            || error.downcast_ref().is_some_and(hyper::Error::is_canceled)
            || error.downcast_ref().is_some_and(turned_away)
    })
}

fn one(message: &[u8]) -> Body {
    Body::new(Full::new(frame::write(message)))
}

fn request(path: PathAndQuery, metadata: HeaderMap, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = Uri::from(path);
    *request.headers_mut() = metadata;
    request.headers_mut().insert(header::TE, TRAILERS);
    request.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    request
}

/// The messages of a reply, in order, then its trailers.
pub(crate) struct Messages {
    body: Body,
    held: Bytes,
    limit: usize,
    /// Trailer metadata, complete once [`Messages::next`] answered none.
    pub(crate) trailers: HeaderMap,
    ended: bool,
}

impl Messages {
    fn new(body: Body, limit: usize, ended: bool) -> Self {
        Self { body, held: Bytes::new(), limit, trailers: HeaderMap::new(), ended }
    }

    /// The next message; none after the last, when the service ended well.
    ///
    /// # Errors
    /// As [`unary`].
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.frame().await {
                None => {
                    self.end()?;
                }
                Some(Err(status)) => {
                    tracing::warn!(error = &status as &dyn std::error::Error, "a reply broke off");
                    return Err(away());
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.push(data),
                    Err(frame) => self.trailers = frame.into_trailers().unwrap_or_default(),
                },
            }
        }
    }

    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let Some((&[flag, a, b, c, d], _)) = self.held.split_first_chunk::<{ frame::HEADER }>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if flag != 0 {
            return Err(broken("a compressed reply that was not asked for"));
        }
        if length > self.limit {
            return Err(broken("a reply larger than gateway.reply_limit_bytes"));
        }
        if self.held.len() < frame::HEADER + length {
            return Ok(None);
        }
        self.held.advance(frame::HEADER);
        Ok(Some(self.held.split_to(length)))
    }

    fn push(&mut self, data: Bytes) {
        if self.held.is_empty() {
            self.held = data;
            return;
        }
        let mut joined =
            std::mem::take(&mut self.held).try_into_mut().unwrap_or_else(|held| BytesMut::from(held.as_ref()));
        joined.extend_from_slice(&data);
        self.held = joined.freeze();
    }

    fn end(&mut self) -> Result<(), Status> {
        self.ended = true;
        match Status::from_header_map(&self.trailers) {
            Some(status) if status.code() == Code::Ok && self.held.is_empty() => Ok(()),
            Some(status) if status.code() == Code::Ok => Err(broken("a reply that ends within a message")),
            Some(status) => Err(with_metadata(status, &self.trailers)),
            None => Err(broken("a reply without a status")),
        }
    }
}

/// Keeps what came beside the status, as `ratelimit-*`.
fn with_metadata(mut status: Status, headers: &HeaderMap) -> Status {
    *status.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers.clone());
    status
}

/// What a call that got no answer is told. The channel gives up at the deadline, a little before the peer can say that it
/// passed; that is no fault of the peer.
pub(crate) fn unanswered(error: &(dyn std::error::Error + 'static)) -> Status {
    match std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<tonic::TimeoutExpired>()) {
        true => Problem::common(Reason::DeadlineExceeded, "the deadline passed").into(),
        false => away(),
    }
}

/// A peer that is not there or went away.
pub(crate) fn away() -> Status {
    Problem::common(Reason::DependencyUnavailable, "a part that this call needs is away")
        .retry_after(std::time::Duration::from_secs(1))
        .into()
}

fn broken(what: &'static str) -> Status {
    tracing::error!(what, "a service broke the gRPC protocol");
    Problem::common(Reason::Internal, "internal error").into()
}

/// A reply that is not gRPC: something between here and the service answered (gRPC's http-grpc-status-mapping).
fn from_http(status: StatusCode) -> Status {
    tracing::warn!(status = status.as_u16(), "an answer that is not gRPC");
    match status.as_u16() {
        429 | 502 | 503 | 504 => away(),
        _ => Problem::common(Reason::Internal, "internal error").into(),
    }
}
