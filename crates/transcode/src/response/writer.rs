//! Wire bytes to JSON in one pass. Fields come in declaration order, defaults are written, unset messages are not.

use super::{scalar, special};
use crate::{
    shape::{Card, Field, Kind, Message, Shapes, WellKnown},
    wire::{MAX_DEPTH, Malformed, Raw, Reader},
};

/// Writes messages of one pool.
#[derive(Debug)]
pub(crate) struct Writer<'s, 'a> {
    pub(super) shapes: &'s Shapes,
    /// Fields found, a frame per message that is being written; kept to spare an allocation per message.
    slots: Vec<Slot<'a>>,
    depth: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot<'a> {
    field: usize,
    raw: Raw<'a>,
}

impl<'s, 'a> Writer<'s, 'a> {
    pub(crate) fn new(shapes: &'s Shapes) -> Self {
        Self { shapes, slots: Vec::with_capacity(32), depth: 0 }
    }

    /// A message, by its own JSON form when it has one.
    pub(crate) fn message(&mut self, index: usize, bytes: &'a [u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        self.depth += 1;
        // The message itself is not nested: what a request may be, a reply may be.
        if self.depth > MAX_DEPTH + 1 {
            return Err(Malformed);
        }
        let message = self.shapes.message(index);
        match message.known {
            None | Some(WellKnown::HttpBody) => {
                out.push(b'{');
                self.fields(message, bytes, out, true)?;
                out.push(b'}');
            }
            Some(known) => special::write(self, message, known, bytes, out)?,
        }
        self.depth -= 1;
        Ok(())
    }

    /// The fields of a message without braces.
    pub(super) fn fields(
        &mut self,
        message: &'s Message,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
        mut first: bool,
    ) -> Result<(), Malformed> {
        let base = self.scan(message, bytes)?;
        let mut from = base;
        for (at, field) in message.fields.iter().enumerate() {
            let to = self.run(from, at);
            if from == to && field.card == Card::Presence {
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            out.extend_from_slice(field.key.as_bytes());
            self.field(field, from, to, out)?;
            from = to;
        }
        self.slots.truncate(base);
        Ok(())
    }

    /// The value of one field of a message. An absent message is `{}`, another absent value with presence `null`.
    pub(crate) fn one(
        &mut self,
        message: &'s Message,
        at: usize,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let base = self.scan(message, bytes)?;
        let field = message.field(at);
        let from = base + self.frame(base).iter().take_while(|slot| slot.field < at).count();
        let to = self.run(from, at);
        match field.kind {
            _ if from != to || field.card != Card::Presence => self.field(field, from, to, out)?,
            Kind::Message(index) if self.shapes.message(index).known.is_none() => {
                self.message(index, b"", out)?;
            }
            _ => out.extend_from_slice(b"null"),
        }
        self.slots.truncate(base);
        Ok(())
    }

    /// Reads a message into a new frame, ordered by field; gives the frame's start.
    fn scan(&mut self, message: &'s Message, bytes: &'a [u8]) -> Result<usize, Malformed> {
        let base = self.slots.len();
        let mut reader = Reader(bytes);
        let mut ordered = true;
        let mut last = 0;
        while let Some((number, raw)) = reader.field()? {
            // A newer service may send fields this edge does not know.
            let Some(field) = message.numbered(number) else { continue };
            if let Some(oneof) = message.field(field).oneof {
                self.forget_others(message, base, oneof, field);
            }
            ordered &= field >= last;
            last = field;
            self.slots.push(Slot { field, raw });
        }
        if !ordered && let Some(frame) = self.slots.get_mut(base..) {
            frame.sort_by_key(|slot| slot.field);
        }
        Ok(base)
    }

    /// Of a oneof the member written last counts.
    fn forget_others(&mut self, message: &Message, base: usize, oneof: usize, kept: usize) {
        let mut at = base;
        while let Some(slot) = self.slots.get(at) {
            if slot.field != kept && message.field(slot.field).oneof == Some(oneof) {
                self.slots.remove(at);
            } else {
                at += 1;
            }
        }
    }

    fn frame(&self, base: usize) -> &[Slot<'a>] {
        self.slots.get(base..).unwrap_or_default()
    }

    /// End of the run of slots of a field that starts at `from`.
    fn run(&self, from: usize, field: usize) -> usize {
        from + self.frame(from).iter().take_while(|slot| slot.field == field).count()
    }

    fn raw(&self, at: usize) -> Result<Raw<'a>, Malformed> {
        self.slots.get(at).map(|slot| slot.raw).ok_or(Malformed)
    }

