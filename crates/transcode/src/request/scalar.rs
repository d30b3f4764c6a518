//! Scalars and well-known text forms to wire bytes. Faults name what is expected and never echo a value.

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::BufMut as _;

use crate::{
    shape::{Kind, Shapes, WellKnown},
    time, wire,
};

/// What is wrong with a value.
pub(crate) type Fault = &'static str;

/// Where text comes from: JSON strings and parameters have different rules for a few types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Json,
    MapKey,
    /// Path and query.
    Parameter,
}

/// A JSON number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

const NOT_INT32: Fault = "must be a 32-bit integer";
const NOT_UINT32: Fault = "must be an unsigned 32-bit integer";
const NOT_INT64: Fault = "must be a 64-bit integer";
const NOT_UINT64: Fault = "must be an unsigned 64-bit integer";
const NOT_FLOAT: Fault = "must be a 32-bit floating point number";
const NOT_DOUBLE: Fault = "must be a 64-bit floating point number";
const NOT_BOOL: Fault = "must be a boolean";
const NOT_BYTES: Fault = "must be base64";
const NOT_ENUM: Fault = "must be a value of the enum";

/// What a kind wants, for values of another JSON type.
pub(crate) fn expected(shapes: &Shapes, kind: Kind) -> Fault {
    match kind {
        Kind::Double => NOT_DOUBLE,
        Kind::Float => NOT_FLOAT,
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => NOT_INT32,
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => NOT_INT64,
        Kind::Uint32 | Kind::Fixed32 => NOT_UINT32,
        Kind::Uint64 | Kind::Fixed64 => NOT_UINT64,
        Kind::Bool => NOT_BOOL,
        Kind::String => "must be a string",
        Kind::Bytes => NOT_BYTES,
        Kind::Enum(_) => NOT_ENUM,
        Kind::Message(index) => match shapes.message(index).known {
            Some(WellKnown::Timestamp) => "must be an RFC 3339 time",
            Some(WellKnown::Duration) => "must be a duration in seconds, as `3.5s`",
            Some(WellKnown::FieldMask) => "must be field paths separated by commas",
            Some(WellKnown::ListValue) => "must be an array",
            Some(WellKnown::Wrapper) => shapes.message(index).fields.first().map_or("", |f| expected(shapes, f.kind)),
            _ => "must be an object",
        },
    }
}

/// Writes a boolean.
pub(crate) fn boolean(shapes: &Shapes, kind: Kind, number: u32, value: bool, out: &mut Vec<u8>) -> Result<(), Fault> {
    match kind {
        Kind::Bool => {
            wire::key(out, number, wire::VARINT);
            out.push(u8::from(value));
            Ok(())
        }
        other => Err(expected(shapes, other)),
    }
}

/// Writes a JSON number. Integers may be written as floats when they are whole.
pub(crate) fn number(shapes: &Shapes, kind: Kind, tag: u32, value: Number, out: &mut Vec<u8>) -> Result<(), Fault> {
    let fault = expected(shapes, kind);
    match kind {
        Kind::Double | Kind::Float => float(kind, tag, as_f64(value), false, out),
        Kind::Uint64 | Kind::Fixed64 | Kind::Uint32 | Kind::Fixed32 => {
            unsigned(kind, tag, as_unsigned(value).ok_or(fault)?, out)
        }
        Kind::Enum(_) => {
            let value = as_signed(value).and_then(|v| i32::try_from(v).ok()).ok_or(fault)?;
            signed(Kind::Int32, tag, i64::from(value), out)
        }
        Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_) => Err(fault),
        _ => signed(kind, tag, as_signed(value).ok_or(fault)?, out),
    }
}

