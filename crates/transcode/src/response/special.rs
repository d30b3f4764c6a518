//! Well-known types as JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    scalar::{self, Text},
    writer::Writer,
};
use crate::{
    shape::{Kind, Message, WellKnown},
    time,
    wire::{Malformed, Raw, Reader},
};

/// Writes a message that has a JSON form of its own.
pub(super) fn write<'s, 'a>(
    writer: &mut Writer<'s, 'a>,
    message: &'s Message,
    known: WellKnown,
    bytes: &'a [u8],
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    match known {
        WellKnown::Timestamp => quoted(out, |out| time::write_timestamp(out, parts(bytes)?)),
        WellKnown::Duration => quoted(out, |out| time::write_duration(out, parts(bytes)?)),
        WellKnown::FieldMask => mask(bytes, out),
        WellKnown::Struct | WellKnown::ListValue => writer.one(message, 0, bytes, out),
        WellKnown::Value => value(writer, message, bytes, out),
        WellKnown::Wrapper => wrapper(writer, message, bytes, out),
        WellKnown::Any => any(writer, bytes, out),
        WellKnown::HttpBody => Err(Malformed),
    }
}

/// Type URL and content of an Any.
pub(crate) fn any_parts(bytes: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (mut url, mut content): (&str, &[u8]) = ("", b"");
    let mut reader = Reader(bytes);
    while let Some((number, raw)) = reader.field()? {
        match (number, raw) {
            (1, Raw::Bytes(bytes)) => url = std::str::from_utf8(bytes).map_err(|_| Malformed)?,
            (2, Raw::Bytes(bytes)) => content = bytes,
            _ => {}
        }
    }
    Ok((url, content))
}

/// Seconds and nanoseconds of a Timestamp or Duration.
pub(crate) fn parts(bytes: &[u8]) -> Option<time::Parts> {
    let (mut secs, mut nanos) = (0, 0);
    let mut reader = Reader(bytes);
    while let Some((number, raw)) = reader.field().ok()? {
        match (number, raw) {
            (1, Raw::Varint(value)) => secs = value.cast_signed(),
            (2, Raw::Varint(value)) => nanos = i32::try_from(value.cast_signed()).ok()?,
            _ => {}
        }
    }
    Some((secs, nanos))
}

/// Writes an Any whose type is known.
pub(crate) fn known_any<'a>(
    writer: &mut Writer<'_, 'a>,
    url: &str,
    content: &'a [u8],
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let name = url.rsplit_once('/').map_or(url, |(_, name)| name);
    let index = writer.shapes.index(name).ok_or(Malformed)?;
    let message = writer.shapes.message(index);
    out.extend_from_slice(b"{\"@type\":");
    scalar::string(url.as_bytes(), out)?;
    if matches!(message.known, None | Some(WellKnown::HttpBody)) {
        writer.fields(message, content, out, false)?;
    } else {
        out.extend_from_slice(b",\"value\":");
        writer.message(index, content, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn any<'a>(writer: &mut Writer<'_, 'a>, bytes: &'a [u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    if bytes.is_empty() {
        out.extend_from_slice(b"{}");
        return Ok(());
    }
    let (url, content) = any_parts(bytes)?;
    let name = url.rsplit_once('/').map_or(url, |(_, name)| name);
    if writer.shapes.index(name).is_some() {
        return known_any(writer, url, content, out);
    }
    // A type of a newer service: its bytes are better than a failure.
    out.extend_from_slice(b"{\"@type\":");
    scalar::string(url.as_bytes(), out)?;
    out.extend_from_slice(b",\"value\":\"");
    out.extend_from_slice(STANDARD.encode(content).as_bytes());
    out.extend_from_slice(b"\"}");
    Ok(())
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Text<'_>) -> Option<()>) -> Result<(), Malformed> {
    out.push(b'"');
    write(&mut Text(out)).ok_or(Malformed)?;
    out.push(b'"');
    Ok(())
}

fn mask(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut paths = Vec::new();
    let mut reader = Reader(bytes);
    while let Some((number, raw)) = reader.field()? {
        if let (1, Raw::Bytes(path)) = (number, raw) {
            paths.push(time::mask_json(std::str::from_utf8(path).map_err(|_| Malformed)?));
        }
    }
    scalar::string(paths.join(",").as_bytes(), out)
}

fn wrapper<'s, 'a>(
    writer: &mut Writer<'s, 'a>,
    message: &'s Message,
    bytes: &'a [u8],
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let field = message.fields.first().ok_or(Malformed)?;
    let mut found = None;
    let mut reader = Reader(bytes);
    while let Some((number, raw)) = reader.field()? {
        if number == field.number {
            found = Some(raw);
        }
    }
    match found {
        Some(raw) => writer.value(field, field.kind, raw, out),
        None => {
            scalar::default(writer.shapes, field, out);
            Ok(())
        }
    }
}

fn value<'s, 'a>(
    writer: &mut Writer<'s, 'a>,
    message: &'s Message,
    bytes: &'a [u8],
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let mut found = None;
    let mut reader = Reader(bytes);
    while let Some((number, raw)) = reader.field()? {
        if let Some(at) = message.numbered(number) {
            found = Some((at, raw));
        }
    }
    match found.map(|(at, raw)| (message.field(at), raw)) {
        None => out.extend_from_slice(b"null"),
        Some((field, Raw::Fixed64(bits))) if field.kind == Kind::Double => {
            let number = f64::from_bits(bits);
            // Struct numbers that are whole are written as such; NaN has no place in a Value.
            if !number.is_finite() {
                return Err(Malformed);
            }
            whole_or_double(number, out);
        }
        Some((field, raw)) => writer.value(field, field.kind, raw, out)?,
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
fn whole_or_double(number: f64, out: &mut Vec<u8>) {
    use std::fmt::Write as _;
    if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
        let _ = write!(Text(out), "{}", number as i64);
    } else {
        scalar::double(number, out);
    }
}
