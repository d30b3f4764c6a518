//! The opening handshake (RFC 6455, 4.2): HTTP until the answer is `101`.
//!
//! What is refused is refused as any other request, with a status and a `google.rpc.Status`: a browser hides both from its
//! page, but whoever looks at the network sees why. No subprotocol and no extension is agreed to.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coreloop_core::{Problem, Reason};
use coreloop_service::upgrade::Upgrade;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header, request::Parts};
use tonic::body::Body;

use crate::{cors::Cors, fail::Failure};

/// What the accept key is made with (4.2.2).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// The client asks for a WebSocket.
pub(crate) fn asked(headers: &HeaderMap) -> bool {
    lists(headers, &header::UPGRADE, "websocket")
}

/// A handshake that can be agreed to.
pub(crate) struct Handshake {
    accept: HeaderValue,
    upgrade: Upgrade,
}

impl Handshake {
    /// Reads a request that asks for a WebSocket.
    ///
    /// # Errors
    /// `UPGRADE_REQUIRED` for another version of the protocol, or none; `ACCESS_DENIED` for a page whose origin may not;
    /// `MALFORMED_REQUEST` for what is no handshake.
    pub(crate) fn read(parts: &Parts, cors: &Cors, host: Option<&HeaderValue>) -> Result<Self, Failure> {
        let headers = &parts.headers;
        let malformed = |what| Failure::common(Reason::MalformedRequest, what);
        if parts.method != Method::GET || parts.version < Version::HTTP_11 || parts.version >= Version::HTTP_2 {
            return Err(malformed("a WebSocket is opened by GET over HTTP/1.1"));
        }
        if !lists(headers, &header::CONNECTION, "upgrade") {
            return Err(malformed("a WebSocket is opened with `Connection: upgrade`"));
        }
        if one(headers, &header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != b"13") {
            return Err(required("a WebSocket of version 13 is needed"));
        }
        let accept = one(headers, &header::SEC_WEBSOCKET_KEY).and_then(accept);
        let accept = accept.ok_or_else(|| malformed("Sec-WebSocket-Key is 16 bytes in base64"))?;
        if !may(headers, cors, host) {
            return Err(Failure::common(Reason::AccessDenied, "pages of this origin may not open a socket"));
        }
        // None where no connection is behind the request, as in tests of the edge alone.
        let upgrade = parts.extensions.get::<Upgrade>().cloned();
        Ok(Self { accept, upgrade: upgrade.ok_or_else(|| malformed("this connection cannot be upgraded"))? })
    }

    /// The answer, and the connection that comes of it.
    pub(crate) fn agree(self) -> (Response<Body>, Upgrade) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, UPGRADE);
        headers.insert(header::UPGRADE, WEBSOCKET);
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        (response, self.upgrade)
    }
}

/// A socket is needed here, of the version we speak (RFC 9110, 15.5.22).
pub(crate) fn required(message: &'static str) -> Failure {
    Problem::common(Reason::UpgradeRequired, message).into()
}

/// Says with a `426` what is needed.
pub(crate) fn hint(response: &mut Response<Body>) {
    if response.status() == StatusCode::UPGRADE_REQUIRED {
        response.headers_mut().insert(header::UPGRADE, WEBSOCKET);
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, VERSION);
    }
}

/// The value of a header that comes once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first.as_bytes())
}

/// One of the tokens of a header, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}

/// The proof that the key was read (4.2.2, 5.4); none for what is no key.
fn accept(key: &[u8]) -> Option<HeaderValue> {
    if STANDARD.decode(key).ok()?.len() != 16 {
        return None;
    }
    // SHA-1 is what the protocol names. It proves nothing but that the server speaks it.
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    HeaderValue::try_from(STANDARD.encode(digest)).ok()
}

