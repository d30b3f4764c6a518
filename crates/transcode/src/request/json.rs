//! JSON tokens to wire bytes, in one pass and without a tree between.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    any,
    collection::{ListVisitor, MapVisitor, values},
    cx::{Cx, Key, KeySeed, Seen},
    scalar::{self, Fault, Number, Source},
};
use crate::{
    shape::{Card, Field, Kind, Message, Shapes, WellKnown},
    wire,
};

/// The fields of a message from JSON, without key and length of the message itself.
pub(crate) struct MessageSeed<'a, 'r> {
    pub(crate) cx: &'a mut Cx<'r>,
    pub(crate) index: usize,
    pub(crate) out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { cx, index, out } = self;
        let kind = Kind::Message(index);
        if cx.shapes.message(index).known.is_none() {
            if deserializer.deserialize_any(ValueVisitor { cx: &mut *cx, kind, tag: None, out })? {
                return Ok(());
            }
            return Err(cx.fail("must be an object"));
        }
        // Messages with a form of their own are written as a field and lose its key and length again.
        let mut field = Vec::new();
        ValueSeed { cx, kind, tag: 1, out: &mut field }.deserialize(deserializer)?;
        if let Ok(Some((_, wire::Raw::Bytes(content)))) = wire::Reader(&field).field() {
            out.extend_from_slice(content);
        }
        Ok(())
    }
}

/// A field of any cardinality; says whether something was written.
pub(crate) struct FieldSeed<'a, 'r> {
    pub(crate) cx: &'a mut Cx<'r>,
    pub(crate) field: &'r Field,
    pub(crate) out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        let Self { cx, field, out } = self;
        match field.card {
            Card::Presence | Card::Implicit => {
                ValueSeed { cx, kind: field.kind, tag: field.number, out }.deserialize(deserializer)
            }
            Card::List => deserializer.deserialize_any(ListVisitor { cx, field, out }),
            Card::Map => deserializer.deserialize_any(MapVisitor { cx, field, out }),
        }
    }
}

/// One value with its key (none when `tag` is 0); false when it is null and null stands for absent.
pub(super) struct ValueSeed<'a, 'r> {
    pub(super) cx: &'a mut Cx<'r>,
    pub(super) kind: Kind,
    pub(super) tag: u32,
    pub(super) out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        let Self { cx, kind, tag, out } = self;
        deserializer.deserialize_any(ValueVisitor { cx, kind, tag: Some(tag), out })
    }
}

pub(super) struct ValueVisitor<'a, 'r> {
    cx: &'a mut Cx<'r>,
    kind: Kind,
    /// None: the fields of the message alone.
    tag: Option<u32>,
    out: &'a mut Vec<u8>,
}

impl<'r> ValueVisitor<'_, 'r> {
    fn known(&self) -> Option<WellKnown> {
        match self.kind {
            Kind::Message(index) => self.cx.shapes.message(index).known,
            _ => None,
        }
    }

    fn message(&self) -> Option<&'r Message> {
        match self.kind {
            Kind::Message(index) => Some(self.cx.shapes.message(index)),
            _ => None,
        }
    }

    /// Writes a scalar here, inside a wrapper, or inside a Value.
    fn scalar<E: Error>(
        self,
        in_value: u32,
        write: impl FnOnce(&Shapes, Kind, u32, &mut Vec<u8>) -> Result<(), Fault>,
    ) -> Result<bool, E> {
        let (shapes, tag) = (self.cx.shapes, self.tag.unwrap_or_default());
        let written = match self.known() {
            Some(WellKnown::Wrapper) => {
                let inner = self.message().and_then(|m| m.fields.first()).map_or(self.kind, |f| f.kind);
                let start = wire::open(self.out, tag);
                write(shapes, inner, 1, self.out).map(|()| wire::close(self.out, start))
            }
            Some(WellKnown::Value) => {
                let inner = self.message().and_then(|m| Some(m.field(m.numbered(in_value)?).kind)).unwrap_or(self.kind);
                let start = wire::open(self.out, tag);
                write(shapes, inner, in_value, self.out).map(|()| wire::close(self.out, start))
            }
            _ => write(shapes, self.kind, tag, self.out),
        };
        written.map(|()| true).map_err(|fault| self.cx.fail(fault))
    }

    fn number<E: Error>(self, value: Number) -> Result<bool, E> {
        self.scalar(2, |shapes, kind, tag, out| scalar::number(shapes, kind, tag, value, out))
    }
}

