//! Random texts and digests.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// A random text of 256 bits, safe in addresses.
pub(crate) fn random() -> String {
    let bytes: [u8; 32] = rand::random();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// SHA-256 as unpadded base64url: the S256 challenge of a verifier (RFC 7636, 4.2).
pub(crate) fn s256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(text.as_bytes()))
}

/// The first eight bytes of a SHA-256, for ids that stay the same.
pub(crate) fn stable_number(text: &str) -> u64 {
    number_of(text.as_bytes())
}

/// The first eight bytes of a SHA-256.
pub(crate) fn number_of(bytes: &[u8]) -> u64 {
    sha256(bytes).iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
}

/// Hex HMAC-SHA256 over `timestamp`, a dot and `body`.
pub(crate) fn webhook_signature(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = aws_lc_rs::hmac::Context::with_key(&key);
    context.update(timestamp.as_bytes());
    context.update(b".");
    context.update(body);
    hex::encode(context.sign().as_ref())
}
