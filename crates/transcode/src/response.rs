//! From an encoded response message to JSON.

use std::borrow::Cow;

use bytes::Bytes;
use coreloop_core::{Problem, Reason};

use crate::{
    options::Lang,
    router::{Route, Router},
    status::ErrorReply,
};

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
        let _ = (self.router, route, message);
        Err(Problem::common(Reason::Unimplemented, "not built"))
    }

    /// JSON of one message of a stream, without a frame; raw data for HttpBody.
    ///
    /// # Errors
    /// INTERNAL when the bytes are not the response message.
    pub fn stream_json(&self, route: &Route, message: &[u8]) -> Result<Bytes, Problem> {
        self.encode(route, message).map(|reply| reply.body)
    }

    /// JSON of a message by its full name.
    ///
    /// # Errors
    /// INTERNAL when the name is unknown or the bytes are not that message.
    pub fn message_json(&self, full_name: &str, message: &[u8]) -> Result<Bytes, Problem> {
        let _ = (full_name, message);
        Err(Problem::common(Reason::Unimplemented, "not built"))
    }

    /// The answer of a failed RPC; `details` is the decoded `grpc-status-details-bin`.
    #[must_use]
    pub fn error(&self, code: i32, message: &str, details: &[u8], lang: Option<Lang>) -> ErrorReply {
        let _ = (code, message, details, lang);
        ErrorReply { http_status: 500, body: Bytes::new(), retry_after_secs: None, domain: String::new(), reason: String::new() }
    }
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

/// A server-sent event; JSON as written here has no line breaks.
#[must_use]
pub fn sse_event(id: u64, json: &[u8]) -> Bytes {
    [format!("id: {id}\ndata: ").as_bytes(), json, b"\n\n"].concat().into()
}
