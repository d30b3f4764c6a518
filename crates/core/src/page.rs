//! Page tokens: opaque cursors of lists. The content is the list's own; a token of another list does not decode.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Problem, Reason};

/// Default and largest number of rows of a page.
pub const DEFAULT_SIZE: i32 = 50;
/// Largest number of rows of a page.
pub const MAX_SIZE: i32 = 200;

/// Rows to answer for a `page_size` as sent: 0 and less is the default, more than the most is the most.
#[must_use]
pub fn size(asked: i32) -> i64 {
    i64::from(if asked <= 0 { DEFAULT_SIZE } else { asked.min(MAX_SIZE) })
}

/// Encodes the cursor of `list` (a short constant, as `auth.tokens`).
#[must_use]
pub fn encode<T: Serialize>(list: &str, cursor: &T) -> String {
    serde_json::to_vec(&(list, cursor)).map(|json| URL_SAFE_NO_PAD.encode(json)).unwrap_or_default()
}

/// Decodes a `page_token`; empty is the first page.
///
/// # Errors
/// `INVALID_ARGUMENT` / `PAGE_TOKEN_INVALID` when the token is not one of `list`.
pub fn decode<T: DeserializeOwned>(list: &str, token: &str) -> Result<Option<T>, Problem> {
    if token.is_empty() {
        return Ok(None);
    }
    let invalid = || Problem::common(Reason::PageTokenInvalid, "the page token is not one of this list");
    let json = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    let (of, cursor): (String, T) = serde_json::from_slice(&json).map_err(|_| invalid())?;
    if of == list { Ok(Some(cursor)) } else { Err(invalid()) }
}