    fn field(&mut self, field: &'s Field, from: usize, to: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match field.card {
            Card::List => self.list(field, from, to, out),
            Card::Map => self.map(field, from, to, out),
            Card::Presence | Card::Implicit if from == to => {
                scalar::default(self.shapes, field, out);
                Ok(())
            }
            Card::Presence | Card::Implicit => match field.kind {
                Kind::Message(index) if to - from > 1 => self.merged(index, from, to, out),
                _ => self.value(field, field.kind, self.raw(to - 1)?, out),
            },
        }
    }

    /// A message in several parts: their concatenation is the merged message.
    fn merged(&mut self, index: usize, from: usize, to: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut whole = Vec::new();
        for slot in self.slots.get(from..to).unwrap_or_default() {
            let Raw::Bytes(part) = slot.raw else { return Err(Malformed) };
            whole.extend_from_slice(part);
        }
        let mut nested = Writer { shapes: self.shapes, slots: Vec::new(), depth: self.depth };
        nested.message(index, &whole, out)
    }

    pub(super) fn value(
        &mut self,
        field: &Field,
        kind: Kind,
        raw: Raw<'a>,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        match (kind, raw) {
            (Kind::Message(index), Raw::Bytes(bytes)) => self.message(index, bytes, out),
            (Kind::Message(_), _) => Err(Malformed),
            _ => scalar::write(self.shapes, kind, field.safe_integer, raw, out),
        }
    }

    fn list(&mut self, field: &'s Field, from: usize, to: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        out.push(b'[');
        let mut first = true;
        let mut comma = |out: &mut Vec<u8>| {
            if !std::mem::replace(&mut first, false) {
                out.push(b',');
            }
        };
        for at in from..to {
            match self.raw(at)? {
                Raw::Bytes(bytes) if crate::wire::packable(field.kind) => {
                    let mut packed = Reader(bytes);
                    while let Some(raw) = packed.element(field.kind)? {
                        comma(out);
                        scalar::write(self.shapes, field.kind, field.safe_integer, raw, out)?;
                    }
                }
                raw => {
                    comma(out);
                    self.value(field, field.kind, raw, out)?;
                }
            }
        }
        out.push(b']');
        Ok(())
    }

    /// Keys are sorted: prost's maps have no order, and equal messages should be equal text (`ETag`).
    fn map(&mut self, field: &'s Field, from: usize, to: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let Kind::Message(index) = field.kind else { return Err(Malformed) };
        let entry = self.shapes.message(index);
        let part = |number| entry.numbered(number).map(|at| entry.field(at)).ok_or(Malformed);
        let (key_field, value_field) = (part(1)?, part(2)?);
        let mut entries = Vec::with_capacity(to - from);
        for at in from..to {
            let Raw::Bytes(bytes) = self.raw(at)? else { return Err(Malformed) };
            let (mut key, mut value) = (None, None);
            let mut reader = Reader(bytes);
            while let Some((number, raw)) = reader.field()? {
                match number {
                    1 => key = Some(raw),
                    2 => value = Some(raw),
                    _ => {}
                }
            }
            let mut text = Vec::new();
            scalar::write_key(key_field.kind, key, &mut text)?;
            entries.push((text, value));
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        out.push(b'{');
        let mut entries = entries.into_iter().peekable();
        while let Some((key, value)) = entries.next() {
            if entries.peek().is_some_and(|(next, _)| *next == key) {
                continue;
            }
            out.extend_from_slice(&key);
            out.push(b':');
            match (value, value_field.kind) {
                (Some(raw), kind) => self.value(field, kind, raw, out)?,
                (None, Kind::Message(index)) => self.message(index, b"", out)?,
                (None, _) => scalar::default(self.shapes, value_field, out),
            }
            if entries.peek().is_some() {
                out.push(b',');
            }
        }
        out.push(b'}');
        Ok(())
    }
}
