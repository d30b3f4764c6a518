//! The first message of a client that could not send a header: `{"type":"auth","token":"…"}`. Browsers cannot, and a token in
//! an address would stand in logs.

use http::HeaderValue;
use serde::Deserialize;

#[derive(Deserialize)]
struct First<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    token: std::borrow::Cow<'a, str>,
}

/// The token as `authorization`; none when the message is another, or holds what is in no token.
pub(crate) fn token(text: &str) -> Option<HeaderValue> {
    let first: First<'_> = serde_json::from_str(text).ok()?;
    let clean = !first.token.is_empty() && first.token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    if first.kind != "auth" || !clean {
        return None;
    }
    HeaderValue::try_from(["Bearer ", &first.token].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_and_nothing_else_is_one() {
        let bearer = |text| token(text).and_then(|value| value.to_str().map(str::to_owned).ok());
        assert_eq!(bearer(r#"{"type":"auth","token":"a.b.c"}"#).as_deref(), Some("Bearer a.b.c"));
        assert_eq!(bearer(r#" {"token":"a\u002eb","type":"auth","more":1} "#).as_deref(), Some("Bearer a.b"));
        for text in [
            "",
            "auth",
            "[]",
            r#"{"type":"auth"}"#,
            r#"{"type":"hello","token":"a"}"#,
            r#"{"type":"auth","token":""}"#,
            r#"{"type":"auth","token":7}"#,
            r#"{"type":"auth","token":"a b"}"#,
            r#"{"type":"auth","token":"a,b"}"#,
            r#"{"type":"auth","token":"a\r\nx-user-id: 1"}"#,
            r#"{"type":"auth","token":"토큰"}"#,
            r#"{"type":"auth","token":"a","token":"b"}"#,
        ] {
            assert_eq!(bearer(text), None, "{text}");
        }
    }
}
