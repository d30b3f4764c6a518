//! Lists and maps of a JSON body.

use std::{collections::HashSet, fmt};

use serde::de::{Error, MapAccess, SeqAccess, Visitor};

use super::{
    cx::Cx,
    json::ValueSeed,
    scalar::{self, Source},
};
use crate::{
    shape::{Field, Kind, Message},
    wire,
};

/// A repeated field. Says whether there was an element.
///
/// Tokens of another type fall through to serde's own error, which names no value of ours.
pub(super) struct ListVisitor<'a, 'r> {
    pub(super) cx: &'a mut Cx<'r>,
    pub(super) field: &'r Field,
    pub(super) out: &'a mut Vec<u8>,
}

impl<'de> Visitor<'de> for ListVisitor<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let Self { cx, field, out } = self;
        let packed = wire::packable(field.kind);
        let before = out.len();
        let start = if packed { wire::open(out, field.number) } else { before };
        let tag = if packed { 0 } else { field.number };
        let mut count = 0_usize;
        loop {
            let wrote = match seq.next_element_seed(ValueSeed { cx: &mut *cx, kind: field.kind, tag, out }) {
                Ok(None) => break,
                Ok(Some(true)) => Ok(()),
                Ok(Some(false)) => Err(cx.fail("must not be null")),
                Err(error) => Err(error),
            };
            wrote.map_err(|error| cx.at(format!("[{count}]"), error))?;
            count += 1;
        }
        if packed && count == 0 {
            out.truncate(before);
        } else if packed {
            wire::close(out, start);
        }
        Ok(count > 0)
    }
}

/// A map field, or the fields of a Struct. Says whether there was an entry.
pub(super) struct MapVisitor<'a, 'r> {
    pub(super) cx: &'a mut Cx<'r>,
    pub(super) field: &'r Field,
    pub(super) out: &'a mut Vec<u8>,
}

impl<'de> Visitor<'de> for MapVisitor<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Self { cx, field, out } = self;
        let Kind::Message(index) = field.kind else { return Err(cx.fail("must be an object")) };
        let entry = cx.shapes.message(index);
        let kind_of = |number| entry.numbered(number).map(|at| entry.field(at).kind);
        let (Some(key_kind), Some(kind)) = (kind_of(1), kind_of(2)) else { return Ok(false) };
        // By what is written: `1` and `01` are one key.
        let mut keys: HashSet<Box<[u8]>> = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let start = cx.open(out, field.number)?;
            let before = out.len();
            let key_written = scalar::text(cx.shapes, key_kind, 1, &key, Source::MapKey, out);
            let wrote = match key_written {
                Err(fault) => Err(cx.fail(fault)),
                Ok(()) if !keys.insert(out.get(before..).unwrap_or_default().into()) => Err(cx.fail("is given twice")),
                Ok(()) => match map.next_value_seed(ValueSeed { cx: &mut *cx, kind, tag: 2, out }) {
                    Ok(false) => Err(cx.fail("must not be null")),
                    other => other,
                },
            };
            wrote.map_err(|error| cx.at(format!("[{key:?}]"), error))?;
            cx.close(out, start);
        }
        Ok(!keys.is_empty())
    }
}

/// Elements of a ListValue.
pub(super) fn values<'de, A: SeqAccess<'de>>(
    cx: &mut Cx<'_>,
    list: &Message,
    mut seq: A,
    out: &mut Vec<u8>,
) -> Result<(), A::Error> {
    let Some(kind) = list.fields.first().map(|f| f.kind) else { return Ok(()) };
    while seq.next_element_seed(ValueSeed { cx: &mut *cx, kind, tag: 1, out })?.is_some() {}
    Ok(())
}
