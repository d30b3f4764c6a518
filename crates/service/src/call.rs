//! The call that runs: what its logs, its trace and the calls it makes are known by.
//!
//! The server's layer makes one for each call and runs the handler in its scope. It is a task local, not a tracing span:
//! a span per call costs more than the call's own work here, and a log line needs these few fields only. Work that a
//! handler spawns runs outside of it, unless it is given on with [`Call::scope`].

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// Header of the id that a person quotes when something went wrong.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Header of the W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Header of vendors' trace state, passed on as it came.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Header of the client's address, hop by hop.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

tokio::task_local! {
    static CURRENT: Arc<Call>;
}

/// The place of a call in its trace (W3C Trace Context, level 1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Id of the whole trace.
    pub trace_id: [u8; 16],
    /// Id of this call's span.
    pub span_id: [u8; 8],
    /// Span of the caller, if it sent one.
    pub parent: Option<[u8; 8]>,
    /// The trace is recorded, whatever comes of it.
    pub sampled: bool,
}

impl Trace {
    /// Reads a `traceparent`. The result names the caller's span; [`Trace::child`] makes ours.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Version 00 has four fields; later ones may have more. ff is forbidden.
        if version == "ff" || version.len() != 2 || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let [_] = decode::<1>(version)?;
        let (trace_id, span_id, [flags]) = (decode::<16>(trace)?, decode::<8>(span)?, decode::<1>(flags)?);
        let named = trace_id != [0; 16] && span_id != [0; 8];
        named.then_some(Self { trace_id, span_id, parent: None, sampled: flags & 1 == 1 })
    }

    /// A span `span_id` below this one.
    #[must_use]
    pub fn child(self, span_id: [u8; 8]) -> Self {
        Self { span_id, parent: Some(self.span_id), ..self }
    }

    /// The `traceparent` for calls made from here.
    #[must_use]
    pub fn header(&self) -> String {
        let (mut text, flags) = (String::with_capacity(55), u8::from(self.sampled));
        text.push_str("00-");
        encode(&mut text, &self.trace_id);
        text.push('-');
        encode(&mut text, &self.span_id);
        text.push('-');
        encode(&mut text, &[flags]);
        text
    }

    /// The trace's id in hex.
    #[must_use]
    pub fn trace_id_hex(&self) -> String {
        let mut text = String::with_capacity(32);
        encode(&mut text, &self.trace_id);
        text
    }

    /// The span's id in hex.
    #[must_use]
    pub fn span_id_hex(&self) -> String {
        let mut text = String::with_capacity(16);
        encode(&mut text, &self.span_id);
        text
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.header())
    }
}

fn encode(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
}

/// Lower-case hex of exactly `N` bytes, as the W3C page demands.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // `from_str_radix` alone would also take a sign.
    if text.len() != N * 2 || !text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// What is called, for logs and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Name of the module, as `auth`.
    pub domain: String,
    /// Full name of the gRPC service, as `coreloop.auth.v1.AuthService`; empty for plain HTTP.
    pub service: String,
    /// Name of the RPC, or the HTTP method.
    pub method: String,
    /// The gRPC path; for plain HTTP `unknown`, until [`Call::routed`] says the template.
    pub path: String,
}

/// The call that runs.
#[derive(Debug)]
pub struct Call {
    /// Id that a person quotes; as sent when acceptable, else made here.
    pub request_id: HeaderValue,
    /// Place in the trace.
    pub trace: Trace,
    /// What is called.
    pub target: Arc<Target>,
    /// Address of the client at the edge, past trusted proxies; unknown for work that no client asked for.
    pub client: Option<IpAddr>,
    user: OnceLock<String>,
    route: OnceLock<Arc<str>>,
}

impl Call {
    /// A call of `target`.
    #[must_use]
    pub fn new(request_id: HeaderValue, trace: Trace, target: Arc<Target>, client: Option<IpAddr>) -> Self {
        Self { request_id, trace, target, client, user: OnceLock::new(), route: OnceLock::new() }
    }

    /// Names the user on whose behalf it runs, once known.
    pub fn identify(&self, user_id: impl Into<String>) {
        let _first_one_stays = self.user.set(user_id.into());
    }

