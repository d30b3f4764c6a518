//! The few fields of a `CheckRequest` that a decision needs, read where they lie.
//!
//! Follows the wire format strictly: a truncated field, a group, an overlong varint or a wrong wire type of a field that
//! matters is an error, never skipped over.

use coreloop_access::Picked;

/// What was found. Borrows the message.
#[derive(Debug, Default)]
pub(super) struct Scan<'a> {
    method: &'a [u8],
    path: &'a [u8],
    pub(super) picked: Picked<'a>,
    pub(super) accept_language: Option<&'a str>,
    /// What the proxies say of the client's address: `x-envoy-external-address`, and the last `x-forwarded-for`.
    pub(super) external: Option<&'a str>,
    pub(super) forwarded: Option<&'a str>,
    /// Names of headers by which the client speaks of identity, in whatever spelling, other than the four that are set.
    pub(super) strange: Vec<&'a str>,
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

impl<'a> Scan<'a> {
    /// Scans a message; none when it is no `CheckRequest`.
    pub(super) fn of(message: &'a [u8]) -> Option<Self> {
        let mut scan = Self::default();
        // CheckRequest.attributes = 1, AttributeContext.request = 4, Request.http = 2. A singular message that comes twice
        // is merged, which is what visiting both in order amounts to.
        each(message, |tag, attributes| match tag {
            1 => each(attributes?, |tag, request| match tag {
                4 => each(request?, |tag, http| match tag {
                    2 => scan.http(http?),
                    _ => Some(()),
                }),
                _ => Some(()),
            }),
            _ => Some(()),
        })?;
        Some(scan)
    }

    /// Method and path, if they are text.
    pub(super) fn path(&self) -> Option<(&'a str, &'a str)> {
        Some((std::str::from_utf8(self.method).ok()?, std::str::from_utf8(self.path).ok()?))
    }

    /// The request is gRPC, which Envoy answers as such.
    pub(super) fn is_grpc(&self) -> bool {
        self.picked.content_type.is_some_and(|value| {
            let value = value.as_bytes();
            let (head, rest) = value.split_at_checked(b"application/grpc".len()).unwrap_or((value, b"-"));
            head.eq_ignore_ascii_case(b"application/grpc") && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        })
    }

    /// HttpRequest: method = 2, headers = 3 (a map), path = 4, header_map = 13.
    fn http(&mut self, http: &'a [u8]) -> Option<()> {
        each(http, |tag, value| {
            match tag {
                2 => self.method = value?,
                3 => {
                    let (mut name, mut content) = (&[][..], &[][..]);
                    each(value?, |tag, value| {
                        match tag {
                            1 => name = value?,
                            2 => content = value?,
                            _ => {}
                        }
                        Some(())
                    })?;
                    self.header(name, content);
                }
                4 => self.path = value?,
                13 => each(value?, |tag, header| match tag {
                    1 => self.header_value(header?),
                    _ => Some(()),
                })?,
                _ => {}
            }
            Some(())
        })
    }

    /// HeaderValue: key = 1, value = 2, raw_value = 3.
    fn header_value(&mut self, header: &'a [u8]) -> Option<()> {
        let (mut name, mut content) = (&[][..], &[][..]);
        each(header, |tag, value| {
            match tag {
                1 => name = value?,
                2 | 3 => content = value?,
                _ => {}
            }
            Some(())
        })?;
        self.header(name, content);
        Some(())
    }

    fn header(&mut self, name: &'a [u8], content: &'a [u8]) {
        let text = || std::str::from_utf8(content).ok();
        match name {
            b"authorization" => {
                self.picked.authorization_twice |= self.picked.authorization.is_some();
                self.picked.authorization = Some(content);
            }
            b"content-type" => self.picked.content_type = text(),
            b"origin" => self.picked.origin = text(),
            b"access-control-request-method" => self.picked.access_control_request_method = text(),
            b"upgrade" => self.picked.upgrade = text(),
            b"accept-language" => self.accept_language = text(),
            b"x-envoy-external-address" => self.external = text(),
            b"x-forwarded-for" => self.forwarded = text(),
            b"x-user-id" | b"x-user-roles" | b"x-session-id" | b"x-token-jti" => {}
            [b'x' | b'X', b'-' | b'_', ..] if speaks_of_identity(name) => {
                self.strange.extend(std::str::from_utf8(name))
            }
            // Envoy lower-cases names; a sender that does not must not hide a header from the arms above.
            _ if name.eq_ignore_ascii_case(b"authorization") => self.header(b"authorization", content),
            _ => {}
        }
    }
}

/// The name is ours to set, or looks so to a backend that takes `_` for `-` or ignores case.
fn speaks_of_identity(name: &[u8]) -> bool {
    const FAMILIES: [&[u8]; 5] = [b"x-user-", b"x-session-", b"x-token-", b"x-auth-", b"x-caller-"];
    let same = |byte: &u8, wanted: &u8| {
        let byte = if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
        byte == *wanted
    };
    FAMILIES.iter().any(|family| {
        name.len() >= family.len() && name.iter().zip(family.iter()).all(|(byte, wanted)| same(byte, wanted))
    })
}

/// Visits the fields of a message in order: tag and, for a length-delimited field, its content. None ends it all.
fn each<'a>(mut message: &'a [u8], mut visit: impl FnMut(u64, Option<&'a [u8]>) -> Option<()>) -> Option<()> {
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let (tag, wire) = (key >> 3, key & 7);
        if tag == 0 || tag > 0x1fff_ffff {
            return None;
        }
        let content = match wire {
            VARINT => {
                varint(&mut message)?;
                None
            }
            FIXED64 => {
                take(&mut message, 8)?;
                None
            }
            BYTES => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                Some(take(&mut message, length)?)
            }
            FIXED32 => {
                take(&mut message, 4)?;
                None
            }
            _ => return None,
        };
        visit(tag, content)?;
    }
    Some(())
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(head)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        if shift == 63 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
