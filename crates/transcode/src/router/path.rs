//! Raw paths: what is refused whatever the templates, and what variables capture.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::{
    router::Route,
    template::{MAX_VARIABLES, Segment, Template},
};

/// The path after its leading slash, without query and fragment; none when a segment is empty or a dot segment.
///
/// Proxies on the way may merge slashes and resolve dots, so such a path never matches anything, variables included.
pub(crate) fn segments(raw: &str) -> Option<&str> {
    let rest = raw.strip_prefix('/')?;
    let bytes = rest.as_bytes();
    let mut start = 0;
    // One pass: this is on the way of every request.
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(byte, b'/' | b'?' | b'#') {
            if !is_segment(bytes.get(start..at)?) {
                return None;
            }
            if *byte != b'/' {
                return rest.get(..at);
            }
            start = at + 1;
        }
    }
    is_segment(bytes.get(start..)?).then_some(rest)
}

/// Not empty and not a dot segment.
pub(crate) fn is_segment(segment: &[u8]) -> bool {
    !segment.is_empty() && !is_dot_segment(segment)
}

/// `.` or `..` in any spelling of their dots.
fn is_dot_segment(mut segment: &[u8]) -> bool {
    // The longest spelling is `%2e%2e`; everything else is told by its first byte.
    if !matches!(segment.first(), Some(b'.' | b'%')) || segment.len() > 6 {
        return false;
    }
    let mut dots = 0;
    while !segment.is_empty() {
        segment = match segment {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return false,
        };
        dots += 1;
    }
    dots <= 2
}

/// What the variables of a route captured, still encoded. Lives on the stack.
#[derive(Debug, Clone, Copy)]
pub struct Vars<'p> {
    raw: [&'p str; MAX_VARIABLES],
    len: usize,
}

impl<'p> Vars<'p> {
    /// No variables.
    pub const EMPTY: Vars<'static> = Vars { raw: [""; MAX_VARIABLES], len: 0 };

    /// Captures of a path (no leading slash, no verb) that the template matches; none when an escape is malformed or a
    /// value is not UTF-8.
    pub(crate) fn capture(template: &Template, path: &'p str) -> Option<Self> {
        let mut vars = Self { raw: [""; MAX_VARIABLES], len: template.variables().len() };
        if vars.len == 0 {
            return valid(path).then_some(vars);
        }
        for (slot, variable) in vars.raw.iter_mut().zip(template.variables()) {
            *slot = span(template, path, variable.start, variable.end);
        }
        valid(path).then_some(vars)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The still encoded value of variable `index`.
    #[must_use]
    pub fn raw(&self, index: usize) -> Option<&'p str> {
        self.raw.get(..self.len)?.get(index).copied()
    }

    /// The value of variable `index` of the route it was captured for, decoded by the rule of `http.proto`: a variable
    /// that can span several segments keeps `%2F`.
    #[must_use]
    pub fn decode(&self, route: &Route, index: usize) -> Option<Cow<'p, str>> {
        decode(self.raw(index)?, route.template.variables().get(index)?.multi)
    }
}

/// Decodes percent escapes; none when one is malformed or the value is not UTF-8.
pub(crate) fn decode(raw: &str, multi: bool) -> Option<Cow<'_, str>> {
    if !raw.contains('%') {
        return Some(Cow::Borrowed(raw));
    }
    if !escapes_are_whole(raw) {
        return None;
    }
    if !multi {
        return percent_decode_str(raw).decode_utf8().ok();
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.as_bytes().windows(3).position(|w| matches!(w, [b'%', b'2', b'F' | b'f'])) {
        let (before, tail) = rest.split_at(at);
        let (slash, after) = tail.split_at(3);
        out.push_str(&percent_decode_str(before).decode_utf8().ok()?);
        out.push_str(slash);
        rest = after;
    }
    out.push_str(&percent_decode_str(rest).decode_utf8().ok()?);
    Some(Cow::Owned(out))
}

/// Every escape of the path is well-formed and the whole decodes to UTF-8.
fn valid(path: &str) -> bool {
    !path.contains('%') || (escapes_are_whole(path) && percent_decode_str(path).decode_utf8().is_ok())
}

fn escapes_are_whole(raw: &str) -> bool {
    let bytes = raw.as_bytes();
    bytes.iter().enumerate().filter(|(_, b)| **b == b'%').all(|(at, _)| {
        matches!(bytes.get(at + 1..at + 3), Some([high, low]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
    })
}

/// The part of the path that segments `start..end` of the template cover.
fn span<'p>(template: &Template, path: &'p str, start: usize, end: usize) -> &'p str {
    let mut cut = path;
    for _ in 0..start {
        cut = cut.split_once('/').map_or("", |(_, rest)| rest);
    }
    if template.segments().get(end - 1) == Some(&Segment::DoubleStar) {
        return cut;
    }
    let length = cut.match_indices('/').nth(end - start - 1).map_or(cut.len(), |(at, _)| at);
    cut.get(..length).unwrap_or_default()
}
