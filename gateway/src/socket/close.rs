//! How sockets are closed: the codes (docs/realtime.md has the table for clients).
//!
//! A code says what to do next, the reason which constant of the catalogue it was: `4401 TOKEN_REVOKED`. The reasons of
//! statuses are the constants of their ErrorInfo, so a client that knows them from REST knows them here.

use std::borrow::Cow;

use bytes::{BufMut as _, Bytes, BytesMut};
use coreloop_transcode::response::Encoder;
use tonic::{Code, Status};

use super::frame::{CONTROL, Fault};

/// How a socket is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Close {
    code: u16,
    reason: Cow<'static, str>,
}

impl Close {
    /// All was said.
    pub(crate) const DONE: Self = Self::known(1000, "");
    /// The edge drains: come back in a second, another takes the socket.
    pub(crate) const DRAINING: Self = Self::known(1001, "the edge restarts; open the socket again");
    /// A binary message.
    pub(crate) const BINARY: Self = Self::known(1003, "binary messages are not taken");
    /// A text that is not UTF-8.
    pub(crate) const NOT_TEXT: Self = Self::known(1007, "a text that is not UTF-8");
    /// More messages than are taken.
    pub(crate) const TOO_MANY: Self = Self::known(1008, "more messages than are taken");
    /// A message that is too large.
    pub(crate) const TOO_LARGE: Self = Self::known(1009, "BODY_TOO_LARGE");
    /// No token came with the first message, or no first message in time.
    pub(crate) const NO_TOKEN: Self = Self::known(4401, "TOKEN_MISSING");
    /// Nothing was heard for too long.
    pub(crate) const IDLE: Self = Self::known(4408, "IDLE");
    /// The client does not read.
    pub(crate) const SLOW: Self = Self::known(4410, "SLOW_CONSUMER");

    const fn known(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// What a client sent is not the protocol.
    pub(crate) const fn protocol(what: &'static str) -> Self {
        Self::known(1002, what)
    }

    /// The status with which the stream behind a socket ended.
    pub(crate) fn of(status: &Status, encoder: &Encoder<'_>) -> Self {
        let reply = encoder.error(status.code() as i32, status.message(), status.details(), None);
        let code = match (status.code(), reply.reason.as_str()) {
            (Code::Ok, _) => return Self::DONE,
            (Code::Unauthenticated, _) => 4401,
            (Code::PermissionDenied, _) => 4403,
            (Code::NotFound, _) => 4404,
            (Code::InvalidArgument | Code::OutOfRange, _) => 4400,
            (Code::ResourceExhausted, "TOO_MANY_SOCKETS") => 4409,
            (Code::ResourceExhausted, "SLOW_CONSUMER") => 4410,
            (Code::ResourceExhausted, "RATE_LIMITED") => 4429,
            (Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded, _) => 1013,
            _ => 1011,
        };
        Self { code, reason: reply.reason.into() }
    }

    /// The code.
    pub(crate) fn code(&self) -> u16 {
        self.code
    }

    /// The payload of the frame: the code, and as much of the reason as a control frame holds.
    pub(crate) fn payload(&self) -> Bytes {
        let most = self.reason.floor_char_boundary(CONTROL - 2);
        let reason = self.reason.get(..most).unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(2 + reason.len());
        bytes.put_u16(self.code);
        bytes.put_slice(reason.as_bytes());
        bytes.freeze()
    }

    /// The code in the close frame of a client; none when it gave none.
    ///
    /// # Errors
    /// A code that nobody may send (7.4), a single byte, a reason that is not UTF-8.
    pub(crate) fn read(payload: &[u8]) -> Result<Option<u16>, Fault> {
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            return match payload {
                [] => Ok(None),
                _ => Err(Fault::Protocol("a close with half a code")),
            };
        };
        let code = u16::from_be_bytes(*code);
        // 1004 is reserved; 1005, 1006 and 1015 only stand for what was not sent.
        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return Err(Fault::Protocol("a close code that nobody may send"));
        }
        std::str::from_utf8(reason).map(|_| Some(code)).map_err(|_| Fault::NotText)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use coreloop_core::{Kind, Problem, Reason};

    use super::*;

    fn of(problem: Problem) -> (u16, String) {
        let encoder = Encoder::new(coreloop_transcode::router::router());
        let close = Close::of(&Status::from(problem), &encoder);
        (close.code, close.reason.into_owned())
    }

    #[test]
    fn a_status_says_what_to_do_next() {
        let own = |kind, reason| of(Problem::new(kind, "realtime", reason, "no"));
        assert_eq!(of(Problem::common(Reason::TokenRevoked, "no")), (4401, "TOKEN_REVOKED".into()));
        assert_eq!(of(Problem::common(Reason::TokenExpired, "no")), (4401, "TOKEN_EXPIRED".into()));
        assert_eq!(of(Problem::common(Reason::RoleRequired, "no")), (4403, "ROLE_REQUIRED".into()));
        assert_eq!(own(Kind::ResourceExhausted, "TOO_MANY_SOCKETS"), (4409, "TOO_MANY_SOCKETS".into()));
        assert_eq!(own(Kind::ResourceExhausted, "SLOW_CONSUMER"), (4410, "SLOW_CONSUMER".into()));
        assert_eq!(of(Problem::common(Reason::Overloaded, "no")).0, 1013);
        assert_eq!(of(Problem::common(Reason::DependencyUnavailable, "no")).0, 1013);
        assert_eq!(of(Problem::internal("secret")), (1011, "INTERNAL".into()));
    }

    #[test]
    fn a_reason_fits_its_frame_and_stays_text() {
        let close = Close { code: 4000, reason: "가".repeat(60).into() };
        let payload = close.payload();
        assert!(payload.len() <= CONTROL, "{}", payload.len());
        assert_eq!(std::str::from_utf8(&payload[2..]).unwrap(), "가".repeat(41));
        assert_eq!(Close::DONE.payload(), [3, 232][..]);
    }

    #[test]
    fn codes_that_nobody_may_send_are_refused() {
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            assert!(Close::read(&code.to_be_bytes()).is_err(), "{code}");
        }
        for code in [1000_u16, 1001, 1011, 1014, 3000, 4401, 4999] {
            assert_eq!(Close::read(&code.to_be_bytes()), Ok(Some(code)));
        }
        assert_eq!(Close::read(&[]), Ok(None));
    }
}
