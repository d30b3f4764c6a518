//! The FieldMask that PATCH implies: the fields the client's JSON names.

use serde_json::Value;

use crate::{
    shape::{Card, Kind, Message, Shapes},
    wire,
};

/// Proto paths of the members of a JSON object, nested objects walked; empty for anything else.
pub(crate) fn paths(shapes: &Shapes, index: usize, json: &Value) -> Vec<String> {
    let mut out = Vec::new();
    walk(shapes, shapes.message(index), json, "", &mut out);
    out
}

fn walk(shapes: &Shapes, message: &Message, json: &Value, above: &str, out: &mut Vec<String>) {
    let Value::Object(members) = json else { return };
    for (name, value) in members {
        let Some(field) = message.named(name).map(|at| message.field(at)) else { continue };
        if field.server_only {
            continue;
        }
        let path = if above.is_empty() { field.name.clone() } else { format!("{above}.{}", field.name) };
        match (field.kind, field.card, value) {
            (Kind::Message(next), Card::Presence, Value::Object(inner))
                if shapes.message(next).known.is_none() && !inner.is_empty() =>
            {
                walk(shapes, shapes.message(next), value, &path, out);
            }
            _ => out.push(path),
        }
    }
}

/// The message has a FieldMask with paths at this field already.
pub(crate) fn given(encoded: &[u8], number: u32) -> bool {
    let mut reader = wire::Reader(encoded);
    while let Ok(Some((found, raw))) = reader.field() {
        if found == number && matches!(raw, wire::Raw::Bytes(content) if !content.is_empty()) {
            return true;
        }
    }
    false
}
