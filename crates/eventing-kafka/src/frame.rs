//! The wire format of Confluent's serializers for Protobuf: a zero, the schema's id in four bytes, the place of the message in
//! the schema's file, and the message.
//!
//! The place is a count and so many indexes, each a varint in zigzag, from the top of the file inwards; the first message of a
//! file, `[0]`, is a single zero. No message begins with a zero byte, for no field has that number: what does is framed.

use bytes::{Buf as _, BufMut as _, Bytes};

const MAGIC: u8 = 0;
/// Nobody nests messages deeper; what says so is garbage.
const DEEPEST: i64 = 32;

/// A framed payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The schema, as the registry numbers them.
    pub(crate) schema: u32,
    /// Which of its messages.
    pub(crate) path: Vec<i32>,
    /// The message.
    pub(crate) payload: Bytes,
}

/// Whether a payload in Protobuf is framed.
pub(crate) fn framed(payload: &[u8]) -> bool {
    payload.first() == Some(&MAGIC)
}

/// What stands before a message.
pub(crate) fn prefix(schema: u32, path: &[i32]) -> Bytes {
    let mut written = Vec::with_capacity(8);
    written.put_u8(MAGIC);
    written.put_u32(schema);
    if path == [0] {
        written.put_u8(0);
    } else {
        put(&mut written, i64::try_from(path.len()).unwrap_or(i64::MAX));
        path.iter().for_each(|index| put(&mut written, i64::from(*index)));
    }
    written.into()
}

/// What a framed payload says; none for what is cut off or no frame.
pub(crate) fn read(payload: &Bytes) -> Option<Frame> {
    let mut rest = payload.clone();
    if rest.remaining() < 5 || rest.get_u8() != MAGIC {
        return None;
    }
    let schema = rest.get_u32();
    let count = take(&mut rest).filter(|count| (0..=DEEPEST).contains(count))?;
    let mut path = Vec::new();
    for _ in 0..count {
        path.push(take(&mut rest).and_then(|index| i32::try_from(index).ok()).filter(|index| *index >= 0)?);
    }
    if path.is_empty() {
        path.push(0);
    }
    Some(Frame { schema, path, payload: rest })
}

fn put(into: &mut Vec<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while left > 0x7f {
        into.put_u8((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    into.put_u8(left as u8);
}

fn take(from: &mut Bytes) -> Option<i64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        if !from.has_remaining() {
            return None;
        }
        let byte = from.get_u8();
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_are_those_of_confluent() {
        assert_eq!(&prefix(7, &[0])[..], [0, 0, 0, 0, 7, 0]);
        assert_eq!(&prefix(0x0102_0304, &[1])[..], [0, 1, 2, 3, 4, 2, 2]);
        assert_eq!(&prefix(1, &[2, 0, 70])[..], [0, 0, 0, 0, 1, 6, 4, 0, 0x8c, 1]);
        // The first message, written out: readers take both.
        let long = Bytes::from_static(&[0, 0, 0, 0, 7, 2, 0, 8, 1]);
        assert_eq!(read(&long).unwrap(), Frame { schema: 7, path: vec![0], payload: Bytes::from_static(&[8, 1]) });
    }

    #[test]
    fn what_is_cut_off_or_odd_is_no_frame() {
        let odd: [&[u8]; 8] = [
            &[],
            &[0],
            &[0, 0, 0, 0, 1],
            &[1, 0, 0, 0, 1, 0],
            &[0, 0, 0, 0, 1, 1],
            &[0, 0, 0, 0, 1, 2, 1],
            &[0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ];
        for garbage in odd {
            assert_eq!(read(&Bytes::copy_from_slice(garbage)), None, "{garbage:?}");
        }
    }

    proptest! {
        #[test]
        fn frames_go_round(schema: u32, path in prop::collection::vec(0..i32::MAX, 1..32), payload: Vec<u8>) {
            let whole = Bytes::from([&prefix(schema, &path)[..], &payload].concat());
            prop_assert!(framed(&whole));
            prop_assert_eq!(read(&whole), Some(Frame { schema, path, payload: payload.into() }));
        }

        #[test]
        fn garbage_is_read_or_refused(bytes: Vec<u8>) {
            let _said = read(&bytes.into());
        }
    }
}
