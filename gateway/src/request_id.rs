//! The request id: the client's when it is acceptable, ours otherwise; always answered.

use coreloop_core::Ids;
use coreloop_service::{Call, call};
use http::{HeaderMap, HeaderValue};

/// The id of a request: that of the call it runs as, which a server made by the same rule.
pub(crate) fn of(call: Option<&Call>, headers: &HeaderMap, ids: &dyn Ids) -> HeaderValue {
    call.map_or_else(|| call::request_id(headers, || ids.uuid()), |call| call.request_id.clone())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use coreloop_core::id::SystemIds;
    use coreloop_service::call::REQUEST_ID;

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
