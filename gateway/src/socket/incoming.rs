//! What a client says: bytes in whatever pieces, messages out.
//!
//! **Nothing is kept while nothing is half-way**: a socket that says nothing has no buffer, and one that said a whole message
//! has none any more. What is kept at most is a message and a frame of it, and both have the limit.

use bytes::Bytes;

use super::{
    close::Close,
    frame::{Fault, Head, Opcode, mask},
};

/// Frames without a message, pings and pongs and empty pieces, that a client may send between two of our pings.
const SPARE: u32 = 1_000;

/// Something that a client said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A whole text.
    Text(String),
    /// Are you there? To be answered with the same bytes.
    Ping(Bytes),
    /// Yes.
    Pong,
    /// It closes, or answers that we do; with the code it gave, if any.
    Close(Option<u16>),
}

/// The bytes of one client.
#[derive(Debug)]
pub(crate) struct Incoming {
    limit: usize,
    /// What came; from `at` on it is not yet looked at.
    held: Vec<u8>,
    at: usize,
    /// The pieces of a text that has not ended; none while none has begun.
    text: Option<Vec<u8>>,
    /// Frames without a message that may come yet.
    spare: u32,
}

impl Incoming {
    /// Takes messages of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, held: Vec::new(), at: 0, text: None, spare: SPARE }
    }

    /// From now on so many frames without a message may come again.
    pub(crate) fn beat(&mut self) {
        self.spare = SPARE;
    }

    /// Takes what came. To be followed by [`Incoming::next`] until that says none: what is kept stays bounded so.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next thing that is whole; none when more bytes must come first.
    ///
    /// # Errors
    /// What the protocol or the limit does not admit. Nothing after it has a meaning.
    pub(crate) fn next(&mut self) -> Result<Option<Said>, Fault> {
        loop {
            let Some(head) = Head::read(self.held.get(self.at..).unwrap_or_default())? else {
                self.compact(0);
                return Ok(None);
            };
            let length = self.admitted(&head)?;
            let (begin, end) = (self.at + head.size, self.at + head.size + length);
            let Some(payload) = self.held.get_mut(begin..end) else {
                self.compact(head.size + length);
                return Ok(None);
            };
            mask(payload, head.mask);
            let said = take(&mut self.text, &head, payload)?;
            self.at = end;
            let empty = match said {
                Some(Said::Ping(_) | Said::Pong) => true,
                Some(Said::Text(_) | Said::Close(_)) => false,
                None => length == 0,
            };
            self.spare = self.spare.checked_sub(u32::from(empty)).ok_or(Fault::TooMany)?;
            if said.is_some() {
                return Ok(said);
            }
        }
    }

    /// Forgets what was looked at, and its memory, with room for a frame of so many bytes.
    fn compact(&mut self, frame: usize) {
        if self.at > 0 {
            self.held = self.held.split_off(self.at);
            self.at = 0;
        }
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        self.held.reserve_exact(frame.saturating_sub(self.held.len()));
    }

    /// The length of a frame's payload, if the frame may come now.
    fn admitted(&self, head: &Head) -> Result<usize, Fault> {
        match (head.opcode, &self.text) {
            (Opcode::Binary, _) => return Err(Fault::Binary),
            (Opcode::Text, Some(_)) => return Err(Fault::Protocol("a message within a message")),
            (Opcode::Continuation, None) => return Err(Fault::Protocol("more of a message that never began")),
            _ => {}
        }
        let before = self.text.as_ref().map_or(0, Vec::len);
        let length = usize::try_from(head.length).map_err(|_| Fault::TooLarge)?;
        let fits = before.checked_add(length).is_some_and(|sum| sum <= self.limit);
        // A control frame has its own bound, which the head was held to.
        if fits || head.opcode.is_control() { Ok(length) } else { Err(Fault::TooLarge) }
    }
}

/// What a whole frame says; none when its message goes on.
fn take(so_far: &mut Option<Vec<u8>>, head: &Head, payload: &[u8]) -> Result<Option<Said>, Fault> {
    Ok(Some(match head.opcode {
        Opcode::Ping => Said::Ping(Bytes::copy_from_slice(payload)),
        Opcode::Pong => Said::Pong,
        Opcode::Close => Said::Close(Close::read(payload)?),
        Opcode::Text if head.fin => Said::Text(text(payload.to_vec())?),
        Opcode::Text | Opcode::Continuation => {
            so_far.get_or_insert_default().extend_from_slice(payload);
            match so_far.take_if(|_| head.fin) {
                Some(whole) => Said::Text(text(whole)?),
                None => return Ok(None),
            }
        }
        Opcode::Binary => return Err(Fault::Binary),
    }))
}

