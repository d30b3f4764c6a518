//! The first bytes of a connection, in time.
//!
//! hyper bounds the time of a head of HTTP/1.1, but not of what comes before it knows the version: a client that sends
//! nothing, or half a preface of HTTP/2, would hold its connection for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// How a connection of HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that fails to be read when it is not clear in time which protocol it speaks.
pub(crate) struct Opening<S> {
    stream: S,
    /// Bytes of the preface that came; gone once the protocol is clear.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Opening<S> {
    /// Allows `patience` for the first bytes of `stream`.
    pub(crate) fn within(patience: Duration, stream: S) -> Self {
        Self { stream, waiting: Some((Box::pin(tokio::time::sleep(patience)), 0)) }
    }

    /// The stream, once it speaks something else.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some((clock, seen)) = &mut this.waiting else { return Pin::new(&mut this.stream).poll_read(cx, into) };
        let before = into.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, into) {
            Poll::Ready(Ok(())) => {
                let read = into.filled().get(before..).unwrap_or_default();
                let rest = PREFACE.get(*seen..).unwrap_or_default();
                *seen += read.len();
                if read.len() >= rest.len() || !rest.starts_with(read) {
                    this.waiting = None;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending if clock.as_mut().poll(cx).is_ready() => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "nothing that tells the protocol came in time",
            ))),
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Whether a client that sends `first` and then nothing is given up within the time.
    async fn given_up(first: &[u8]) -> bool {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(first).await.unwrap();
        let mut opening = Opening::within(PATIENCE, server);
        let mut bytes = [0; 64];
        let reads = async {
            loop {
                if opening.read(&mut bytes).await.is_err() {
                    break;
                }
            }
        };
        tokio::time::timeout(2 * PATIENCE, reads).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn what_tells_no_protocol_is_given_up() {
        for first in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            assert!(given_up(first).await, "{}", first.escape_ascii());
        }
        // From here on hyper's own timers count.
        for first in [&b"G"[..], b"POST", PREFACE, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0"] {
            assert!(!given_up(first).await, "{}", first.escape_ascii());
        }
    }
}
