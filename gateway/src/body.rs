//! Request bodies: each bounded in size and in time, all of them in sum.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use coreloop_core::{Problem, Reason};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;

use crate::fail::Failure;

/// Room for the bodies that the edge holds at once, in bytes.
pub(crate) struct Room(Arc<Semaphore>);

/// A part of the room, given back when dropped.
pub(crate) type Place = Option<OwnedSemaphorePermit>;

/// A whole body and the room it takes.
#[derive(Default)]
pub(crate) struct Held {
    /// The body.
    pub(crate) bytes: Bytes,
    /// Kept for as long as the body, or what was made of it, is.
    pub(crate) place: Place,
}

/// What one body may be.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes.
    pub(crate) limit: usize,
    /// Time until all of it is here.
    pub(crate) patience: Duration,
}

impl Room {
    /// Room for `bytes`.
    pub(crate) fn new(bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let bytes = u32::try_from(bytes).map_err(|_| too_large())?;
        Arc::clone(&self.0).try_acquire_many_owned(bytes).map_err(|_| full())
    }

    /// Reads a body. One that states a greater length than it may have is refused unread; room is taken as bytes come, so
    /// that a length which is only stated takes none.
    ///
    /// # Errors
    /// 413 `BODY_TOO_LARGE`, 415 for an encoded body, 408 when it does not arrive in time, 400 when it breaks off, 503
    /// `OVERLOADED` when there is no room.
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body, bounds: Bounds) -> Result<Held, Failure> {
        if stated(headers).is_some_and(|length| length > bounds.limit as u64) {
            return Err(too_large());
        }
        if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(Failure::common(
                Reason::UnsupportedMediaType,
                "request bodies are sent without content-encoding",
            ));
        }
        // Most bodies are here already: no timer for those.
        let mut first = std::pin::pin!(self.collect(body, bounds.limit));
        match futures::poll!(&mut first) {
            std::task::Poll::Ready(read) => read,
            std::task::Poll::Pending => {
                tokio::time::timeout(bounds.patience, first).await.unwrap_or_else(|_| Err(too_slow()))
            }
        }
    }

    async fn collect(&self, mut body: Body, limit: usize) -> Result<Held, Failure> {
        let mut held = Held::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Failure::common(Reason::MalformedRequest, "the body broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if held.bytes.len() + data.len() > limit {
                return Err(too_large());
            }
            held.push(data, self)?;
        }
        Ok(held)
    }
}

impl Held {
    fn push(&mut self, data: Bytes, room: &Room) -> Result<(), Failure> {
        let more = room.take(data.len())?;
        match &mut self.place {
            Some(place) => place.merge(more),
            none => *none = Some(more),
        }
        if self.bytes.is_empty() {
            self.bytes = data;
        } else {
            let whole = std::mem::take(&mut self.bytes);
            let mut joined = whole.try_into_mut().unwrap_or_else(|part| BytesMut::from(part.as_ref()));
            joined.extend_from_slice(&data);
            self.bytes = joined.freeze();
        }
        Ok(())
    }
}

/// The length a request states, when it states one.
pub(crate) fn stated(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The body is larger than admitted.
pub(crate) fn too_large() -> Failure {
    Failure::common(Reason::BodyTooLarge, "the body is larger than this call admits")
}

fn too_slow() -> Failure {
    Failure::common(Reason::DeadlineExceeded, "the body did not arrive in time").answered(StatusCode::REQUEST_TIMEOUT)
}

fn full() -> Failure {
    Problem::common(Reason::Overloaded, "more bodies are being read than can be held")
        .retry_after(Duration::from_secs(1))
        .into()
}
