//! One connection after its upgrade: what is owed goes out, what is said comes in.
//!
//! Bytes are read into the stack of the one poll that finds them there. **An idle connection holds no buffer at all**, neither
//! to read nor to write.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use coreloop_service::upgrade::{Duplex, Upgraded};
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    time::Instant,
};

use super::{
    close::Close,
    frame::{Fault, Frame, Opcode},
    incoming::{Incoming, Said},
    outgoing::Outgoing,
};

/// Bytes that are read at once.
const READ: usize = 2048;
/// How long a client has to take a goodbye and to answer it.
const GOODBYE: Duration = Duration::from_secs(3);

/// What happened on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The client said this.
    Said(Said),
    /// All that was owed is with the client's system: there is room again.
    Written,
    /// What the client said cannot go on.
    Broken(Fault),
    /// The connection is gone.
    Gone,
}

/// One connection.
pub(crate) struct Wire {
    stream: Box<dyn Duplex>,
    incoming: Incoming,
    outgoing: Outgoing,
    heard: Instant,
}

impl Wire {
    /// A connection that was just upgraded, and takes messages of at most `limit` bytes.
    pub(crate) fn new(upgraded: Upgraded, limit: usize) -> Self {
        let mut incoming = Incoming::new(limit);
        incoming.push(&upgraded.early);
        Self { stream: upgraded.stream, incoming, outgoing: Outgoing::default(), heard: Instant::now() }
    }

    /// More may be sent without anything growing.
    pub(crate) fn has_room(&self) -> bool {
        self.outgoing.has_room()
    }

    /// When the client was last heard.
    pub(crate) fn heard(&self) -> Instant {
        self.heard
    }

    /// Since when the client takes nothing of what waits for it.
    pub(crate) fn stuck_since(&self) -> Option<Instant> {
        self.outgoing.stuck_since()
    }

    /// Sends a text.
    pub(crate) fn send(&mut self, text: Bytes) {
        self.outgoing.push(Frame::text(text));
    }

    /// Asks whether the client is there. From now on it may send as many frames without a message again.
    pub(crate) fn ping(&mut self) {
        self.incoming.beat();
        self.outgoing.push(Frame::new(Opcode::Ping, Bytes::new()));
    }

    /// The next event. Dropping the future loses nothing.
    pub(crate) fn event(&mut self) -> impl Future<Output = Event> {
        poll_fn(move |cx| self.poll_event(cx))
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            // Before more is read. Who sends and does not read makes nothing grow: of pings the last alone is answered.
            let owed = !self.outgoing.is_empty();
            match self.outgoing.poll_write(&mut self.stream, cx) {
                Poll::Ready(Err(error)) => return gone(&error),
                Poll::Ready(Ok(())) if owed => return Poll::Ready(Event::Written),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            match self.incoming.next() {
                Ok(Some(Said::Ping(payload))) => {
                    self.outgoing.pong(payload);
                    continue;
                }
                Ok(Some(said)) => return Poll::Ready(Event::Said(said)),
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Event::Broken(fault)),
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(true)) => self.heard = Instant::now(),
                Poll::Ready(Ok(false)) => return Poll::Ready(Event::Gone),
                Poll::Ready(Err(error)) => return gone(&error),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes what is there; false at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut bytes = [0; READ];
        let mut into = ReadBuf::new(&mut bytes);
        Pin::new(&mut self.stream).poll_read(cx, &mut into).map_ok(|()| {
            self.incoming.push(into.filled());
            !into.filled().is_empty()
        })
    }

    /// Closes with `close`, what was not begun unsaid, and waits a little for the client to take it and to answer.
    pub(crate) async fn close(mut self, close: &Close) {
        match close == &Close::DONE {
            true => self.outgoing.close_after_all(close.payload()),
            false => self.outgoing.close(close.payload()),
        }
        self.leave(true).await;
    }

    /// Answers a client that closes, with its own code (5.5.1).
    pub(crate) async fn answer_close(mut self, code: Option<u16>) {
        let payload = code.map_or_else(Bytes::new, |code| Bytes::copy_from_slice(&code.to_be_bytes()));
        self.outgoing.close(payload);
        self.leave(false).await;
    }

    /// Writes what is owed; then, so that the last words are not lost in a reset (7.1.1), ends our half and reads on until the
    /// client ends its own.
    async fn leave(mut self, await_answer: bool) {
        let parting = async {
            poll_fn(|cx| self.outgoing.poll_write(&mut self.stream, cx)).await?;
            poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await?;
            while await_answer && poll_fn(|cx| self.poll_drop(cx)).await? {}
            Ok::<_, io::Error>(())
        };
        match tokio::time::timeout(GOODBYE, parting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a socket ended without a goodbye"),
            Err(_) => tracing::debug!("a client did not take its goodbye"),
        }
    }

