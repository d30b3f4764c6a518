//! Request headers on their way to a service: what passes, under which name.
//!
//! REST headers are an allow-list (as grpc-gateway's): `authorization`, trace context and request id under their own
//! names, `Grpc-Metadata-X` as `x`, permanent HTTP headers as `grpcgateway-x`. gRPC and gRPC-Web pass all metadata but
//! what a client may not say. **A header that would speak as the mesh never passes, in any spelling**: `-` and `_` are
//! one, since some software maps both to the same variable.

use std::time::Duration;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use coreloop_core::{Problem, Reason};
use coreloop_service::{
    call::{REQUEST_ID, TRACEPARENT, once},
    link::{GRPC_TIMEOUT, format_timeout, parse_timeout},
};
use http::{HeaderMap, HeaderName, HeaderValue};

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Beginnings of names that only the mesh says. Compared with `_` read as `-`.
const MESH: &[&str] = &["x-user-", "x-session-", "x-token-", "x-envoy-", "x-auth-", "grpcgateway-"];

/// Names that `Grpc-Metadata-` cannot set, because another header or the connection decides them; what ends with `-` is
/// the beginning of such names.
const RESERVED: &[&str] = &[
    "grpc-",
    "authorization",
    "proxy-",
    "cookie",
    "host",
    "te",
    "connection",
    "keep-alive",
    "upgrade",
    "trailer",
    "content-",
    "transfer-encoding",
    "user-agent",
    "traceparent",
    "tracestate",
    "baggage",
    "x-request-id",
    "x-forwarded-",
    "forwarded",
    "x-real-ip",
];

/// What is known of a request beside its headers.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// Id of the request.
    pub(crate) request_id: &'a HeaderValue,
    /// The name asked for: HTTP/2 has it in the address, HTTP/1 in `Host`.
    pub(crate) host: Option<&'a HeaderValue>,
    /// The request runs as a [`coreloop_service::Call`]: its link writes `traceparent` with the edge's own span.
    pub(crate) traced: bool,
}

/// Metadata of a REST request.
///
/// # Errors
/// `MALFORMED_REQUEST` for a `-bin` header that is not base64.
pub(crate) fn rest(headers: &HeaderMap, origin: Origin<'_>, forward: &[HeaderName]) -> Result<HeaderMap, Problem> {
    // What a usual request leaves with: larger maps leave the allocator's fast path.
    let mut out = HeaderMap::with_capacity(12);
    for (name, value) in headers {
        match name.as_str() {
            "traceparent" if origin.traced => {}
            "authorization" | "traceparent" | "tracestate" | "baggage" | "last-event-id" => {
                out.append(name.clone(), value.clone());
            }
            plain => {
                if let Some(mapped) = permanent(plain) {
                    out.append(mapped, value.clone());
                } else if let Some(key) = plain.strip_prefix("grpc-metadata-") {
                    custom(key, value, &mut out)?;
                } else if forward.contains(name) && !is_mesh(plain) {
                    out.append(name.clone(), value.clone());
                }
            }
        }
    }
    origin.write(&mut out);
    Ok(out)
}

/// Metadata of a gRPC or gRPC-Web request: all but what clients may not say.
pub(crate) fn grpc(headers: &HeaderMap, origin: Origin<'_>) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(headers.len() + 4);
    for (name, value) in headers {
        if passes_grpc(name.as_str()) && !(origin.traced && name == TRACEPARENT) {
            out.append(name.clone(), value.clone());
        }
    }
    origin.write(&mut out);
    out
}

fn passes_grpc(name: &str) -> bool {
    match name {
        "grpc-timeout" | "grpc-encoding" | "grpc-accept-encoding" | "te" | "content-type" => true,
        "host" | "connection" | "keep-alive" | "transfer-encoding" | "upgrade" | "content-length" | "cookie" => false,
        "x-request-id" | "x-forwarded-for" | "x-forwarded-host" | "x-real-ip" => false,
        _ => !is_mesh(name) && !begins(name, "grpc-") && !begins(name, "proxy-"),
    }
}

/// The deadline a client asks for by `Grpc-Timeout`, none when it asks for none.
///
/// # Errors
/// `MALFORMED_REQUEST` when it is not 1 to 8 digits and a unit.
pub(crate) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else { return Ok(None) };
    let asked = value.to_str().ok().and_then(parse_timeout);
    let malformed =
        || Problem::common(Reason::MalformedRequest, "grpc-timeout is 1 to 8 digits and one of H M S m u n");
    asked.map(Some).ok_or_else(malformed)
}

/// A deadline as `grpc-timeout`.
pub(crate) fn timeout_value(timeout: Duration) -> HeaderValue {
    HeaderValue::try_from(format_timeout(timeout)).unwrap_or(HeaderValue::from_static("10S"))
}

