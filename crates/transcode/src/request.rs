//! From an HTTP request to the encoded request message.

use bytes::Bytes;
use coreloop_core::{Problem, Reason};

use crate::router::{Route, Router, Vars};

/// The parts of an HTTP request that the message is made of.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What the path captured.
    pub vars: &'a Vars<'a>,
    /// Raw query, without `?`; empty when there is none.
    pub query: &'a str,
    /// Media type of the body.
    pub content_type: Option<&'a str>,
    /// Body.
    pub body: &'a [u8],
    /// `Idempotency-Key` header: fills `edge.idempotency_field` when the request leaves it empty.
    pub idempotency_key: Option<&'a str>,
}

/// Turns requests into messages. Holds no state of its own.
#[derive(Debug, Clone, Copy)]
pub struct Decoder<'r> {
    router: &'r Router,
}

impl<'r> Decoder<'r> {
    /// A decoder for the routes of a router.
    #[must_use]
    pub fn new(router: &'r Router) -> Self {
        Self { router }
    }

    /// The encoded request message.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: what cannot be read, naming the field; UNSUPPORTED_MEDIA_TYPE for a body that is not JSON.
    pub fn decode(&self, route: &Route, input: &Input<'_>) -> Result<Bytes, Problem> {
        let _ = (self.router, route, input);
        Err(Problem::common(Reason::Unimplemented, "not built"))
    }
}
