//! Bodies that are refused before they are read, over HTTP/1.
//!
//! A connection that is closed while its client still writes is reset, and the client may find that before it finds the answer that
//! told it why (RFC 9112, 9.6). So what is left of a large body is read and thrown away for a while. HTTP/2 says when to stop.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::{runtime::Handle, sync::Semaphore};
use tonic::{Status, body::Body};

use crate::body::stated;

/// What is as small is here with the head or after one more read, which hyper does by itself.
const SMALL: u64 = 4 * 1024;
/// Most that is thrown away of one body, in bytes and in time.
const MOST: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(2);
/// Bodies that are thrown away at once; of more the connection is closed.
const AT_ONCE: usize = 64;

static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

/// A body that is read to its end when it is dropped before.
struct Lingering {
    body: Body,
    ended: bool,
}

/// The body of a request, of which what nobody reads is thrown away when it is large.
pub(crate) fn lingering(version: Version, headers: &HeaderMap, body: Body) -> Body {
    let large = match stated(headers) {
        Some(length) => length > SMALL,
        None => headers.contains_key(header::TRANSFER_ENCODING),
    };
    if large && version < Version::HTTP_2 { Body::new(Lingering { body, ended: false }) } else { body }
}

impl http_body::Body for Lingering {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.ended |= matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if self.ended || self.body.is_end_stream() {
            return;
        }
        let (Ok(runtime), Ok(place)) = (Handle::try_current(), PLACES.try_acquire()) else { return };
        let mut body = std::mem::take(&mut self.body);
        runtime.spawn(async move {
            let _place = place;
            let thrown_away = async {
                let mut left = MOST;
                while let Some(Ok(frame)) = body.frame().await {
                    let bytes = frame.data_ref().map_or(0, |data| data.remaining());
                    if bytes > left {
                        break;
                    }
                    left -= bytes;
                }
            };
            let _in_time = tokio::time::timeout(PATIENCE, thrown_away).await;
        });
    }
}
