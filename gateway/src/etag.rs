//! Entity tags (RFC 9110 section 8.8): weak, since a compressed reply is the same resource in other bytes.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest as _, Sha256};

/// The tag of a reply's bytes.
pub(crate) fn of(body: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(body);
    let short = digest.get(..16).unwrap_or_default();
    HeaderValue::try_from(format!("W/\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(short)))
        .unwrap_or(HeaderValue::from_static("W/\"\""))
}

/// The client has this reply already (`If-None-Match`, weak comparison).
pub(crate) fn known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Ok(own) = tag.to_str().map(opaque) else { return false };
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|sent| sent.trim() == "*" || opaque(sent) == own)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_known_tag_matches_weakly_and_in_lists() {
        let tag = of(b"{}");
        let strong = tag.to_str().unwrap().trim_start_matches("W/").to_owned();
        for sent in [tag.to_str().unwrap().to_owned(), strong.clone(), format!("\"x\", {strong}"), "*".to_owned()] {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::try_from(&sent).unwrap())]);
            assert!(known(&headers, &tag), "{sent}");
        }
        let other = HeaderMap::from_iter([(header::IF_NONE_MATCH, of(b"[]"))]);
        assert!(!known(&other, &tag));
        assert!(!known(&HeaderMap::new(), &tag));
    }
}
