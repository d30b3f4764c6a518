//! The framing of WebSocket (RFC 6455, chapter 5), from the server's side and without I/O.
//!
//! A frame is a head of 2 to 14 bytes and a payload; those of a client are masked, ours never. **What a head says is judged
//! before anything is kept for it**: a frame that announces more than is admitted costs its own few bytes.

use bytes::Bytes;

use super::close::Close;

/// Longest payload of a control frame (5.5).
pub(crate) const CONTROL: usize = 125;

/// What a frame is (5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// More of the message before.
    Continuation,
    /// UTF-8.
    Text,
    /// Bytes.
    Binary,
    /// The connection ends.
    Close,
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
}

impl Opcode {
    /// The frame is not part of a message.
    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

/// The head of a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The last frame of its message.
    pub(crate) fin: bool,
    /// What it is.
    pub(crate) opcode: Opcode,
    /// Bytes of its payload.
    pub(crate) length: u64,
    /// What its payload is masked with.
    pub(crate) mask: [u8; 4],
    /// Bytes of the head itself.
    pub(crate) size: usize,
}

/// Why what a client sent cannot go on. Each has its close code (7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// Not the protocol.
    #[error("{0}")]
    Protocol(&'static str),
    /// Bytes, where only text is taken.
    #[error("binary messages are not taken")]
    Binary,
    /// Text that is not UTF-8.
    #[error("a text that is not UTF-8")]
    NotText,
    /// More than is taken.
    #[error("a message larger than is taken")]
    TooLarge,
    /// Frames without end that say nothing.
    #[error("more frames than are taken")]
    TooMany,
}

impl Fault {
    /// How the connection is closed for it.
    pub(crate) fn close(self) -> Close {
        match self {
            Self::Protocol(what) => Close::protocol(what),
            Self::Binary => Close::BINARY,
            Self::NotText => Close::NOT_TEXT,
            Self::TooLarge => Close::TOO_LARGE,
            Self::TooMany => Close::TOO_MANY,
        }
    }
}

impl Head {
    /// The head that `bytes` begin with; none when there is not all of it.
    ///
    /// # Errors
    /// What no client may send, as soon as its byte is there.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, Fault> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Fault::Protocol("a reserved bit is set"));
        }
        let opcode = Opcode::of(first & 0x0f).ok_or(Fault::Protocol("an opcode that is not known"))?;
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(Fault::Protocol("a control frame in pieces"));
        }
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(Fault::Protocol("a frame of a client that is not masked"));
        }
        if opcode.is_control() && usize::from(second & 0x7f) > CONTROL {
            return Err(Fault::Protocol("a control frame that is too long"));
        }
        let Some((length, rest)) = length(second & 0x7f, rest)? else { return Ok(None) };
        let Some((&mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        Ok(Some(Self { fin, opcode, length, mask, size: bytes.len() - rest.len() }))
    }
}

