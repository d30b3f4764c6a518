//! Response metadata on its way to the client: what passes, under which name.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Metadata that is a plain header to the client; all else is `Grpc-Metadata-X`.
const PLAIN: &[&str] = &["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after", "x-auth-degraded"];

/// Writes the header metadata of a reply to the response.
pub(crate) fn headers(metadata: &HeaderMap, out: &mut HeaderMap) {
    for (name, value) in metadata {
        let plain = name.as_str();
        if PLAIN.contains(&plain) {
            out.insert(name.clone(), value.clone());
        } else if passes(plain) {
            prefixed("grpc-metadata-", plain, value, out);
        }
    }
}

/// The trailers a client gets that asked for them (`TE: trailers`).
pub(crate) fn trailers(metadata: &HeaderMap) -> Option<HeaderMap> {
    let mut out = HeaderMap::new();
    for (name, value) in metadata {
        if passes(name.as_str()) {
            prefixed("grpc-trailer-", name.as_str(), value, &mut out);
        }
    }
    (!out.is_empty()).then_some(out)
}

fn prefixed(prefix: &str, name: &str, value: &HeaderValue, out: &mut HeaderMap) {
    if let Ok(name) = HeaderName::try_from([prefix, name].concat()) {
        out.append(name, value.clone());
    }
}

/// Not part of HTTP or gRPC themselves, and nothing about the inside of the mesh.
fn passes(name: &str) -> bool {
    !matches!(
        name,
        "content-type"
            | "content-length"
            | "content-encoding"
            | "date"
            | "server"
            | "trailer"
            | "transfer-encoding"
            | "connection"
            | "te"
            | "via"
            | "set-cookie"
            | "x-request-id"
            | "traceparent"
            | "tracestate"
            | "vary"
    ) && !name.starts_with("grpc-")
        && !name.starts_with("x-envoy-")
        && !crate::inbound::is_mesh(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_response_headers() {
        let cases = [
            ("ratelimit-limit", Some("ratelimit-limit")),
            ("retry-after", Some("retry-after")),
            ("shop", Some("grpc-metadata-shop")),
            ("content-type", None),
            ("grpc-status", None),
            ("grpc-status-details-bin", None),
            ("x-request-id", None),
            ("x-envoy-upstream-service-time", None),
            ("x-user-id", None),
            ("set-cookie", None),
            ("server", None),
        ];
        for (given, expected) in cases {
            let mut out = HeaderMap::new();
            headers(&HeaderMap::from_iter([(HeaderName::from_static(given), HeaderValue::from_static("1"))]), &mut out);
            assert_eq!(out.keys().next().map(HeaderName::as_str), expected, "{given}");
        }
    }

    #[test]
    fn trailers_get_their_own_prefix() {
        let given = HeaderMap::from_iter([
            (HeaderName::from_static("cost"), HeaderValue::from_static("3")),
            (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0")),
        ]);
        let out = trailers(&given).unwrap();
        assert_eq!(out.len(), 1);
        assert!(out.contains_key("grpc-trailer-cost"));
    }
}
