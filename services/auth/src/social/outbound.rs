//! Requests to providers: bounded in time and size, no redirects followed, one retry with jitter, and every way of
//! failing made one [`Failure`] with the provider's own code.

use std::time::Duration;

use futures::future::BoxFuture;
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use serde_json::Value;

use crate::outside::{Outside, Patience};

/// Largest body read from a provider.
const BODY_MAX: usize = 256 * 1024;
/// Longest pause before the retry, in milliseconds.
const JITTER_MS: u64 = 200;

/// A provider did not do its part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the provider answered {code}")]
pub struct Failure {
    /// The provider's error code, or what happened: `timeout`, `connection`, `malformed_response`, `http_503`.
    pub code: String,
    /// The provider is at fault: trying again may help.
    pub transient: bool,
}

impl Failure {
    /// The provider's own failing.
    pub(crate) fn transient(code: impl Into<String>) -> Self {
        Self { code: bounded(code), transient: true }
    }

    /// A refusal.
    pub(crate) fn refusal(code: impl Into<String>) -> Self {
        Self { code: bounded(code), transient: false }
    }
}

/// A provider's code is shown to clients and logged: short, and of harmless characters.
fn bounded(code: impl Into<String>) -> String {
    let code: String = code.into();
    let harmless = |c: &char| c.is_ascii_alphanumeric() || "_-.:".contains(*c);
    let code: String = code.chars().filter(harmless).take(64).collect();
    if code.is_empty() { "unknown".to_owned() } else { code }
}

/// The client for one provider.
#[derive(Debug, Clone)]
pub struct Outbound {
    provider: String,
    http: Outside,
}

impl Outbound {
    /// A client that names `provider` in its log.
    #[must_use]
    pub fn new(provider: &str, http: Outside) -> Self {
        Self { provider: provider.to_owned(), http }
    }

    /// The HTTP client that all providers share.
    #[must_use]
    pub fn client(options: &super::Options) -> Outside {
        Outside::new(Patience {
            connect: Duration::from_millis(options.connect_timeout_ms),
            answer: Duration::from_millis(options.timeout_ms),
        })
    }

    /// Sends `request`, once more when the provider failed. What is answered is JSON of a success.
    ///
    /// # Errors
    /// The last [`Failure`].
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Failure> {
        match self.once(request.clone()).await {
            Err(failure) if failure.transient => {
                self.log(&failure, "provider failed; trying once more");
                tokio::time::sleep(Duration::from_millis(rand::random_range(JITTER_MS / 4..=JITTER_MS))).await;
                self.once(request).await
            }
            other => other,
        }
        .inspect_err(|failure| self.log(failure, "provider did not answer well"))
    }

    /// Gets JSON with a bearer token.
    ///
    /// # Errors
    /// As [`Outbound::send`].
    pub async fn get<T: serde::de::DeserializeOwned>(&self, url: &str, bearer: &str) -> Result<T, Failure> {
        let request = http::Request::get(url)
            .header(http::header::AUTHORIZATION, format!("Bearer {bearer}"))
            .header(http::header::ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|_| Failure::refusal("malformed_request"))?;
        let response = self.send(request).await?;
        serde_json::from_slice(response.body()).map_err(|_| {
            let failure = Failure::transient("malformed_response");
            self.log(&failure, "provider told a profile that cannot be read");
            failure
        })
    }

    fn log(&self, failure: &Failure, what: &'static str) {
        tracing::warn!(provider = %self.provider, error_code = %failure.code, transient = failure.transient, "{what}");
    }

    async fn once(&self, request: HttpRequest) -> Result<HttpResponse, Failure> {
        let broken = |error: reqwest::Error| {
            let code = if error.is_timeout() { "timeout" } else { "connection" };
            Failure::transient(code)
        };
        let request = reqwest::Request::try_from(request).map_err(|_| Failure::refusal("malformed_request"))?;
        let mut response = self.http.client().map_err(broken)?.execute(request).await.map_err(broken)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > BODY_MAX {
                return Err(Failure::transient("malformed_response"));
            }
            body.extend_from_slice(&chunk);
        }
        let body = read(status, &body)?;
        http::Response::builder()
            .status(http::StatusCode::OK)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|_| Failure::transient("malformed_response"))
    }
}

