//! What is to be written: whole frames, in order, many in one write.
//!
//! A payload is a `Bytes` that others may hold too: it is encoded once and copied by nobody but the kernel.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{io::AsyncWrite, time::Instant};

use super::frame::{Frame, Opcode};

/// Frames and bytes that may wait before no more is asked for. Beyond them it is the peer upstream that waits.
const FRAMES: usize = 32;
const BYTES: usize = 64 * 1024;
/// Pieces of one write: a head and a payload each.
const PIECES: usize = 32;
/// Frames whose room is kept while nothing waits.
const KEPT: usize = 2;

/// The frames of one socket.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that are written.
    written: usize,
    bytes: usize,
    /// Since when the client takes nothing.
    stuck: Option<Instant>,
}

impl Outgoing {
    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// More may be asked for.
    pub(crate) fn has_room(&self) -> bool {
        self.frames.len() < FRAMES && self.bytes < BYTES
    }

    /// Since when the client takes nothing of what waits; none when nothing waits or it takes it.
    pub(crate) fn stuck_since(&self) -> Option<Instant> {
        self.stuck
    }

    /// Puts a frame behind the others.
    pub(crate) fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Answers a ping. Only the last one that is not yet answered counts (RFC 6455, 5.5.3): who pings and does not read makes
    /// nothing grow.
    pub(crate) fn pong(&mut self, payload: Bytes) {
        let begun = usize::from(self.written > 0);
        let waits = self.frames.iter_mut().skip(begun).find(|frame| frame.opcode() == Opcode::Pong);
        let pong = Frame::new(Opcode::Pong, payload);
        match waits {
            Some(waiting) => {
                self.bytes = self.bytes + pong.len() - waiting.len();
                *waiting = pong;
            }
            None => self.push(pong),
        }
    }

    /// Says goodbye: whatever was not begun goes no more, so that the code arrives as soon as the client reads at all.
    pub(crate) fn close(&mut self, payload: Bytes) {
        self.frames.truncate(usize::from(self.written > 0));
        self.bytes = self.frames.iter().map(Frame::len).sum::<usize>().saturating_sub(self.written);
        self.push(Frame::new(Opcode::Close, payload));
    }

    /// Puts the goodbye behind all that waits.
    pub(crate) fn close_after_all(&mut self, payload: Bytes) {
        self.push(Frame::new(Opcode::Close, payload));
    }

