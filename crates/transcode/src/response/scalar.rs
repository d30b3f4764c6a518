//! Scalars as JSON.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::{
    shape::{Field, Kind, Shapes},
    wire::{Malformed, Raw},
};

/// Writes one value; `safe` writes 64-bit integers as numbers.
pub(crate) fn write(shapes: &Shapes, kind: Kind, safe: bool, raw: Raw<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match (kind, raw) {
        (Kind::String, Raw::Bytes(bytes)) => return string(bytes, out),
        (Kind::Bytes, Raw::Bytes(bytes)) => {
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
        }
        (Kind::Bool, Raw::Varint(value)) => out.extend_from_slice(if value == 0 { b"false" } else { b"true" }),
        (Kind::Enum(index), Raw::Varint(value)) => enumeration(shapes, index, low32(value), out),
        (Kind::Int32, Raw::Varint(value)) => json(out, &low32(value)),
        (Kind::Uint32, Raw::Varint(value)) => json(out, &low32(value).cast_unsigned()),
        (Kind::Sint32, Raw::Varint(value)) => {
            let zigzag = low32(value).cast_unsigned();
            json(out, &((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed()));
        }
        (Kind::Int64, Raw::Varint(value)) => long(out, safe, value.cast_signed()),
        (Kind::Uint64, Raw::Varint(value)) | (Kind::Fixed64, Raw::Fixed64(value)) => long(out, safe, value),
        (Kind::Sint64, Raw::Varint(value)) => {
            long(out, safe, (value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
        (Kind::Sfixed64, Raw::Fixed64(value)) => long(out, safe, value.cast_signed()),
        (Kind::Fixed32, Raw::Fixed32(value)) => json(out, &value),
        (Kind::Sfixed32, Raw::Fixed32(value)) => json(out, &value.cast_signed()),
        (Kind::Double, Raw::Fixed64(value)) => double(f64::from_bits(value), out),
        (Kind::Float, Raw::Fixed32(value)) => {
            let value = f32::from_bits(value);
            if value.is_finite() { json(out, &value) } else { double(f64::from(value), out) }
        }
        _ => return Err(Malformed),
    }
    Ok(())
}

/// Writes a map key, which JSON has as text.
pub(crate) fn write_key(kind: Kind, raw: Option<Raw<'_>>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if kind == Kind::String {
        return string(if let Some(Raw::Bytes(bytes)) = raw { bytes } else { b"" }, out);
    }
    let default = match kind {
        Kind::Fixed32 | Kind::Sfixed32 => Raw::Fixed32(0),
        Kind::Fixed64 | Kind::Sfixed64 => Raw::Fixed64(0),
        _ => Raw::Varint(0),
    };
    out.push(b'"');
    // Enums cannot be keys, so no shapes are needed.
    write(&Shapes::default(), kind, true, raw.unwrap_or(default), out)?;
    out.push(b'"');
    Ok(())
}

/// Writes what an absent value without presence stands for.
pub(crate) fn default(shapes: &Shapes, field: &Field, out: &mut Vec<u8>) {
    let text: &[u8] = match field.kind {
        Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64 if !field.safe_integer => b"\"0\"",
        Kind::Double | Kind::Float => b"0.0",
        Kind::Bool => b"false",
        Kind::String | Kind::Bytes => b"\"\"",
        Kind::Enum(index) => return enumeration(shapes, index, 0, out),
        Kind::Message(_) => b"{}",
        _ => b"0",
    };
    out.extend_from_slice(text);
}

/// Writes text as a JSON string.
pub(crate) fn string(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed)?;
    json(out, text);
    Ok(())
}

/// Writes a double; JSON has no NaN and no infinities, so they are strings.
pub(crate) fn double(value: f64, out: &mut Vec<u8>) {
    let text: &[u8] = if value.is_finite() {
        return json(out, &value);
    } else if value.is_nan() {
        b"\"NaN\""
    } else if value > 0.0 {
        b"\"Infinity\""
    } else {
        b"\"-Infinity\""
    };
    out.extend_from_slice(text);
}

/// A buffer as a formatter's target.
pub(crate) struct Text<'a>(pub(crate) &'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn enumeration(shapes: &Shapes, index: usize, number: i32, out: &mut Vec<u8>) {
    let declared = shapes.enumeration(index);
    match declared.name(number) {
        _ if declared.is_null => out.extend_from_slice(b"null"),
        Some(name) => {
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
        }
        None => json(out, &number),
    }
}

fn long(out: &mut Vec<u8>, safe: bool, value: impl Serialize) {
    if safe {
        return json(out, &value);
    }
    out.push(b'"');
    json(out, &value);
    out.push(b'"');
}

/// Writing to memory and serialising scalars cannot fail.
fn json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let _ = serde_json::to_writer(&mut *out, value);
}

#[expect(clippy::cast_possible_truncation, reason = "the wire writes negative 32-bit values with 64 bits")]
fn low32(value: u64) -> i32 {
    value as i32
}
