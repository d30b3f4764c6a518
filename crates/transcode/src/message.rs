//! One message by its full name, JSON to wire and back, with the codec of the REST edge: for what travels outside of RPCs.

use std::sync::LazyLock;

use bytes::Bytes;
use coreloop_core::Problem;

use crate::{descriptor, request, response, shape::Shapes};

/// The shapes of the committed descriptor set.
static SHAPES: LazyLock<Shapes> = LazyLock::new(|| Shapes::new(descriptor::pool()));

/// ProtoJSON of an encoded message, with the names of the proto.
///
/// # Errors
/// INTERNAL when the name is unknown or the bytes are not that message.
pub fn to_json(full_name: &str, message: &[u8]) -> Result<Bytes, Problem> {
    response::to_json(&SHAPES, full_name, message)
}

/// The encoded message that `json` says; fields that are unknown here are left out, so that an older reader understands a
/// newer writer.
///
/// # Errors
/// INTERNAL when the name is unknown; INVALID_ARGUMENT naming the field, or MALFORMED_REQUEST for what is not JSON.
pub fn from_json(full_name: &str, json: &[u8]) -> Result<Bytes, Problem> {
    request::from_json(&SHAPES, full_name, json)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const NAME: &str = "coreloop.event.v1.AuthUserRegistered";

    #[test]
    fn a_message_goes_round_and_what_is_newer_is_left_out() {
        let json = br#"{"user_id":"7","method":"password","occurred_at":"2026-01-02T03:04:05Z"}"#;
        let wire = from_json(NAME, json).unwrap();
        let back: serde_json::Value = serde_json::from_slice(&to_json(NAME, &wire).unwrap()).unwrap();
        assert_eq!(back, serde_json::from_slice::<serde_json::Value>(json).unwrap());
        let newer = br#"{"user_id":"7","method":"password","occurred_at":"2026-01-02T03:04:05Z","shoe_size":43}"#;
        assert_eq!(from_json(NAME, newer).unwrap(), wire);
    }

    #[test]
    fn what_is_no_such_message_is_refused() {
        assert!(from_json("coreloop.auth.v1.Nothing", b"{}").is_err());
        assert!(from_json(NAME, b"{\"user_id\":{}}").is_err());
        assert!(from_json(NAME, b"not json").is_err());
        assert!(to_json(NAME, &[0xff]).is_err());
    }
}