/// The name would speak as the mesh.
pub(crate) fn is_mesh(name: &str) -> bool {
    MESH.iter().any(|prefix| begins(name, prefix))
}

/// `name` begins with `prefix`, reading `_` as `-`.
fn begins(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name
            .bytes()
            .zip(prefix.bytes())
            .all(|(b, p)| b == p || (b == b'_' && p == b'-') || b.to_ascii_lowercase() == p)
}

/// `name` is the reserved one, or begins with it where it is a beginning.
fn is_reserved(name: &str, reserved: &str) -> bool {
    begins(name, reserved) && (reserved.ends_with('-') || name.len() == reserved.len())
}

fn custom(key: &str, value: &HeaderValue, out: &mut HeaderMap) -> Result<(), Problem> {
    if key.is_empty() || is_mesh(key) || RESERVED.iter().any(|name| is_reserved(key, name)) {
        return Ok(());
    }
    let Ok(name) = HeaderName::try_from(key) else { return Ok(()) };
    if key.ends_with("-bin") {
        out.append(name, binary(value)?);
    } else {
        out.append(name, value.clone());
    }
    Ok(())
}

/// Any base64 of the client becomes the one that gRPC writes.
fn binary(value: &HeaderValue) -> Result<HeaderValue, Problem> {
    const ANY: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let standard: Vec<u8> = value
        .as_bytes()
        .iter()
        .map(|b| match b {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    let malformed = || Problem::common(Reason::MalformedRequest, "a -bin header is base64");
    let bytes = ANY.decode(standard).map_err(|_| malformed())?;
    HeaderValue::try_from(ANY.encode(bytes)).map_err(|_| malformed())
}

impl Origin<'_> {
    /// `x-forwarded-for` is not handed on: the link writes the address that the server decided on, and nothing else.
    fn write(self, out: &mut HeaderMap) {
        out.insert(REQUEST_ID, once(self.request_id.clone()));
        if let Some(host) = self.host {
            out.insert(FORWARDED_HOST, host.clone());
        }
    }
}

macro_rules! mapped {
    ($given:expr; $($plain:literal)*) => {
        match $given {
            $($plain => Some(const { HeaderName::from_static(concat!("grpcgateway-", $plain)) }),)*
            _ => None,
        }
    };
}

/// Permanent HTTP headers (RFC 9110) that grpc-gateway hands on; `host` goes as `x-forwarded-host`.
fn permanent(name: &str) -> Option<HeaderName> {
    mapped!(name;
        "accept" "accept-charset" "accept-language" "accept-ranges" "cache-control" "content-type" "cookie" "date"
        "expect" "from" "if-match" "if-modified-since" "if-none-match" "if-schedule-tag-match"
        "if-unmodified-since" "max-forwards" "origin" "pragma" "referer" "user-agent" "via" "warning")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    type Pair = (&'static str, &'static str);

    const ID: HeaderValue = HeaderValue::from_static("id-1");

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        let pair = |(n, v): &(&str, &str)| (HeaderName::try_from(*n).unwrap(), HeaderValue::try_from(*v).unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in list.iter().map(pair) {
            map.append(name, value);
        }
        map
    }

    fn mapped(list: &[(&str, &str)]) -> Vec<(String, String)> {
        let origin = Origin { request_id: &ID, host: None, traced: false };
        let mut out: Vec<_> = rest(&headers(list), origin, &[HeaderName::from_static("x-signature")])
            .unwrap()
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned()))
            .filter(|(n, _)| n != "x-request-id")
            .collect();
        out.sort();
        out
    }

    #[test]
    fn the_table_of_request_headers() {
        let cases: &[(Pair, Option<Pair>)] = &[
            (("authorization", "Bearer a"), Some(("authorization", "Bearer a"))),
            (("traceparent", "00-1-2-01"), Some(("traceparent", "00-1-2-01"))),
            (("tracestate", "a=b"), Some(("tracestate", "a=b"))),
            (("baggage", "k=v"), Some(("baggage", "k=v"))),
            (("grpc-metadata-shop", "7"), Some(("shop", "7"))),
            (("grpc-metadata-tenant", "7"), Some(("tenant", "7"))),
            (("grpc-metadata-test", "7"), Some(("test", "7"))),
            (("grpc-metadata-hostname", "h"), Some(("hostname", "h"))),
            (("grpc-metadata-cookie-consent", "no"), Some(("cookie-consent", "no"))),
            (("grpc-metadata-key-bin", "-_8="), Some(("key-bin", "+/8"))),
            (("user-agent", "curl"), Some(("grpcgateway-user-agent", "curl"))),
            (("accept-language", "ko"), Some(("grpcgateway-accept-language", "ko"))),
            (("x-signature", "s"), Some(("x-signature", "s"))),
            (("x-other", "dropped"), None),
            (("x-user-id", "u"), None),
            (("x_user_id", "u"), None),
            (("x-user-roles", "ADMIN"), None),
            (("x-session-id", "s"), None),
            (("x-token-jti", "t"), None),
            (("grpc-metadata-x-user-id", "u"), None),
            (("grpc-metadata-x_user_id", "u"), None),
            (("grpc-metadata-x-user_roles", "u"), None),
            (("grpc-metadata-authorization", "Bearer b"), None),
            (("grpc-metadata-te", "trailers"), None),
            (("grpc-metadata-host", "h"), None),
            (("grpc-metadata-cookie", "c=1"), None),
            (("grpc-metadata-user_agent", "x"), None),
            (("grpc-metadata-connection", "close"), None),
            (("grpc-metadata-upgrade", "h2c"), None),
            (("grpc-metadata-content-type", "text/plain"), None),
            (("grpc-metadata-x-request-id", "id-2"), None),
            (("grpc-metadata-grpc-timeout", "1S"), None),
            (("grpc-metadata-grpcgateway-host", "h"), None),
            (("grpc-metadata-x-forwarded-for", "1.1.1.1"), None),
            (("grpc-metadata-", "empty"), None),
            (("grpc-status", "0"), None),
            (("grpc-encoding", "gzip"), None),
            (("grpcgateway-user-agent", "forged"), None),
            (("proxy-authorization", "x"), None),
        ];
        for (given, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            assert_eq!(mapped(&[*given]), expected, "{given:?}");
        }
    }

    #[test]
    fn two_authorization_entries_stay_two() {
        assert_eq!(mapped(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]).len(), 2);
    }

    #[test]
    fn a_binary_header_that_is_not_base64_is_refused() {
        let origin = Origin { request_id: &ID, host: None, traced: false };
        assert!(rest(&headers(&[("grpc-metadata-k-bin", "*")]), origin, &[]).is_err());
    }

    #[test]
    fn what_the_client_says_of_its_address_and_of_our_span_is_not_handed_on() {
        let sent = headers(&[("x-forwarded-for", "6.6.6.6"), ("x-real-ip", "6.6.6.6"), ("traceparent", "00-a-b-01")]);
        let origin = Origin { request_id: &ID, host: None, traced: true };
        for out in [rest(&sent, origin, &[]).unwrap(), grpc(&sent, origin)] {
            assert_eq!(out.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-request-id"]);
        }
    }

    #[test]
    fn grpc_passes_custom_metadata_but_not_identity() {
        let sent = headers(&[
            ("authorization", "Bearer a"),
            ("my-key", "1"),
            ("grpc-timeout", "1S"),
            ("grpc-previous-rpc-attempts", "9"),
            ("x-user-id", "u"),
            ("x_user_id", "u"),
            ("x-session-id", "s"),
        ]);
        let out = grpc(&sent, Origin { request_id: &ID, host: None, traced: false });
        let mut names: Vec<_> = out.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "grpc-timeout", "my-key", "x-request-id"]);
    }

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let read = |text: &str| timeout(&headers(&[("grpc-timeout", text)]));
        assert_eq!(read("2S").unwrap(), Some(Duration::from_secs(2)));
        assert_eq!(read("150m").unwrap(), Some(Duration::from_millis(150)));
        assert_eq!(read("99999999H").unwrap(), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "S", "1", "123456789S", "1s", "-1S", "1.5S"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    /// Any spelling that HTTP lets a client send: case is folded by HTTP itself, `-` and `_` by software behind us.
    fn forged() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        let name = proptest::sample::select(vec![
            "x-user-id",
            "x-user-roles",
            "x-session-id",
            "x-token-jti",
            "x-auth-degraded",
        ]);
        let prefix = proptest::sample::select(vec![
            "",
            "grpc-metadata-",
            "Grpc-Metadata-",
            "grpcgateway-",
            "grpc-metadata-grpc-",
        ]);
        (prefix, name, proptest::collection::vec(any::<(bool, bool)>(), 40)).prop_map(|(prefix, name, how)| {
            let bent = name.chars().zip(how).map(|(c, (under, upper))| match c {
                '-' if under => '_',
                c if upper => c.to_ascii_uppercase(),
                c => c,
            });
            prefix.chars().chain(bent).collect()
        })
    }

    proptest::proptest! {
        #[test]
        fn no_spelling_of_an_identity_passes(name in forged()) {
            let sent = headers(&[(&name, "forged")]);
            let origin = Origin { request_id: &ID, host: None, traced: false };
            let asked = HeaderName::try_from(name.as_str()).unwrap();
            let through = [rest(&sent, origin, std::slice::from_ref(&asked)).unwrap(), grpc(&sent, origin)];
            for out in through {
                proptest::prop_assert!(!out.values().any(|value| value == "forged"), "{name} passes as {out:?}");
            }
        }
    }
}
