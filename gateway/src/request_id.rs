//! The request id: the client's when it is sane, ours otherwise; always answered.

use coreloop_core::Ids;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Header of the request id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request. One sent by the client is kept when it is 1 to 128 characters that mean nothing to a log, a
/// shell or a header.
pub(crate) fn of(headers: &HeaderMap, ids: &dyn Ids) -> HeaderValue {
    headers.get(REQUEST_ID).filter(|id| sane(id.as_bytes())).cloned().unwrap_or_else(|| fresh(ids))
}

fn fresh(ids: &dyn Ids) -> HeaderValue {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = ids.uuid().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"))
}

fn sane(id: &[u8]) -> bool {
    matches!(id.len(), 1..=128) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:+/=".contains(b))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use coreloop_core::id::SystemIds;

    use super::*;

    fn sent(id: &'static str) -> String {
        let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_static(id))]);
        of(&headers, &SystemIds).to_str().unwrap().to_owned()
    }

    #[test]
    fn only_a_sane_id_is_kept() {
        assert_eq!(sent("abc-1.2:3"), "abc-1.2:3");
        for bad in ["", "a b", "a\"b", "{}", "a;b"] {
            assert_eq!(sent(bad).len(), 36, "{bad}");
        }
        assert_eq!(of(&HeaderMap::new(), &SystemIds).len(), 36);
    }
}
