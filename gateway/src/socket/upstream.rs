//! The stream behind a socket: opened as any server stream, when it is known who asks.

use bytes::Bytes;
use coreloop_service::{Link, call::once};
use http::{HeaderMap, HeaderValue, header, uri::PathAndQuery};

use crate::{
    call::{self, Messages},
    edge::Shared,
    fail::Failure,
    passing::restarting,
};

/// A call that is ready to be made.
pub(crate) struct Opening {
    pub(crate) link: Link,
    pub(crate) path: PathAndQuery,
    pub(crate) metadata: HeaderMap,
    pub(crate) message: Bytes,
}

impl Opening {
    /// Says who asks.
    pub(crate) fn authorize(&mut self, token: HeaderValue) {
        self.metadata.insert(header::AUTHORIZATION, once(token));
    }

    /// Opens it. Its metadata and its messages.
    ///
    /// # Errors
    /// The status of the service, UNAVAILABLE when it is away or the edge drains.
    pub(crate) async fn open(self: Box<Self>, shared: &Shared) -> Result<(HeaderMap, Messages), Failure> {
        let Self { link, path, metadata, message } = *self;
        let opening = call::open(link, path, metadata, &message, shared.options.reply_limit_bytes);
        let opened = shared.stopping.run_until_cancelled(opening).await;
        opened.unwrap_or_else(|| Err(restarting().into())).map_err(Failure::from)
    }
}