/// Writes text: a JSON string, a map key, or a parameter.
pub(crate) fn text(
    shapes: &Shapes,
    kind: Kind,
    tag: u32,
    value: &str,
    source: Source,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let fault = expected(shapes, kind);
    match kind {
        Kind::String => wire::bytes(out, tag, value.as_bytes()),
        Kind::Bytes => wire::bytes(out, tag, &base64_of(value).ok_or(fault)?),
        Kind::Bool => boolean(shapes, kind, tag, parse_bool(value, source).ok_or(fault)?, out)?,
        Kind::Enum(index) => {
            let declared = shapes.enumeration(index);
            let by_number = || value.parse().ok().filter(|n| declared.name(*n).is_some());
            let found = declared.number(value).or_else(|| if source == Source::Parameter { by_number() } else { None });
            signed(Kind::Int32, tag, i64::from(found.ok_or(fault)?), out)?;
        }
        Kind::Double | Kind::Float => {
            let (parsed, infinite) = parse_float(value).ok_or(fault)?;
            float(kind, tag, parsed, infinite, out)?;
        }
        Kind::Uint64 | Kind::Fixed64 | Kind::Uint32 | Kind::Fixed32 => {
            let parsed = digits(value).then(|| value.parse().ok()).flatten();
            unsigned(kind, tag, parsed.or_else(|| as_unsigned(whole(value, source)?)).ok_or(fault)?, out)?;
        }
        Kind::Message(index) => return message_text(shapes, index, tag, value, source, out),
        _ => {
            let parsed = digits(value.strip_prefix('-').unwrap_or(value)).then(|| value.parse().ok()).flatten();
            signed(kind, tag, parsed.or_else(|| as_signed(whole(value, source)?)).ok_or(fault)?, out)?;
        }
    }
    Ok(())
}

/// Writes a message that has a text form.
fn message_text(
    shapes: &Shapes,
    index: usize,
    tag: u32,
    value: &str,
    source: Source,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let message = shapes.message(index);
    let fault = expected(shapes, Kind::Message(index));
    let parameter = source == Source::Parameter;
    let start = wire::open(out, tag);
    match message.known {
        Some(WellKnown::Timestamp) => seconds(out, time::parse_timestamp(value).ok_or(fault)?),
        Some(WellKnown::Duration) if parameter => seconds(out, time::parse_duration_or_go(value).ok_or(fault)?),
        Some(WellKnown::Duration) => seconds(out, time::parse_duration(value).ok_or(fault)?),
        Some(WellKnown::FieldMask) => {
            for path in value.split(',').map(str::trim).filter(|p| !p.is_empty()) {
                let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "_.*".contains(c));
                if !plain || !(parameter || time::is_mask_path(path)) {
                    return Err(fault);
                }
                // Parameters are documented as proto paths; JSON has lowerCamel, ours also snake_case.
                let path = if parameter { path.to_owned() } else { time::mask_path(path) };
                wire::bytes(out, 1, path.as_bytes());
            }
        }
        Some(WellKnown::Wrapper) => {
            let inner = message.fields.first().map(|f| f.kind).ok_or(fault)?;
            text(shapes, inner, 1, value, source, out)?;
        }
        _ => return Err(fault),
    }
    wire::close(out, start);
    Ok(())
}

fn seconds(out: &mut Vec<u8>, (secs, nanos): time::Parts) {
    if secs != 0 {
        wire::key(out, 1, wire::VARINT);
        wire::varint(out, secs.cast_unsigned());
    }
    if nanos != 0 {
        wire::key(out, 2, wire::VARINT);
        wire::varint(out, i64::from(nanos).cast_unsigned());
    }
}

/// Base64 of either alphabet, padded or not.
pub(crate) fn base64_of(value: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STD: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
    const URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);
    if value.contains(['-', '_']) { URL.decode(value).ok() } else { STD.decode(value).ok() }
}

fn parse_bool(value: &str, source: Source) -> Option<bool> {
    match (value, source) {
        ("true", Source::MapKey | Source::Parameter) => Some(true),
        ("false", Source::MapKey | Source::Parameter) => Some(false),
        ("1" | "t" | "T" | "TRUE" | "True", Source::Parameter) => Some(true),
        ("0" | "f" | "F" | "FALSE" | "False", Source::Parameter) => Some(false),
        _ => None,
    }
}

