//! Which web pages may read an answer (Fetch standard, CORS): an allow-list of origins; none by default.
//!
//! The edge answers with it and so does ext_authz, whose refusals never reach the edge: one rule for both.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What a page may read beside the safe-listed headers; the gRPC ones are how gRPC-Web fails without a body.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "grpc-status, grpc-message, grpc-status-details-bin, x-request-id, ratelimit-limit, ratelimit-remaining, \
     ratelimit-reset, retry-after, etag, deprecation, sunset, link, location",
);
const ANY: HeaderValue = HeaderValue::from_static("*");
const ORIGIN: HeaderValue = HeaderValue::from_static("origin");
const YES: HeaderValue = HeaderValue::from_static("true");

/// The section `gateway.cors`: which web pages may call from a browser. Without origins, none.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(default)]
pub struct CorsOptions {
    /// Exact origins, as `https://app.example.com`; `*` is any.
    pub origins: Vec<String>,
    /// Pages may send credentials (cookies, client certificates). Not with `*`.
    pub credentials: bool,
    /// Seconds a browser may keep the answer to a preflight.
    pub max_age_secs: u32,
}

impl Default for CorsOptions {
    fn default() -> Self {
        Self { origins: Vec::new(), credentials: false, max_age_secs: 600 }
    }
}

/// The allow-list, ready to compare.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    origins: Vec<HeaderValue>,
    any: bool,
    credentials: bool,
}

impl Cors {
    /// Takes the settings. `*` admits nobody where credentials may be sent: every page could read what a person may.
    #[must_use]
    pub fn new(options: &CorsOptions) -> Self {
        Self {
            origins: options.origins.iter().filter_map(|o| HeaderValue::try_from(o).ok()).collect(),
            any: !options.credentials && options.origins.iter().any(|origin| origin == "*"),
            credentials: options.credentials,
        }
    }

    /// The page of this `origin` may read the answer.
    #[must_use]
    pub fn admits(&self, origin: &[u8]) -> bool {
        self.any || self.origins.iter().any(|known| known.as_bytes() == origin && known != ANY)
    }

    /// Headers by which the page of an admitted `origin` may read the answer.
    pub fn permit(&self, origin: HeaderValue, out: &mut HeaderMap) {
        for (name, value) in self.permission(origin) {
            out.insert(name, value);
        }
    }

    /// As [`Cors::permit`], with the headers of the answer that the page may read. None: no page of an admitted origin asks.
    /// Where others may, such an answer says too that it depends on the origin: a cache between would else hand it to a page
    /// that may read it (Fetch standard, "CORS protocol and HTTP caches").
    pub fn expose(&self, admitted: Option<HeaderValue>, out: &mut HeaderMap) {
        if let Some(origin) = admitted {
            self.permit(origin, out);
            out.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        if !self.origins.is_empty() {
            out.append(header::VARY, ORIGIN);
        }
    }

    fn permission(&self, origin: HeaderValue) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let allowed = (header::ACCESS_CONTROL_ALLOW_ORIGIN, if self.any { ANY } else { origin });
        let credentials = self.credentials.then_some((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, YES));
        [allowed].into_iter().chain(credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str], credentials: bool) -> Cors {
        let origins = origins.iter().map(ToString::to_string).collect();
        Cors::new(&CorsOptions { origins, credentials, ..CorsOptions::default() })
    }

    #[test]
    fn origins_are_compared_exactly() {
        let cors = cors(&["https://app.example.com"], false);
        assert!(cors.admits(b"https://app.example.com"));
        for other in ["https://app.example.com.evil.example", "http://app.example.com", "null", "", "*"] {
            assert!(!cors.admits(other.as_bytes()), "{other}");
        }
        assert!(!Cors::default().admits(b"https://app.example.com"), "none by default");
    }

    #[test]
    fn an_answer_depends_on_the_origin_where_any_may_read_it() {
        let told = |cors: &Cors, origin: Option<&'static str>| {
            let mut out = HeaderMap::new();
            cors.expose(origin.map(HeaderValue::from_static), &mut out);
            let has = |name| out.contains_key(name);
            (has(header::VARY), has(header::ACCESS_CONTROL_ALLOW_ORIGIN), has(header::ACCESS_CONTROL_EXPOSE_HEADERS))
        };
        let some = cors(&["https://app.example.com"], false);
        assert_eq!(told(&some, Some("https://app.example.com")), (true, true, true));
        assert_eq!(told(&some, None), (true, false, false));
        assert_eq!(told(&Cors::default(), None), (false, false, false));
    }

    #[test]
    fn any_page_is_admitted_but_never_with_credentials() {
        assert!(cors(&["*"], false).admits(b"https://x.example"));
        assert!(!cors(&["*"], true).admits(b"https://x.example"));
        let mut out = HeaderMap::new();
        cors(&["*"], false).permit(HeaderValue::from_static("https://x.example"), &mut out);
        assert_eq!(out.get(header::ACCESS_CONTROL_ALLOW_ORIGIN), Some(&ANY));
    }
}
