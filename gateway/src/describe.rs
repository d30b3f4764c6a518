//! The description of the API: OpenAPI from the descriptors, and a page that reads it.

use std::sync::LazyLock;

use bytes::Bytes;
use coreloop_transcode::{openapi, router};

/// The documentation page; it loads `/openapi.json` and nothing from elsewhere.
pub(crate) const PAGE: &[u8] = include_bytes!("../assets/docs.html");

/// OpenAPI 3.1 of the whole API, as `/openapi.json` answers it and as `gateway/openapi.json` is checked in.
#[must_use]
pub fn openapi_json() -> Vec<u8> {
    document().to_vec()
}

/// The document, made once.
pub(crate) fn document() -> Bytes {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
        let info = openapi::Info {
            title: "coreloop".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            server_url: "/".into(),
        };
        let mut text = serde_json::to_vec_pretty(&openapi::document(router::router(), &info)).unwrap_or_default();
        text.push(b'\n');
        text.into()
    });
    DOCUMENT.clone()
}