    /// Id of the user on whose behalf it runs.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.user.get().map(String::as_str)
    }

    /// Names the route that answers, once known: a call of plain HTTP begins before its path is matched.
    pub fn routed(&self, route: Arc<str>) {
        let _first_one_stays = self.route.set(route);
    }

    /// Path of the target, or the route's template: never what a client typed, which may say who it is.
    #[must_use]
    pub fn path(&self) -> &str {
        self.route.get().map_or(&self.target.path, |route| route)
    }

    /// The call that runs, if one does.
    #[must_use]
    pub fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Runs `work` as this call. No `async fn`: one that takes a future holds it twice.
    pub fn scope<F: Future>(self: Arc<Self>, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// Runs `work`, which does not wait, as this call.
    pub fn within<T>(self: Arc<Self>, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// Puts the trace, the request id and the client's address on the headers of a call made from here.
    pub fn pass_on(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(&TRACEPARENT)
            && let Ok(value) = HeaderValue::try_from(self.trace.header())
        {
            headers.insert(TRACEPARENT, once(value));
        }
        if !headers.contains_key(&REQUEST_ID) {
            headers.insert(REQUEST_ID, once(self.request_id.clone()));
        }
        // What the client itself wrote there is not passed on: the address is already decided.
        headers.remove("x-envoy-external-address");
        if let Some(client) = self.client
            && let Ok(value) = HeaderValue::try_from(client.to_string())
        {
            headers.insert(FORWARDED_FOR, once(value));
        }
    }
}

/// The id of a request: the caller's when it is acceptable, else `fresh`. Ids are quoted in logs, shells and answers, so only
/// 8 to 128 letters, digits, `-`, `_` and `.` are.
pub fn request_id(headers: &HeaderMap, fresh: impl FnOnce() -> Uuid) -> HeaderValue {
    let plain = |id: &&HeaderValue| {
        let id = id.as_bytes();
        (8..=128).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    };
    headers.get(REQUEST_ID).filter(plain).map(detached).unwrap_or_else(|| {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = fresh().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"))
    })
}

/// A value that does not come again: HTTP/2 is told not to remember it (RFC 7541 section 6.2.3). Remembered, two such a
/// call push out of the small shared table what does come again, as tokens and names.
#[must_use]
pub fn once(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// A copy for what lives longer than its request, as a stream does: a value that was read is a part of the block that its whole
/// request was read into, and sixteen kilobytes stay for as long as it does.
#[must_use]
pub fn detached(value: &HeaderValue) -> HeaderValue {
    // A value is a value.
    let mut copy = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    copy.set_sensitive(value.is_sensitive());
    copy
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_holds_nothing_of_its_request() {
        let block = bytes::Bytes::from(vec![b'a'; 16 * 1024]);
        let mut sent = HeaderValue::from_maybe_shared(block.slice(100..120)).unwrap();
        sent.set_sensitive(true);
        let headers = HeaderMap::from_iter([(REQUEST_ID, sent)]);
        let id = request_id(&headers, Uuid::nil);
        assert!(id == "a".repeat(20).as_str() && id.is_sensitive());
        drop(headers);
        assert!(block.is_unique(), "the block stays");
    }

    #[test]
    fn traceparent_goes_round() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let caller = Trace::parse(text).unwrap();
        assert_eq!(caller.header(), text);
        let ours = caller.child([7; 8]);
        assert_eq!(ours.header(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0707070707070707-01");
        assert_eq!(ours.parent, Some(caller.span_id));
    }

    #[test]
    fn only_plain_request_ids_are_taken_over() {
        let of = |sent: &str| {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::try_from(sent).unwrap())]);
            request_id(&headers, Uuid::nil).to_str().unwrap().to_owned()
        };
        let longest = "a".repeat(128);
        for id in ["0190c5a0-7b3e-7000-8000-000000000001", "abc-1.2_3", &longest] {
            assert_eq!(of(id), id);
        }
        for id in ["", "short", "with space in it", "quote\"quote\"", "a;b;c;d;e", "{longbut}", &"a".repeat(129)] {
            assert_eq!(of(id), Uuid::nil().to_string(), "{id}");
        }
    }

    #[test]
    fn broken_traceparents_are_no_trace() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Trace::parse(text), None, "{text}");
        }
    }
}