    /// Reads and forgets; false at the end.
    fn poll_drop(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut bytes = [0; READ];
        let mut into = ReadBuf::new(&mut bytes);
        Pin::new(&mut self.stream).poll_read(cx, &mut into).map_ok(|()| !into.filled().is_empty())
    }
}

fn gone(error: &io::Error) -> Poll<Event> {
    tracing::debug!(%error, "a socket is gone");
    Poll::Ready(Event::Gone)
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("incoming", &self.incoming)
            .field("outgoing", &self.outgoing)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use futures::{SinkExt as _, StreamExt as _};
    use tokio::io::{AsyncWriteExt as _, DuplexStream};
    use tokio_tungstenite::{
        WebSocketStream,
        tungstenite::{Message, protocol::Role},
    };

    use super::*;

    const LIMIT: usize = 16 * 1024;

    fn pair(room: usize) -> (Wire, DuplexStream) {
        let (server, client) = tokio::io::duplex(room);
        (Wire::new(Upgraded { stream: Box::new(server), early: Bytes::new() }, LIMIT), client)
    }

    /// With the reference peer at the other end.
    async fn peers() -> (Wire, WebSocketStream<DuplexStream>) {
        let (wire, client) = pair(64 * 1024);
        (wire, WebSocketStream::from_raw_socket(client, Role::Client, None).await)
    }

    #[tokio::test]
    async fn the_reference_peer_understands_and_is_understood() {
        let (mut wire, mut peer) = peers().await;
        wire.send(Bytes::from_static("안녕".as_bytes()));
        wire.ping();
        assert_eq!(wire.event().await, Event::Written);
        assert_eq!(peer.next().await.unwrap().unwrap(), Message::text("안녕"));
        assert!(matches!(peer.next().await.unwrap().unwrap(), Message::Ping(_)));
        // The peer answers a ping with its next write.
        peer.send(Message::text("hello")).await.unwrap();
        let said = [wire.event().await, wire.event().await];
        assert!(said.contains(&Event::Said(Said::Pong)), "{said:?}");
        assert!(said.contains(&Event::Said(Said::Text("hello".to_owned()))), "{said:?}");
        peer.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
        assert_eq!(wire.event().await, Event::Written);
        assert_eq!(peer.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"there?")));
    }

    #[tokio::test]
    async fn what_came_with_the_handshake_is_heard() {
        let (server, mut client) = tokio::io::duplex(1024);
        // 5.7: "Hello", masked.
        let early = Bytes::from_static(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        let mut wire = Wire::new(Upgraded { stream: Box::new(server), early }, LIMIT);
        assert_eq!(wire.event().await, Event::Said(Said::Text("Hello".to_owned())));
        client.shutdown().await.unwrap();
        assert_eq!(wire.event().await, Event::Gone);
    }

    #[tokio::test]
    async fn a_goodbye_has_its_code_and_reason() {
        let (wire, mut peer) = peers().await;
        let hear = async move {
            let Message::Close(Some(close)) = peer.next().await.unwrap().unwrap() else { panic!("no goodbye") };
            assert_eq!((u16::from(close.code), close.reason.as_str()), (4410, "SLOW_CONSUMER"));
            while let Some(Ok(_)) = peer.next().await {}
        };
        let slow = Close::SLOW;
        tokio::join!(wire.close(&slow), hear);
    }

    #[tokio::test]
    async fn a_client_that_closes_is_answered_with_its_code() {
        let (mut wire, mut peer) = peers().await;
        let talk = async move {
            peer.close(None).await.unwrap();
            while let Some(Ok(_)) = peer.next().await {}
        };
        let answer = async {
            let Event::Said(Said::Close(code)) = wire.event().await else { panic!("no close") };
            wire.answer_close(code).await;
        };
        tokio::join!(talk, answer);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_is_left_all_the_same() {
        let (mut wire, _client) = pair(16);
        wire.send(vec![b'x'; 1000].into());
        assert!(futures::poll!(std::pin::pin!(wire.event())).is_pending());
        assert!(wire.stuck_since().is_some());
        let began = Instant::now();
        wire.close(&Close::SLOW).await;
        assert!((GOODBYE..2 * GOODBYE).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn who_pings_and_does_not_read_makes_nothing_grow() {
        let (mut wire, client) = pair(64);
        let (_unread, mut write) = tokio::io::split(client);
        let ping = [0x89, 0x80 | 4, 0, 0, 0, 0, 1, 2, 3, 4];
        let mut writing = tokio::spawn(async move {
            for _ in 0..900 {
                write.write_all(&ping).await.unwrap();
            }
            write
        });
        let _write = loop {
            tokio::select! {
                event = wire.event() => assert_eq!(event, Event::Written),
                written = &mut writing => break written.unwrap(),
            }
        };
        assert!(wire.stuck_since().is_some() && wire.has_room(), "{wire:?}");
    }
}