/// A float, and that it was spelled as infinite.
fn parse_float(value: &str) -> Option<(f64, bool)> {
    match value {
        "NaN" => Some((f64::NAN, false)),
        "Infinity" => Some((f64::INFINITY, true)),
        "-Infinity" => Some((f64::NEG_INFINITY, true)),
        // Rust also reads `inf` and `nan`, which ProtoJSON does not have.
        _ if value.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) => {
            value.parse().ok().map(|parsed: f64| (parsed, false))
        }
        _ => None,
    }
}

fn digits(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit())
}

/// A quoted integer in exponent form, which ProtoJSON admits.
fn whole(value: &str, source: Source) -> Option<Number> {
    if source != Source::Json || !value.contains(['e', 'E', '.']) {
        return None;
    }
    parse_float(value).map(|(parsed, _)| Number::Float(parsed))
}

#[expect(clippy::cast_precision_loss, reason = "a JSON integer read as a float is rounded, as every JSON reader does")]
fn as_f64(value: Number) -> f64 {
    match value {
        Number::Unsigned(v) => v as f64,
        Number::Signed(v) => v as f64,
        Number::Float(v) => v,
    }
}

fn as_signed(value: Number) -> Option<i64> {
    match value {
        Number::Signed(v) => Some(v),
        Number::Unsigned(v) => i64::try_from(v).ok(),
        Number::Float(v) => exact(v),
    }
}

fn as_unsigned(value: Number) -> Option<u64> {
    match value {
        Number::Unsigned(v) => Some(v),
        Number::Signed(v) => u64::try_from(v).ok(),
        Number::Float(v) => exact(v).and_then(|v| u64::try_from(v).ok()),
    }
}

/// A whole float as an integer, within what a float holds exactly.
#[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
fn exact(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i64)
}

fn signed(kind: Kind, tag: u32, value: i64, out: &mut Vec<u8>) -> Result<(), Fault> {
    let narrow = || i32::try_from(value).map_err(|_| NOT_INT32);
    wire::key(out, tag, wire::wire_type(kind));
    match kind {
        Kind::Int32 => wire::varint(out, i64::from(narrow()?).cast_unsigned()),
        Kind::Sint32 => wire::varint(out, zigzag(i64::from(narrow()?))),
        Kind::Sfixed32 => out.put_i32_le(narrow()?),
        Kind::Sint64 => wire::varint(out, zigzag(value)),
        Kind::Sfixed64 => out.put_i64_le(value),
        _ => wire::varint(out, value.cast_unsigned()),
    }
    Ok(())
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unsigned(kind: Kind, tag: u32, value: u64, out: &mut Vec<u8>) -> Result<(), Fault> {
    let narrow = || u32::try_from(value).map_err(|_| NOT_UINT32);
    wire::key(out, tag, wire::wire_type(kind));
    match kind {
        Kind::Uint32 => wire::varint(out, u64::from(narrow()?)),
        Kind::Fixed32 => out.put_u32_le(narrow()?),
        Kind::Fixed64 => out.put_u64_le(value),
        _ => wire::varint(out, value),
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "the range was looked at; rounding to 32 bits is the type's")]
fn float(kind: Kind, tag: u32, value: f64, infinite: bool, out: &mut Vec<u8>) -> Result<(), Fault> {
    if value.is_infinite() && !infinite {
        return Err(NOT_DOUBLE);
    }
    wire::key(out, tag, wire::wire_type(kind));
    if kind == Kind::Double {
        out.put_f64_le(value);
        return Ok(());
    }
    let narrow = value as f32;
    if narrow.is_infinite() && !infinite {
        return Err(NOT_FLOAT);
    }
    out.put_f32_le(narrow);
    Ok(())
}