    /// Writes what waits. Ready when nothing does any more.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.frames.is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let many = self.pieces(&mut pieces);
            let pieces = pieces.get(..many).unwrap_or_default();
            let written = match Pin::new(&mut *writer).poll_write_vectored(cx, pieces) {
                Poll::Ready(written) => written?,
                Poll::Pending => {
                    self.stuck.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.stuck = None;
            self.advance(written);
        }
        ready!(Pin::new(writer).poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }

    /// Fills `pieces` with what waits; answers how many.
    fn pieces<'a>(&'a self, pieces: &mut [IoSlice<'a>; PIECES]) -> usize {
        let (mut skip, mut many) = (self.written, 0);
        let mut free = pieces.iter_mut();
        for bytes in self.frames.iter().flat_map(|frame| [frame.head(), frame.payload.as_ref()]) {
            let rest = bytes.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(bytes.len());
            if rest.is_empty() {
                continue;
            }
            let Some(piece) = free.next() else { break };
            *piece = IoSlice::new(rest);
            many += 1;
        }
        many
    }

    fn advance(&mut self, written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        self.written += written;
        while let Some(first) = self.frames.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.frames.pop_front();
        }
        if self.frames.is_empty() {
            self.frames.shrink_to(KEPT);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// A client that takes so many bytes at a time, and then waits to be asked again.
    struct Sip {
        took: Vec<u8>,
        sips: VecDeque<usize>,
    }

    impl AsyncWrite for Sip {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
            let Some(most) = self.sips.pop_front() else { return Poll::Pending };
            let many = most.min(from.len());
            self.took.extend_from_slice(&from[..many]);
            Poll::Ready(Ok(many))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            from: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let Some(most) = self.sips.pop_front() else { return Poll::Pending };
            let all: Vec<u8> = from.iter().flat_map(|piece| piece.to_vec()).take(most).collect();
            self.took.extend_from_slice(&all);
            Poll::Ready(Ok(all.len()))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn text(payload: &[u8]) -> Frame {
        Frame::text(Bytes::copy_from_slice(payload))
    }

    fn wire(frames: &[Frame]) -> Vec<u8> {
        frames.iter().flat_map(|frame| [frame.head(), &frame.payload[..]].concat()).collect()
    }

    #[tokio::test]
    async fn frames_go_whole_and_in_order_in_one_write() {
        let (mut server, mut client) = tokio::io::duplex(1024);
        let frames = [text(b"one"), text(b"two"), text(&[b'x'; 200])];
        let mut outgoing = Outgoing::default();
        frames.iter().for_each(|frame| outgoing.push(frame.clone()));
        std::future::poll_fn(|cx| outgoing.poll_write(&mut server, cx)).await.unwrap();
        drop(server);
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, wire(&frames));
        assert_eq!((outgoing.bytes, outgoing.written, outgoing.is_empty()), (0, 0, true));
    }

    #[test]
    fn a_payload_is_shared_and_not_copied() {
        let payload = Bytes::from(vec![b'x'; 4096]);
        let frames = [Frame::text(payload.clone()), Frame::text(payload.clone())];
        assert!(frames.iter().all(|frame| frame.payload.as_ptr() == payload.as_ptr()));
    }

    #[test]
    fn the_last_ping_alone_is_answered_and_a_begun_answer_stays() {
        let mut outgoing = Outgoing::default();
        for number in 0..1000_u32 {
            outgoing.pong(Bytes::copy_from_slice(&number.to_be_bytes()));
        }
        assert_eq!((outgoing.frames.len(), &outgoing.frames[0].payload[..]), (1, &999_u32.to_be_bytes()[..]));
        let mut sip = Sip { took: Vec::new(), sips: [3].into() };
        assert!(outgoing.poll_write(&mut sip, &mut Context::from_waker(Waker::noop())).is_pending());
        outgoing.pong(Bytes::from_static(b"next"));
        assert_eq!(outgoing.frames.len(), 2, "half of the first is on the wire");
    }

    #[test]
    fn a_goodbye_overtakes_what_was_not_begun() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut outgoing = Outgoing::default();
        for frame in [text(b"begun"), text(b"never"), text(b"sent")] {
            outgoing.push(frame);
        }
        let mut sip = Sip { took: Vec::new(), sips: [4].into() };
        assert!(outgoing.poll_write(&mut sip, &mut cx).is_pending());
        outgoing.close(Bytes::from_static(&[3, 232]));
        sip.sips = [1000].into();
        assert!(outgoing.poll_write(&mut sip, &mut cx).is_ready());
        let goodbye = Frame::new(Opcode::Close, Bytes::from_static(&[3, 232]));
        assert_eq!(sip.took, wire(&[text(b"begun"), goodbye]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_known_by_when_it_stopped() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut outgoing = Outgoing::default();
        outgoing.push(text(b"hello"));
        assert_eq!(outgoing.stuck_since(), None);
        let mut sip = Sip { took: Vec::new(), sips: VecDeque::new() };
        let began = Instant::now();
        for _ in 0..3 {
            assert!(outgoing.poll_write(&mut sip, &mut cx).is_pending());
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        assert_eq!(outgoing.stuck_since(), Some(began));
        sip.sips = [1, 100].into();
        assert!(outgoing.poll_write(&mut sip, &mut cx).is_ready());
        assert_eq!(outgoing.stuck_since(), None);
    }

    proptest! {
        /// However little is taken at a time, the wire has the frames, whole and in order, and the account is right.
        #[test]
        fn the_wire_has_every_byte_once(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..40),
            sips in prop::collection::vec(1..500_usize, 1..10),
        ) {
            let frames: Vec<_> = payloads.iter().map(|payload| text(payload)).collect();
            let mut cx = Context::from_waker(Waker::noop());
            let mut outgoing = Outgoing::default();
            frames.iter().for_each(|frame| outgoing.push(frame.clone()));
            let mut sip = Sip { took: Vec::new(), sips: VecDeque::new() };
            let whole = wire(&frames);
            while !outgoing.is_empty() {
                sip.sips = sips.iter().copied().collect();
                let _more_to_come = outgoing.poll_write(&mut sip, &mut cx);
                prop_assert_eq!(outgoing.bytes, whole.len() - sip.took.len());
            }
            prop_assert_eq!(sip.took, whole);
        }
    }
}
