//! A connection that stops speaking HTTP: what the listener hands to the edge when both agree to it (RFC 9110, 7.8).
//!
//! Who listens puts an [`Upgrade`] on each request that asks for one; who answers `101 Switching Protocols` takes the stream from it.
//! It is the bare stream, without what HTTP needed around it: a connection that stays open for hours costs what it is made of.

use std::{fmt, io, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// A stream of bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for S {}

/// A connection that speaks HTTP no more.
pub struct Upgraded {
    /// What is left of it.
    pub stream: Box<dyn Duplex>,
    /// What the client sent right behind its request, and HTTP has read already.
    pub early: Bytes,
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").field("early", &self.early.len()).finish_non_exhaustive()
    }
}

/// The upgrade that a request asks for: an extension of the request. It comes true when the answer was `101`.
#[derive(Clone)]
pub struct Upgrade(Arc<dyn Fn() -> BoxFuture<'static, io::Result<Upgraded>> + Send + Sync>);

impl Upgrade {
    /// An upgrade that `take` waits for.
    pub fn new<F, Fut>(take: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<Upgraded>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(take())))
    }

    /// Waits until the answer was sent, and takes the connection. The first who asks gets it.
    ///
    /// # Errors
    /// When the answer was another, the connection is gone, or somebody has taken it.
    pub async fn taken(&self) -> io::Result<Upgraded> {
        (self.0)().await
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgrade")
    }
}
