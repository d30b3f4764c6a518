//! What all levels of one JSON body share, and how members find their fields.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

use super::scalar::Fault;
use crate::{
    shape::{Message, Shapes},
    wire,
};

/// Nested deeper than [`wire::MAX_DEPTH`].
pub(super) const TOO_DEEP: Fault = "is nested too deeply";

/// State of one body.
#[derive(Debug)]
pub(crate) struct Cx<'r> {
    pub(crate) shapes: &'r Shapes,
    /// Refuse unknown fields.
    pub(crate) strict: bool,
    /// What is wrong; none when the JSON itself is.
    pub(crate) fault: Option<Fault>,
    /// Messages open on the wire, map entries included.
    depth: u32,
    /// Where, innermost first; filled while an error unwinds, so that good bodies pay nothing.
    path: Vec<String>,
}

impl<'r> Cx<'r> {
    pub(crate) fn new(shapes: &'r Shapes, strict: bool) -> Self {
        Self { shapes, strict, fault: None, depth: 0, path: Vec::new() }
    }

    /// The place of the fault in proto names, as `items[2].name`.
    pub(crate) fn place(&self) -> String {
        let mut out = String::new();
        for step in self.path.iter().rev() {
            if !out.is_empty() && !step.starts_with('[') {
                out.push('.');
            }
            out.push_str(step);
        }
        out
    }

    /// Begins a message. Services read no deeper than prost does, so deeper JSON is the client's fault and not theirs.
    pub(super) fn open<E: Error>(&mut self, out: &mut Vec<u8>, number: u32) -> Result<usize, E> {
        self.depth += 1;
        if self.depth > wire::MAX_DEPTH {
            return Err(self.fail(TOO_DEEP));
        }
        Ok(wire::open(out, number))
    }

    /// Ends a message.
    pub(super) fn close(&mut self, out: &mut Vec<u8>, start: usize) {
        self.depth -= 1;
        wire::close(out, start);
    }

    /// An error of this fault. The text of the error is never shown: serde's own would echo values.
    pub(super) fn fail<E: Error>(&mut self, fault: Fault) -> E {
        self.fault = Some(fault);
        E::custom(fault)
    }

    /// Adds a step outwards to the place of an error.
    pub(super) fn at<E>(&mut self, step: impl Into<String>, error: E) -> E {
        self.path.push(step.into());
        error
    }
}

/// A member name looked up.
pub(super) enum Key {
    /// Index of the field.
    Field(usize),
    /// Not a field; the name only when it matters.
    Unknown(Option<String>),
}

/// Reads a member name without keeping it.
pub(super) struct KeySeed<'r> {
    pub(super) message: &'r Message,
    pub(super) strict: bool,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Key, E> {
        Ok(match self.message.named(name) {
            Some(at) => Key::Field(at),
            None => Key::Unknown(self.strict.then(|| name.chars().take(64).collect())),
        })
    }
}

/// A set of small indexes.
#[derive(Debug, Default)]
pub(super) struct Seen {
    low: u128,
    high: std::collections::BTreeSet<usize>,
}

impl Seen {
    /// False when it was there already.
    pub(super) fn insert(&mut self, index: usize) -> bool {
        if index >= 128 {
            return self.high.insert(index);
        }
        let bit = 1_u128 << index;
        let fresh = self.low & bit == 0;
        self.low |= bit;
        fresh
    }
}
