//! The API as an app calls it: REST with a bearer token, every call in the one trace that was begun here.
//!
//! Answers are read up to a bound, every call has a time, and what goes wrong is a sentence that names the step. Addresses of
//! uploads are secrets, and in none.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use coreloop_core::{Ids as _, id::SystemIds};
use coreloop_sandbox::Photo;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, header, redirect::Policy};
use serde_json::Value;

use super::json::{list, text};

/// One call gets this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes.
const MOST: usize = 1 << 20;
/// What of an answer that is no JSON is shown, in characters.
const SHOWN: usize = 200;

/// A trace that begins here (W3C Trace Context): what is called in it hangs below a span of ours, which nobody exports.
#[derive(Debug)]
pub(crate) struct Trace {
    id: String,
    span: u64,
}

impl Trace {
    /// A new one, which is recorded whatever share of traces is.
    fn begin() -> Self {
        Self { id: SystemIds.uuid().simple().to_string(), span: SystemIds.uuid().as_u128() as u64 | 1 }
    }

    /// Its id, in hex.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The header of calls that are part of it.
    fn header(&self) -> String {
        format!("00-{}-{:016x}-01", self.id, self.span)
    }
}

/// The API of a deployment, as somebody.
pub(crate) struct Api {
    client: Client,
    base: Url,
    trace: Trace,
    token: String,
}

impl Api {
    /// The API at `base`, without a token.
    ///
    /// # Errors
    /// An address that is none of http or https.
    pub(crate) fn new(base: &str) -> anyhow::Result<Self> {
        let base: Url = base.parse().with_context(|| format!("--api: `{base}` is no address"))?;
        ensure!(["http", "https"].contains(&base.scheme()), "--api: `{base}` is no address of http or https");
        let client = Client::builder()
            .connect_timeout(PATIENCE)
            // A socket is an upgrade of HTTP/1.1.
            .http1_only()
            // Who redirects is not who is given the token.
            .redirect(Policy::none())
            .user_agent(concat!("coreloop-demo/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("the HTTP client cannot be made")?;
        Ok(Self { client, base, trace: Trace::begin(), token: String::new() })
    }

    /// Where it is, without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The trace of all calls.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Calls with this token from now on.
    pub(crate) fn sign_in(&mut self, token: &str) {
        token.clone_into(&mut self.token);
    }

    /// Asks; `what` is said where it fails.
    ///
    /// # Errors
    /// No answer in time, or a refusal.
    pub(crate) async fn get(&self, what: &str, path: &str) -> anyhow::Result<Value> {
        self.answered(what, self.request(reqwest::Method::GET, path)).await
    }

    /// Sends a message; `what` is said where it fails.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub(crate) async fn post(&self, what: &str, path: &str, message: &Value) -> anyhow::Result<Value> {
        self.answered(what, self.request(reqwest::Method::POST, path).json(message)).await
    }

    /// A call of the trace, with the token.
    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let call =
            self.client.request(method, format!("{}{path}", self.base())).header("traceparent", self.trace.header());
        if self.token.is_empty() { call } else { call.bearer_auth(&self.token) }
    }

    /// Sends a photo straight to storage, as the API said; the `ETag` that storage answers.
    ///
    /// # Errors
    /// No answer in time, a refusal, an answer without an `ETag`.
    pub(crate) async fn put(&self, place: &Value, photo: &'static Photo) -> anyhow::Result<String> {
        let address = place.get("upload_url").and_then(Value::as_str).context("the answer has no upload_url")?;
        let headers = place.get("headers").and_then(Value::as_object).context("the answer has no headers")?;
        let pairs = headers.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
        let call = pairs.fold(self.client.put(address), |call, (name, value)| call.header(name, value));
        let sent = call.body(photo.bytes).timeout(PATIENCE).send().await;
        let answer = sent.map_err(reqwest::Error::without_url).context("storage does not answer")?;
        let etag = answer.headers().get(header::ETAG).and_then(|etag| Some(etag.to_str().ok()?.to_owned()));
        let status = answer.status();
        if !status.is_success() {
            let body = read(answer).await?;
            bail!("storage refused the photo: {}", refusal(status, &body));
        }
        etag.context("storage took the photo and said no ETag")
    }

    async fn answered(&self, what: &str, call: RequestBuilder) -> anyhow::Result<Value> {
        let silent = || format!("{what}: {} does not answer", self.base());
        let answer = call.timeout(PATIENCE).send().await.with_context(silent)?;
        let status = answer.status();
        let body = read(answer).await.with_context(silent)?;
        if !status.is_success() {
            bail!("{what}: {} answered {}", self.base(), refusal(status, &body));
        }
        serde_json::from_slice(&body).with_context(|| format!("{what}: {} answered what is no JSON", self.base()))
    }
}

/// The body of an answer.
async fn read(mut answer: Response) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        ensure!(body.len() + piece.len() <= MOST, "the answer is longer than {MOST} bytes");
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Status, reason and message of an answer that refuses.
pub(crate) fn refusal(status: StatusCode, body: &[u8]) -> String {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let reason = list(&told, "/details").map(|detail| text(detail, "/reason")).find(|reason| !reason.is_empty());
    let message = told.get("message").and_then(Value::as_str).map_or_else(|| shown(body), str::to_owned);
    let words = [status.as_u16().to_string(), reason.unwrap_or_default().to_owned(), message];
    words.iter().filter(|word| !word.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// The beginning of a text of somebody else's, on one line.
fn shown(body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).chars().take(SHOWN).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_status_reason_and_message() {
        let told = br#"{"code":14,"message":"Photos cannot be kept.","details":[{"@type":"x"},{"reason":"STORAGE_UNAVAILABLE"}]}"#;
        let status = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(refusal(status, told), "503 STORAGE_UNAVAILABLE Photos cannot be kept.");
        assert_eq!(refusal(status, b"<html>\n  upstream\tconnect\n</html>"), "503 <html> upstream connect </html>");
        assert_eq!(refusal(status, b""), "503");
        assert_eq!(refusal(status, "x".repeat(5_000).as_bytes()).len(), 204);
    }

    #[test]
    fn an_address_is_one_of_http() {
        assert_eq!(Api::new("http://127.0.0.1:8000/").unwrap().base(), "http://127.0.0.1:8000");
        assert_eq!(Api::new("https://api.example.com/v").unwrap().base(), "https://api.example.com/v");
        for none in ["", "127.0.0.1:8000", "ftp://x", "localhost"] {
            assert!(Api::new(none).err().unwrap().to_string().contains("--api"), "{none}");
        }
    }

    #[test]
    fn a_trace_is_of_its_own_and_recorded() {
        let (one, other) = (Trace::begin(), Trace::begin());
        assert_ne!((&one.id, one.span), (&other.id, other.span));
        let header = one.header();
        let parts: Vec<&str> = header.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
        assert_eq!((parts[1], parts[3]), (one.id(), "01"));
    }
}