/// What the oauth2 and openidconnect crates send their requests by.
impl<'c> AsyncHttpClient<'c> for Outbound {
    type Error = Failure;
    type Future = BoxFuture<'c, Result<HttpResponse, Failure>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// Decides what an answer means. Naver tells errors with status 200 and `expires_in` as text; Kakao tells its own code
/// in `error_code` and, at its API, in `code`.
fn read(status: http::StatusCode, body: &[u8]) -> Result<Vec<u8>, Failure> {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let code = json.as_ref().and_then(error_code);
    if status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS {
        return Err(Failure::transient(code.unwrap_or_else(|| format!("http_{}", status.as_u16()))));
    }
    if !status.is_success() {
        return Err(Failure::refusal(code.unwrap_or_else(|| format!("http_{}", status.as_u16()))));
    }
    let Some(mut json) = json else {
        return Err(Failure::transient("malformed_response"));
    };
    if json.get("error").is_some() {
        return Err(Failure::refusal(code.unwrap_or_else(|| "unknown".to_owned())));
    }
    match json.get("expires_in").and_then(Value::as_str).map(str::parse::<u64>) {
        Some(Ok(seconds)) => {
            if let Some(fields) = json.as_object_mut() {
                fields.insert("expires_in".to_owned(), seconds.into());
            }
            Ok(json.to_string().into_bytes())
        }
        _ => Ok(body.to_vec()),
    }
}

/// The code an error body carries, most telling first.
fn error_code(body: &Value) -> Option<String> {
    ["error_code", "error", "errorCode", "resultcode", "code"].into_iter().find_map(|field| match body.get(field)? {
        Value::String(code) => Some(code.clone()),
        Value::Number(code) => Some(code.to_string()),
        _ => None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http::StatusCode;

    use super::*;

    fn code(status: u16, body: &str) -> (String, bool) {
        let failure = read(StatusCode::from_u16(status).unwrap(), body.as_bytes()).unwrap_err();
        (failure.code, failure.transient)
    }

    #[test]
    fn each_providers_code_is_found() {
        let kakao = r#"{"error":"invalid_grant","error_description":"d","error_code":"KOE320"}"#;
        assert_eq!(code(400, kakao), ("KOE320".to_owned(), false));
        assert_eq!(code(401, r#"{"msg":"no","code":-401}"#), ("-401".to_owned(), false));
        assert_eq!(code(400, r#"{"error":"invalid_grant"}"#), ("invalid_grant".to_owned(), false));
        assert_eq!(code(401, r#"{"resultcode":"024","message":"m"}"#), ("024".to_owned(), false));
        assert_eq!(code(200, r#"{"error":"invalid_request"}"#), ("invalid_request".to_owned(), false));
    }

    #[test]
    fn what_the_provider_is_at_fault_for_is_transient() {
        assert_eq!(code(503, "<html>"), ("http_503".to_owned(), true));
        assert_eq!(code(429, "{}"), ("http_429".to_owned(), true));
        assert_eq!(code(200, "not json"), ("malformed_response".to_owned(), true));
    }

    #[test]
    fn a_life_told_as_text_becomes_a_number() {
        let read = read(StatusCode::OK, br#"{"access_token":"a","expires_in":"3600"}"#).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&read).unwrap()["expires_in"], 3600);
    }

    #[test]
    fn a_hostile_code_is_bounded() {
        let hostile = format!(r#"{{"error":"<script>\n{}"}}"#, "x".repeat(500));
        let (code, _) = code(400, &hostile);
        assert!(code.len() <= 64 && !code.contains('<'), "{code}");
    }
}