impl<'de> Visitor<'de> for ValueVisitor<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        let tag = self.tag.unwrap_or_default();
        match self.kind {
            Kind::Enum(index) if self.cx.shapes.enumeration(index).is_null => {
                wire::key(self.out, tag, wire::VARINT);
                self.out.push(0);
                Ok(true)
            }
            _ if self.known() == Some(WellKnown::Value) => {
                let start = wire::open(self.out, tag);
                wire::key(self.out, 1, wire::VARINT);
                self.out.push(0);
                wire::close(self.out, start);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        self.scalar(4, |shapes, kind, tag, out| scalar::boolean(shapes, kind, tag, value, out))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        self.number(Number::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
        self.number(Number::Signed(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<bool, E> {
        self.number(Number::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<bool, E> {
        self.scalar(3, |shapes, kind, tag, out| scalar::text(shapes, kind, tag, value, Source::Json, out))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<bool, A::Error> {
        let Self { cx, kind, tag, out } = self;
        let (Kind::Message(index), Some(tag)) = (kind, tag) else {
            return Err(cx.fail(scalar::expected(cx.shapes, kind)));
        };
        let message = cx.shapes.message(index);
        let start = cx.open(out, tag)?;
        match message.known {
            Some(WellKnown::ListValue) => values(cx, message, seq, out)?,
            Some(WellKnown::Value) => {
                let list = message.numbered(6).map(|at| message.field(at).kind);
                ValueVisitor { cx, kind: list.unwrap_or(kind), tag: Some(6), out }.visit_seq(seq)?;
            }
            _ => return Err(cx.fail(scalar::expected(cx.shapes, kind))),
        }
        cx.close(out, start);
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Self { cx, kind, tag, out } = self;
        let Kind::Message(index) = kind else { return Err(cx.fail(scalar::expected(cx.shapes, kind))) };
        let message = cx.shapes.message(index);
        let Some(tag) = tag else { return fields(cx, index, &mut map, out).map(|()| true) };
        let start = cx.open(out, tag)?;
        match message.known {
            None | Some(WellKnown::HttpBody) => fields(cx, index, &mut map, out)?,
            Some(WellKnown::Struct) => {
                let entries = message.fields.first().ok_or_else(|| cx.fail("must be an object"))?;
                MapVisitor { cx, field: entries, out }.visit_map(map)?;
            }
            Some(WellKnown::Value) => {
                let inner = message.numbered(5).map(|at| message.field(at).kind);
                ValueVisitor { cx, kind: inner.unwrap_or(kind), tag: Some(5), out }.visit_map(map)?;
            }
            Some(WellKnown::Any) => any::write(cx, map, out)?,
            Some(_) => return Err(cx.fail(scalar::expected(cx.shapes, kind))),
        }
        cx.close(out, start);
        Ok(true)
    }
}

/// The members of an object as fields of a message.
fn fields<'de, A: MapAccess<'de>>(
    cx: &mut Cx<'_>,
    index: usize,
    map: &mut A,
    out: &mut Vec<u8>,
) -> Result<(), A::Error> {
    let message = cx.shapes.message(index);
    let mut seen = Seen::default();
    let mut oneofs = Seen::default();
    while let Some(key) = map.next_key_seed(KeySeed { message, strict: cx.strict })? {
        let at = match key {
            Key::Field(at) => at,
            Key::Unknown(None) => {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            Key::Unknown(Some(name)) => {
                let error = cx.fail("is not known");
                return Err(cx.at(name, error));
            }
        };
        let field = message.field(at);
        if field.server_only {
            map.next_value::<IgnoredAny>()?;
            continue;
        }
        let wrote = if seen.insert(at) {
            map.next_value_seed(FieldSeed { cx: &mut *cx, field, out })
        } else {
            Err(cx.fail("is given twice"))
        };
        let wrote = wrote.and_then(|wrote| match field.oneof {
            Some(oneof) if wrote && !oneofs.insert(oneof) => Err(cx.fail("excludes another field that is given too")),
            _ => Ok(()),
        });
        wrote.map_err(|error| cx.at(field.name.as_str(), error))?;
    }
    Ok(())
}
