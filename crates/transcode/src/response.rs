//! From an encoded response message to JSON.

mod error;
mod scalar;
mod special;
mod writer;

use std::borrow::Cow;

use bytes::Bytes;
use coreloop_core::Problem;

use self::writer::Writer;
use crate::{
    options::Lang,
    router::{Route, Router},
    shape::{Kind, Shapes, WellKnown},
    status::ErrorReply,
    wire::{Malformed, Raw, Reader},
};

/// Media type of everything that is not an HttpBody.
pub const JSON: &str = "application/json";

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status: `edge.success_status`, 200, or 302 for a redirect.
    pub http_status: u16,
    /// Media type.
    pub content_type: Cow<'static, str>,
    /// Body.
    pub body: Bytes,
    /// Target of a redirect.
    pub location: Option<String>,
}

/// Turns messages into answers. Holds no state of its own.
#[derive(Debug, Clone, Copy)]
pub struct Encoder<'r> {
    router: &'r Router,
}

impl<'r> Encoder<'r> {
    /// An encoder for the routes of a router.
    #[must_use]
    pub fn new(router: &'r Router) -> Self {
        Self { router }
    }

    /// The answer of a unary RPC.
    ///
    /// # Errors
    /// INTERNAL when the bytes are not the response message.
    pub fn encode(&self, route: &Route, message: &[u8]) -> Result<Reply, Problem> {
        let stated = u16::try_from(route.edge.success_status).ok();
        let http_status = stated.filter(|status| (200..300).contains(status)).unwrap_or(200);
        if let Some(location) = self.redirect(route, message).map_err(Problem::internal)? {
            let content_type = Cow::Borrowed(JSON);
            return Ok(Reply { http_status: 302, content_type, body: Bytes::new(), location: Some(location) });
        }
        let (content_type, body) = self.content(route, message).map_err(Problem::internal)?;
        Ok(Reply { http_status, content_type, body, location: None })
    }

    /// JSON of one message of a stream, without a frame; the raw data of an HttpBody.
    ///
    /// # Errors
    /// INTERNAL when the bytes are not the response message.
    pub fn stream_json(&self, route: &Route, message: &[u8]) -> Result<Bytes, Problem> {
        self.content(route, message).map(|(_, body)| body).map_err(Problem::internal)
    }

    /// JSON of a message by its full name.
    ///
    /// # Errors
    /// INTERNAL when the name is unknown or the bytes are not that message.
    pub fn message_json(&self, full_name: &str, message: &[u8]) -> Result<Bytes, Problem> {
        to_json(&self.router.shapes, full_name, message)
    }

    /// The answer of a failed RPC; `details` is the decoded `grpc-status-details-bin`.
    ///
    /// Adds a LocalizedMessage in `lang` when the reason catalogue has one. A failure without ErrorInfo did not come
    /// from one of our services but from the way to it: its text may name hosts and is replaced.
    #[must_use]
    pub fn error(&self, code: i32, message: &str, details: &[u8], lang: Option<Lang>) -> ErrorReply {
        error::reply(&self.router.shapes, code, message, details, lang)
    }

    fn content(&self, route: &Route, message: &[u8]) -> Result<(Cow<'static, str>, Bytes), Malformed> {
        let shapes = &self.router.shapes;
        let output = shapes.message(route.plan.output);
        let mut out = Vec::with_capacity(message.len() * 2 + 64);
        let mut writer = Writer::new(shapes);
        match route.plan.response_field {
            None if output.known == Some(WellKnown::HttpBody) => return raw(message),
            None => writer.message(route.plan.output, message, &mut out)?,
            Some(at) => {
                let field = output.field(at);
                if matches!(field.kind, Kind::Message(m) if shapes.message(m).known == Some(WellKnown::HttpBody)) {
                    return raw(&last(message, field.number)?.unwrap_or_default());
                }
                writer.one(output, at, message, &mut out)?;
            }
        }
        Ok((Cow::Borrowed(JSON), out.into()))
    }

    /// The redirect target, when the RPC has one and it is set.
    fn redirect(&self, route: &Route, message: &[u8]) -> Result<Option<String>, Malformed> {
        let Some(at) = route.plan.redirect else { return Ok(None) };
        let number = self.router.shapes.message(route.plan.output).field(at).number;
        let Some(target) = last(message, number)?.filter(|t| !t.is_empty()) else { return Ok(None) };
        String::from_utf8(target).map(Some).map_err(|_| Malformed)
    }
}

/// JSON of a message by its full name.
pub(crate) fn to_json(shapes: &Shapes, full_name: &str, message: &[u8]) -> Result<Bytes, Problem> {
    let index = shapes.index(full_name).ok_or_else(|| Problem::internal(format!("no message `{full_name}`")))?;
    let mut out = Vec::with_capacity(message.len() * 2 + 64);
    Writer::new(shapes).message(index, message, &mut out).map_err(Problem::internal)?;
    Ok(out.into())
}

/// A line of a stream: `{"result":…}`.
#[must_use]
pub fn ndjson_result(json: &[u8]) -> Bytes {
    [b"{\"result\":".as_slice(), json, b"}\n"].concat().into()
}

/// The last line of a stream that failed: `{"error":…}`.
#[must_use]
pub fn ndjson_error(status: &[u8]) -> Bytes {
    [b"{\"error\":".as_slice(), status, b"}\n"].concat().into()
}

/// A server-sent event; JSON as written here has no line breaks. It has no `id:`: a browser would send it back as the
/// place to go on from, and only the service could know such a place.
#[must_use]
pub fn sse_event(json: &[u8]) -> Bytes {
    [b"data: ".as_slice(), json, b"\n\n"].concat().into()
}

/// Content type and data of an HttpBody.
fn raw(message: &[u8]) -> Result<(Cow<'static, str>, Bytes), Malformed> {
    let content_type = last(message, 1)?.filter(|t| !t.is_empty());
    let content_type = content_type.map(|t| String::from_utf8(t).map_err(|_| Malformed)).transpose()?;
    let data = last(message, 2)?.unwrap_or_default();
    Ok((content_type.map_or(Cow::Borrowed("application/octet-stream"), Cow::Owned), data.into()))
}

/// The bytes of a length-delimited field.
fn last(message: &[u8], number: u32) -> Result<Option<Vec<u8>>, Malformed> {
    let mut found = None;
    let mut reader = Reader(message);
    while let Some((at, raw)) = reader.field()? {
        if let (true, Raw::Bytes(bytes)) = (at == number, raw) {
            found = Some(bytes);
        }
    }
    Ok(found.map(<[u8]>::to_vec))
}
