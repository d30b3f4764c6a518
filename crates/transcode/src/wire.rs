//! The protobuf wire format: writing into a buffer, reading from a slice.

use bytes::{Buf as _, BufMut as _};

use crate::shape::Kind;

/// Wire types.
pub(crate) const VARINT: u32 = 0;
pub(crate) const FIXED64: u32 = 1;
pub(crate) const BYTES: u32 = 2;
pub(crate) const FIXED32: u32 = 5;

/// Deepest nesting read or written, as in prost.
pub(crate) const MAX_DEPTH: u32 = 100;

/// The bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf message")]
pub(crate) struct Malformed;

/// Wire type of a single value.
pub(crate) fn wire_type(kind: Kind) -> u32 {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => FIXED64,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => FIXED32,
        Kind::String | Kind::Bytes | Kind::Message(_) => BYTES,
        _ => VARINT,
    }
}

/// Lists of the kind are packed.
pub(crate) fn packable(kind: Kind) -> bool {
    wire_type(kind) != BYTES
}

/// Writes a varint.
pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.put_u8(u8::try_from(value).unwrap_or_default());
}

/// Writes a field key; number 0 writes none (elements of packed lists have no key).
pub(crate) fn key(out: &mut Vec<u8>, number: u32, wire: u32) {
    if number != 0 {
        varint(out, u64::from(number) << 3 | u64::from(wire));
    }
}

/// Writes a whole length-delimited field.
pub(crate) fn bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    key(out, number, BYTES);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Begins a length-delimited field whose length is not known yet.
pub(crate) fn open(out: &mut Vec<u8>, number: u32) -> usize {
    key(out, number, BYTES);
    out.push(0);
    out.len()
}

/// Ends a field begun by [`open`]. One byte was kept for the length; longer contents move.
pub(crate) fn close(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start;
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        if let Some(place) = out.get_mut(start - 1) {
            *place = short;
        }
        return;
    }
    let mut prefix = Vec::with_capacity(5);
    varint(&mut prefix, length as u64);
    out.splice(start - 1..start, prefix);
}

/// A value as the wire has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Reads fields in wire order.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next field; none at the end.
    pub(crate) fn field(&mut self) -> Result<Option<(u32, Raw<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| Malformed)?;
        if number == 0 {
            return Err(Malformed);
        }
        let raw = match u32::try_from(key & 7).map_err(|_| Malformed)? {
            VARINT => Raw::Varint(self.varint()?),
            FIXED64 => Raw::Fixed64(self.fixed64()?),
            FIXED32 => Raw::Fixed32(self.fixed32()?),
            BYTES => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                let (value, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
                self.0 = rest;
                Raw::Bytes(value)
            }
            _ => return Err(Malformed),
        };
        Ok(Some((number, raw)))
    }

    /// One element of a packed list; none at the end.
    pub(crate) fn element(&mut self, kind: Kind) -> Result<Option<Raw<'a>>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        Ok(Some(match wire_type(kind) {
            FIXED64 => Raw::Fixed64(self.fixed64()?),
            FIXED32 => Raw::Fixed32(self.fixed32()?),
            VARINT => Raw::Varint(self.varint()?),
            _ => return Err(Malformed),
        }))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.0 = self.0.get(at + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn fixed64(&mut self) -> Result<u64, Malformed> {
        self.0.try_get_u64_le().map_err(|_| Malformed)
    }

    fn fixed32(&mut self) -> Result<u32, Malformed> {
        self.0.try_get_u32_le().map_err(|_| Malformed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn lengths_grow_in_place() {
        for length in [0, 1, 127, 128, 300, 16_383, 16_384, 70_000] {
            let mut out = vec![1];
            let outer = open(&mut out, 3);
            let inner = open(&mut out, 20);
            out.extend(std::iter::repeat_n(7, length));
            close(&mut out, inner);
            close(&mut out, outer);
            let mut reader = Reader(&out[1..]);
            let Some((3, Raw::Bytes(inner))) = reader.field().unwrap() else { panic!("no outer field") };
            let Some((20, Raw::Bytes(content))) = Reader(inner).field().unwrap() else { panic!("no inner field") };
            assert_eq!(content, vec![7; length]);
            assert!(reader.field().unwrap().is_none());
        }
    }

    #[test]
    fn garbage_is_refused() {
        for garbage in [&[0x80][..], &[0x0a, 5, 1], &[0x0b], &[0x00, 1], &[0x09, 1, 2], &[0xff; 12]] {
            assert!(Reader(garbage).field().is_err(), "{garbage:?}");
        }
    }
}