/// Who asks is no page, or one of this host, or one that may read our answers: CORS does not hold for sockets, so a page of
/// anybody could open one (10.2).
fn may(headers: &HeaderMap, cors: &Cors, host: Option<&HeaderValue>) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let own = || {
        let (origin, host) = (origin.to_str().ok()?, host?.to_str().ok()?);
        let named = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"))?;
        Some(named.eq_ignore_ascii_case(host))
    };
    cors.admitted(headers).is_some() || own().unwrap_or(false)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use coreloop_service::upgrade::Upgrade;
    use http::Request;

    use super::*;
    use crate::options;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn request(change: &[(&str, Option<&str>)]) -> Parts {
        let mut headers = vec![
            ("host", "api.example.com"),
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ];
        headers.retain(|(name, _)| change.iter().all(|(changed, _)| changed != name));
        headers.extend(change.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
        let request = headers
            .iter()
            .fold(Request::get("/api/realtime/sync"), |request, (name, value)| request.header(*name, *value));
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(Upgrade::new(|| async { Err(std::io::Error::other("a test")) }));
        parts
    }

    fn read(parts: &Parts) -> Result<Handshake, String> {
        let admitted = options::Cors { origins: vec!["https://app.example.com".to_owned()], ..Default::default() };
        let handshake = Handshake::read(parts, &Cors::new(&admitted), parts.headers.get("host"));
        handshake.map_err(|failure| failure.reason().to_owned())
    }

    #[test]
    fn the_example_of_the_rfc_is_agreed_to() {
        let (response, _) = read(&request(&[])).unwrap_or_else(|why| panic!("{why}")).agree();
        assert_eq!(response.status(), 101);
        // 1.3.
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((&response.headers()["upgrade"], &response.headers()["connection"]), (&WEBSOCKET, &UPGRADE));
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        for (change, reason) in [
            (("connection", Some("keep-alive")), "MALFORMED_REQUEST"),
            (("connection", None), "MALFORMED_REQUEST"),
            (("sec-websocket-key", None), "MALFORMED_REQUEST"),
            (("sec-websocket-key", Some("dGhlIHNhbXBsZQ==")), "MALFORMED_REQUEST"),
            (("sec-websocket-key", Some("not base64 at all!!")), "MALFORMED_REQUEST"),
            (("sec-websocket-version", Some("8")), "UPGRADE_REQUIRED"),
            (("sec-websocket-version", None), "UPGRADE_REQUIRED"),
            (("origin", Some("https://evil.example.com")), "ACCESS_DENIED"),
            (("origin", Some("null")), "ACCESS_DENIED"),
            (("origin", Some("https://api.example.com.evil.com")), "ACCESS_DENIED"),
        ] {
            assert_eq!(read(&request(&[change])).err().as_deref(), Some(reason), "{change:?}");
        }
        let mut old = request(&[]);
        old.version = Version::HTTP_10;
        let mut new = request(&[]);
        new.version = Version::HTTP_2;
        let mut twice = request(&[]);
        twice.headers.append("sec-websocket-key", HeaderValue::from_static(KEY));
        let mut posted = request(&[]);
        posted.method = Method::POST;
        let mut loose = request(&[]);
        loose.extensions.clear();
        for parts in [old, new, twice, posted, loose] {
            assert_eq!(read(&parts).err().as_deref(), Some("MALFORMED_REQUEST"), "{parts:?}");
        }
    }

    #[test]
    fn pages_that_may_are_admitted_and_programs_too() {
        for change in [
            ("origin", Some("https://app.example.com")),
            ("origin", Some("https://api.example.com")),
            ("origin", Some("http://API.example.com")),
            ("upgrade", Some("h2c, WebSocket")),
        ] {
            assert!(read(&request(&[change])).is_ok(), "{change:?}");
            assert!(asked(&request(&[change]).headers), "{change:?}");
        }
        assert!(!asked(&request(&[("upgrade", Some("h2c"))]).headers));
        assert!(!asked(&request(&[("upgrade", None)]).headers));
    }
}
