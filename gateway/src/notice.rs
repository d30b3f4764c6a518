//! What a deprecated route or RPC says of itself: since when (RFC 9745), until when (RFC 8594), what comes after it (RFC 8288).

use coreloop_transcode::router::Deprecation;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use prometheus_client::metrics::counter::Counter;

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// The headers, written once, and who counts the calls.
pub(crate) struct Notice {
    since: HeaderValue,
    sunset: Option<HeaderValue>,
    successor: Option<HeaderValue>,
    calls: Counter,
}

impl Notice {
    /// The notice of a deprecation.
    pub(crate) fn new(deprecation: &Deprecation, calls: Counter) -> Self {
        Self {
            since: HeaderValue::try_from(format!("@{}", deprecation.since_secs))
                .unwrap_or(HeaderValue::from_static("@0")),
            sunset: deprecation.sunset_secs.and_then(http_date),
            successor: deprecation.successor.as_deref().and_then(successor),
            calls,
        }
    }

    /// Tells it on a reply, and counts the call.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(DEPRECATION, self.since.clone());
        headers.extend(self.sunset.clone().map(|sunset| (SUNSET, sunset)));
        headers.extend(self.successor.clone().map(|successor| (header::LINK, successor)));
        self.calls.inc();
    }
}

/// Braces of a template are not allowed in a URI.
fn successor(path: &str) -> Option<HeaderValue> {
    let path = path.replace('{', "%7B").replace('}', "%7D");
    HeaderValue::try_from(format!("<{path}>; rel=\"successor-version\"")).ok()
}

fn http_date(secs: i64) -> Option<HeaderValue> {
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::from_second(secs).ok()?).ok()?;
    HeaderValue::try_from(date).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn told(sunset_secs: Option<i64>, successor: Option<&str>) -> Vec<(String, String)> {
        let deprecation =
            Deprecation { since_secs: 1_795_219_200, sunset_secs, successor: successor.map(str::to_owned) };
        let mut headers = HeaderMap::new();
        Notice::new(&deprecation, Counter::default()).tell(&mut headers);
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn a_notice_is_written_as_the_rfcs_have_it() {
        let all = told(Some(1_811_808_000), Some("/v2/{id}"));
        let expected = [
            ("deprecation", "@1795219200"),
            ("sunset", "Tue, 01 Jun 2027 00:00:00 GMT"),
            ("link", "</v2/%7Bid%7D>; rel=\"successor-version\""),
        ];
        assert_eq!(all.len(), expected.len());
        for (name, value) in expected {
            assert!(all.contains(&(name.to_owned(), value.to_owned())), "{name}: {all:?}");
        }
        assert_eq!(told(None, None), [("deprecation".to_owned(), "@1795219200".to_owned())]);
    }
}
