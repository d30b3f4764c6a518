//! The request id: the client's when it is sane, ours otherwise; always answered.

use coreloop_core::Ids;
use coreloop_service::{Call, call::REQUEST_ID};
use http::{HeaderMap, HeaderValue};

/// The id of a request: that of the call it runs as. Without one, the client's is kept when it is 1 to 128 characters
/// that mean nothing to a log, a shell or a header.
pub(crate) fn of(call: Option<&Call>, headers: &HeaderMap, ids: &dyn Ids) -> HeaderValue {
    if let Some(call) = call {
        return call.request_id.clone();
    }
    headers.get(REQUEST_ID).filter(|id| sane(id.as_bytes())).cloned().unwrap_or_else(|| fresh(ids))
}

fn fresh(ids: &dyn Ids) -> HeaderValue {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = ids.uuid().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"))
}

fn sane(id: &[u8]) -> bool {
    matches!(id.len(), 1..=128) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use coreloop_core::id::SystemIds;

    use super::*;

    fn sent(id: &'static str) -> String {
        let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_static(id))]);
        of(None, &headers, &SystemIds).to_str().unwrap().to_owned()
    }

    #[test]
    fn only_a_sane_id_is_kept() {
        assert_eq!(sent("abc-1.2_3"), "abc-1.2_3");
        for bad in ["", "a b", "a\"b", "{}", "a;b"] {
            assert_eq!(sent(bad).len(), 36, "{bad}");
        }
        assert_eq!(of(None, &HeaderMap::new(), &SystemIds).len(), 36);
    }
}