/// The length of a payload and what follows it; none when there is not all of it.
fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Fault> {
    const LONGER: Fault = Fault::Protocol("a length that is written longer than it must be");
    match short {
        126 => {
            let Some((&bytes, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
            let length = u16::from_be_bytes(bytes);
            if length < 126 { Err(LONGER) } else { Ok(Some((length.into(), rest))) }
        }
        127 => {
            let Some((&bytes, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
            match u64::from_be_bytes(bytes) {
                0..=0xffff => Err(LONGER),
                length if length >> 63 == 1 => Err(Fault::Protocol("a length with its first bit set")),
                length => Ok(Some((length, rest))),
            }
        }
        short => Ok(Some((short.into(), rest))),
    }
}

/// Masks or unmasks `payload`, whose first byte is the first of its frame (5.3).
pub(crate) fn mask(payload: &mut [u8], key: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut::<8>();
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// A whole frame of ours: its head, and its payload, which frames to others may share.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    head: [u8; 10],
    head_len: u8,
    /// What it carries.
    pub(crate) payload: Bytes,
}

impl Frame {
    /// An unmasked frame in one piece.
    pub(crate) fn new(opcode: Opcode, payload: Bytes) -> Self {
        let (mut head, length) = ([0; 10], payload.len());
        let [first, second, two @ ..] = &mut head;
        *first = 0x80 | opcode.bits();
        let head_len = match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..=125), _) => {
                *second = short;
                2
            }
            (_, Ok(longer)) => {
                *second = 126;
                let [a, b, ..] = two;
                [*a, *b] = longer.to_be_bytes();
                4
            }
            _ => {
                *second = 127;
                *two = (length as u64).to_be_bytes();
                10
            }
        };
        Self { head, head_len, payload }
    }

    /// A text. The caller has seen that it is UTF-8.
    pub(crate) fn text(payload: Bytes) -> Self {
        Self::new(Opcode::Text, payload)
    }

    /// The head as it goes on the wire.
    pub(crate) fn head(&self) -> &[u8] {
        self.head.get(..usize::from(self.head_len)).unwrap_or_default()
    }

    /// What it is.
    pub(crate) fn opcode(&self) -> Opcode {
        // Made by `new`, which knows no other.
        Opcode::of(self.head[0] & 0x0f).unwrap_or(Opcode::Text)
    }

    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.head_len) + self.payload.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two bytes, a length of eight, a mask of four.
    const LONGEST_HEAD: usize = 14;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // 5.7: a single-frame masked text message, "Hello".
        let bytes = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let head = Head::read(&bytes).unwrap().unwrap();
        assert_eq!((head.fin, head.opcode, head.length, head.size), (true, Opcode::Text, 5, 6));
        let mut payload = bytes[6..].to_vec();
        mask(&mut payload, head.mask);
        assert_eq!(payload, b"Hello");
        // An unmasked text as a server sends it, and 256 bytes and 64 KiB in one frame.
        assert_eq!(Frame::text(Bytes::from_static(b"Hello")).head(), [0x81, 0x05]);
        assert_eq!(Frame::new(Opcode::Binary, vec![0; 256].into()).head(), [0x82, 0x7e, 0x01, 0x00]);
        let longest = Frame::new(Opcode::Binary, vec![0; 65_536].into());
        assert_eq!(longest.head(), [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(longest.len(), 65_546);
    }

    #[test]
    fn what_no_client_may_send_is_refused_at_its_first_byte_that_says_so() {
        for (bytes, what) in [
            (&[0xc1][..], "a reserved bit is set"),
            (&[0xa1][..], "a reserved bit is set"),
            (&[0x91][..], "a reserved bit is set"),
            (&[0x83][..], "an opcode that is not known"),
            (&[0x8b][..], "an opcode that is not known"),
            (&[0x09][..], "a control frame in pieces"),
            (&[0x08][..], "a control frame in pieces"),
            (&[0x81, 0x05][..], "a frame of a client that is not masked"),
            (&[0x89, 0xfe][..], "a control frame that is too long"),
            (&[0x88, 0xff][..], "a control frame that is too long"),
            (&[0x81, 0xfe, 0, 125][..], "a length that is written longer than it must be"),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff][..], "a length that is written longer than it must be"),
            (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0][..], "a length with its first bit set"),
        ] {
            assert_eq!(Head::read(bytes), Err(Fault::Protocol(what)), "{bytes:x?}");
            assert_eq!(Head::read(&bytes[..bytes.len() - 1]), Ok(None), "{bytes:x?} a byte earlier");
        }
    }

    /// A head as a client writes it.
    fn written(fin: bool, opcode: Opcode, length: u64, mask: [u8; 4]) -> Vec<u8> {
        let mut bytes = vec![u8::from(fin) << 7 | opcode.bits()];
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..=125), _) => bytes.push(0x80 | short),
            (_, Ok(longer)) => {
                bytes.push(0x80 | 126);
                bytes.extend(longer.to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend(length.to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes
    }

    proptest! {
        #[test]
        fn a_head_is_read_as_it_was_written_and_not_before_it_is_whole(
            fin: bool,
            opcode in prop::sample::select(vec![Opcode::Continuation, Opcode::Text, Opcode::Binary]),
            length in prop_oneof![0..200_u64, 60_000..70_000_u64, 0..1_u64 << 62],
            key: [u8; 4],
        ) {
            let bytes = written(fin, opcode, length, key);
            let whole = Head { fin, opcode, length, mask: key, size: bytes.len() };
            prop_assert_eq!(Head::read(&bytes), Ok(Some(whole)));
            for end in 0..bytes.len() {
                prop_assert_eq!(Head::read(&bytes[..end]), Ok(None));
            }
        }

        #[test]
        fn no_bytes_make_a_head_panic(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(Some(head)) = Head::read(&bytes) {
                prop_assert!(head.size <= LONGEST_HEAD && head.size <= bytes.len());
            }
        }

        #[test]
        fn a_mask_is_undone_by_itself_and_is_the_rfcs(payload in prop::collection::vec(any::<u8>(), 0..100), key: [u8; 4]) {
            let mut masked = payload.clone();
            mask(&mut masked, key);
            let plain: Vec<u8> = payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
            prop_assert_eq!(&masked, &plain);
            mask(&mut masked, key);
            prop_assert_eq!(masked, payload);
        }
    }
}
