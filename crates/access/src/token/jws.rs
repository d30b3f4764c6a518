//! The compact serialization of RFC 7515 section 7.1, read strictly.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::Invalid;

/// A token taken apart; nothing in it is believed yet.
pub(super) struct Parts<'a> {
    /// What the signature is over: header and payload as sent, with the dot.
    pub(super) message: &'a [u8],
    pub(super) header: Vec<u8>,
    pub(super) payload: &'a [u8],
    pub(super) signature: Vec<u8>,
}

/// Takes a token apart: exactly three parts, none empty, base64url without padding, white space or stray bits.
pub(super) fn split(token: &[u8]) -> Result<Parts<'_>, Invalid> {
    let mut dots = token.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(index, _)| index);
    let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
        return Err(Invalid::Shape);
    };
    let (message, signature) = token.split_at_checked(second).ok_or(Invalid::Shape)?;
    let (header, payload) = message.split_at_checked(first).ok_or(Invalid::Shape)?;
    let (payload, signature) = (payload.get(1..).unwrap_or_default(), signature.get(1..).unwrap_or_default());
    if header.is_empty() || payload.is_empty() || signature.is_empty() {
        return Err(Invalid::Shape);
    }
    Ok(Parts { message, header: decode(header)?, payload, signature: decode(signature)? })
}

/// Decodes one part. The decoder refuses padding, foreign letters and non-zero trailing bits, so a token has one spelling.
pub(super) fn decode(part: &[u8]) -> Result<Vec<u8>, Invalid> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Invalid::Shape)
}

/// Header and payload, encoded and joined.
pub(super) fn signing_input(header: &[u8], payload: &[u8]) -> String {
    let mut out = String::with_capacity((header.len() + payload.len()) * 4 / 3 + 350);
    URL_SAFE_NO_PAD.encode_string(header, &mut out);
    out.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut out);
    out
}