fn text(bytes: Vec<u8>) -> Result<String, Fault> {
    String::from_utf8(bytes).map_err(|_| Fault::NotText)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame as Theirs, FrameHeader,
        coding::{Control, Data, OpCode},
    };

    use super::*;

    const LIMIT: usize = 16 * 1024;

    impl Incoming {
        /// Bytes that are kept.
        fn kept(&self) -> usize {
            self.held.capacity() + self.text.as_ref().map_or(0, Vec::capacity)
        }
    }

    /// A frame as the reference peer writes it as a client.
    fn theirs(payload: &[u8], opcode: OpCode, fin: bool, key: [u8; 4]) -> Vec<u8> {
        let head = FrameHeader { is_final: fin, opcode, mask: Some(key), ..FrameHeader::default() };
        let mut bytes = Vec::new();
        Theirs::from_payload(head, payload.to_vec().into()).format(&mut bytes).unwrap();
        bytes
    }

    fn text_frame(payload: &[u8], fin: bool) -> Vec<u8> {
        theirs(payload, OpCode::Data(Data::Text), fin, [1, 2, 3, 4])
    }

    fn more(payload: &[u8], fin: bool) -> Vec<u8> {
        theirs(payload, OpCode::Data(Data::Continue), fin, [4, 3, 2, 1])
    }

    fn control(payload: &[u8], opcode: Control) -> Vec<u8> {
        theirs(payload, OpCode::Control(opcode), true, [9, 9, 9, 9])
    }

    /// All that is said by `bytes`, or the fault that ends it.
    fn all(incoming: &mut Incoming, bytes: &[u8]) -> Result<Vec<Said>, Fault> {
        incoming.push(bytes);
        let mut said = Vec::new();
        while let Some(one) = incoming.next()? {
            said.push(one);
        }
        Ok(said)
    }

    fn fault(bytes: &[u8]) -> Fault {
        all(&mut Incoming::new(LIMIT), bytes).unwrap_err()
    }

    #[test]
    fn pieces_are_one_text_and_control_frames_come_between() {
        let bytes = [
            text_frame("안".as_bytes(), false),
            control(b"are you there", Control::Ping),
            more(&"녕".as_bytes()[..1], false),
            more(b"", false),
            control(b"", Control::Pong),
            more(&"녕".as_bytes()[1..], true),
            text_frame(b"", true),
            control(&[3, 232, b'b', b'y', b'e'], Control::Close),
        ];
        let said = all(&mut Incoming::new(LIMIT), &bytes.concat()).unwrap();
        let expected = [
            Said::Ping(Bytes::from_static(b"are you there")),
            Said::Pong,
            Said::Text("안녕".to_owned()),
            Said::Text(String::new()),
            Said::Close(Some(1000)),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn each_fault_has_its_code() {
        let broken = [text_frame(b"a", false), text_frame(b"b", true)].concat();
        for (bytes, code) in [
            (theirs(b"x", OpCode::Data(Data::Binary), true, [0; 4]), 1003),
            (broken, 1002),
            (more(b"x", true), 1002),
            (text_frame(&[0xff, 0xfe], true), 1007),
            (text_frame("é".as_bytes().get(..1).unwrap(), true), 1007),
            (text_frame(&vec![b'a'; LIMIT + 1], true), 1009),
            ([text_frame(&vec![b'a'; LIMIT], false), more(b"a", true)].concat(), 1009),
            (control(&[3], Control::Close), 1002),
            (control(&1005_u16.to_be_bytes(), Control::Close), 1002),
            (control(&[3, 232, 0xff], Control::Close), 1007),
        ] {
            assert_eq!(fault(&bytes).close().code(), code, "{:x?}", &bytes[..bytes.len().min(12)]);
        }
    }

    #[test]
    fn frames_that_say_nothing_are_bounded_between_two_beats() {
        for frame in [control(b"a", Control::Ping), control(b"", Control::Pong), more(b"", false)] {
            let mut incoming = Incoming::new(LIMIT);
            all(&mut incoming, &text_frame(b"a", false)).unwrap();
            for beat in 0..3 {
                for at in 0..SPARE {
                    assert!(all(&mut incoming, &frame).is_ok(), "{beat} {at}");
                }
                match beat {
                    2 => assert_eq!(all(&mut incoming, &frame), Err(Fault::TooMany)),
                    _ => incoming.beat(),
                }
            }
        }
        let mut incoming = Incoming::new(LIMIT);
        all(&mut incoming, &text_frame(b"a", false)).unwrap();
        for _ in 0..2 * SPARE {
            all(&mut incoming, &more(b"a", false)).unwrap();
        }
    }

    #[test]
    fn what_is_too_large_costs_its_head_only() {
        let mut incoming = Incoming::new(LIMIT);
        // The head alone announces 4 GiB.
        incoming.push(&[0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(incoming.next(), Err(Fault::TooLarge));
        assert!(incoming.kept() <= 128, "{}", incoming.kept());
    }

    #[test]
    fn the_largest_message_is_taken_and_nothing_is_kept_of_it() {
        let mut incoming = Incoming::new(LIMIT);
        assert_eq!(incoming.kept(), 0, "nothing came yet");
        let said = all(&mut incoming, &text_frame(&vec![b'a'; LIMIT], true)).unwrap();
        assert!(matches!(&said[..], [Said::Text(text)] if text.len() == LIMIT));
        assert_eq!(incoming.kept(), 0);
        all(&mut incoming, &[text_frame(b"a", false), more(b"b", true)].concat()).unwrap();
        assert_eq!(incoming.kept(), 0);
    }

    #[derive(Debug, Clone)]
    enum Piece {
        Text(String),
        InPieces(String, Vec<usize>),
        Ping(Vec<u8>),
        Pong,
    }

    fn piece() -> impl Strategy<Value = Piece> {
        prop_oneof![
            ".{0,40}".prop_map(Piece::Text),
            (".{0,300}", prop::collection::vec(0..300_usize, 1..5))
                .prop_map(|(text, cuts)| Piece::InPieces(text, cuts)),
            prop::collection::vec(any::<u8>(), 0..=125).prop_map(Piece::Ping),
            Just(Piece::Pong),
        ]
    }

    impl Piece {
        fn bytes(&self, key: [u8; 4]) -> Vec<u8> {
            match self {
                Self::Text(text) => theirs(text.as_bytes(), OpCode::Data(Data::Text), true, key),
                Self::Ping(payload) => theirs(payload, OpCode::Control(Control::Ping), true, key),
                Self::Pong => theirs(b"", OpCode::Control(Control::Pong), true, key),
                Self::InPieces(text, cuts) => {
                    let mut cuts: Vec<_> = cuts.iter().map(|cut| *cut.min(&text.len())).collect();
                    cuts.sort_unstable();
                    let mut bytes = Vec::new();
                    let mut from = 0;
                    for (at, cut) in cuts.iter().enumerate() {
                        let opcode = OpCode::Data(if at == 0 { Data::Text } else { Data::Continue });
                        bytes.extend(theirs(&text.as_bytes()[from..*cut], opcode, false, key));
                        from = *cut;
                    }
                    bytes.extend(theirs(&text.as_bytes()[from..], OpCode::Data(Data::Continue), true, key));
                    bytes
                }
            }
        }

        fn said(&self) -> Said {
            match self {
                Self::Text(text) | Self::InPieces(text, _) => Said::Text(text.clone()),
                Self::Ping(payload) => Said::Ping(Bytes::copy_from_slice(payload)),
                Self::Pong => Said::Pong,
            }
        }
    }

    proptest! {
        /// The reference peer writes; however the network cuts it, the same is heard, and nothing is kept at the end.
        #[test]
        fn what_the_reference_peer_writes_is_heard_however_it_is_cut(
            pieces in prop::collection::vec((piece(), any::<[u8; 4]>()), 0..8),
            step in 1..200_usize,
        ) {
            let bytes: Vec<u8> = pieces.iter().flat_map(|(piece, key)| piece.bytes(*key)).collect();
            let mut incoming = Incoming::new(LIMIT);
            let mut said = Vec::new();
            for chunk in bytes.chunks(step) {
                said.extend(all(&mut incoming, chunk).unwrap());
            }
            let expected: Vec<_> = pieces.iter().map(|(piece, _)| piece.said()).collect();
            prop_assert_eq!(said, expected);
            prop_assert_eq!(incoming.kept(), 0);
        }

        /// Anything at all: no panic, and what is kept stays bounded.
        #[test]
        fn no_bytes_make_it_panic_or_grow(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..40)) {
            let mut incoming = Incoming::new(1024);
            for chunk in &chunks {
                incoming.push(chunk);
                loop {
                    match incoming.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
                // A message and a frame of it, each at most doubled by its growth, and the last read.
                prop_assert!(incoming.kept() <= 2 * (1024 + 1024 + 14) + 600, "{}", incoming.kept());
            }
        }

        /// As above, but what comes is a frame more often than not.
        #[test]
        fn frames_of_any_kind_make_it_neither_panic_nor_grow(
            frames in prop::collection::vec(
                (0..16_u8, any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), any::<[u8; 4]>()), 0..40),
        ) {
            let mut incoming = Incoming::new(1024);
            for (opcode, fin, payload, key) in frames {
                let mut bytes = theirs(&payload, OpCode::Data(Data::Text), fin, key);
                bytes[0] = (bytes[0] & 0xf0) | opcode;
                if all(&mut incoming, &bytes).is_err() {
                    return Ok(());
                }
                prop_assert!(incoming.kept() <= 2 * (1024 + 1024 + 14) + 600, "{}", incoming.kept());
            }
        }
    }
}
