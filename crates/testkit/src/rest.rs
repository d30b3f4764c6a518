//! A REST client that changes nothing: paths go out as written, redirects and encodings come back as sent.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde_json::Value;

use crate::{persona::own_address, wait::PATIENCE};

/// A client of one address.
#[derive(Debug, Clone)]
pub struct Rest {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    bearer: Option<String>,
}

impl Rest {
    /// A client of `base` (`http://host:port`), from an address that nobody else calls from.
    #[must_use]
    pub fn to(base: impl Into<String>) -> Self {
        Self::from(Some(own_address()), base)
    }

    /// A client of `base` whose connections come from `source`.
    #[must_use]
    pub fn from(source: Option<IpAddr>, base: impl Into<String>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(source);
        connector.set_connect_timeout(Some(PATIENCE));
        connector.set_nodelay(true);
        // Servers close what is idle for ten seconds: a call that goes out just then would fail.
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(5))
            .build(connector);
        Self { client, base: base.into(), bearer: None }
    }

    /// The same client, sending `token` with every call.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { bearer: Some(token.into()), ..self.clone() }
    }

    /// Where it calls.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A GET of `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// A DELETE of `path`.
    #[must_use]
    pub fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    /// A POST of `json` to `path`.
    #[must_use]
    pub fn post(&self, path: &str, json: &Value) -> Call {
        self.call(Method::POST, path).json(json)
    }

    /// A call of `method` to `path`, which goes out as written.
    #[must_use]
    pub fn call(&self, method: Method, path: &str) -> Call {
        let call = Call {
            client: self.client.clone(),
            method,
            uri: format!("{}{path}", self.base),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            // A little longer than what is asked may take: a late answer says more than none.
            timeout: PATIENCE * 2,
        };
        match &self.bearer {
            Some(token) => call.bearer(token),
            None => call,
        }
    }
}

/// A call that is being put together.
#[derive(Debug, Clone)]
pub struct Call {
    client: Client<HttpConnector, Full<Bytes>>,
    method: Method,
    uri: String,
    headers: HeaderMap,
    body: Bytes,
    timeout: Duration,
}

impl Call {
    /// Adds a header (a repeated name stays repeated).
    ///
    /// # Panics
    /// When it is not a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        self
    }

    /// The headers so far, to be changed at will.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// Sends `token` as bearer token, instead of the client's own.
    #[must_use]
    pub fn bearer(mut self, token: &str) -> Self {
        self.headers.remove(http::header::AUTHORIZATION);
        if token.is_empty() { self } else { self.header("authorization", &format!("Bearer {token}")) }
    }

    /// Sends `json`.
    #[must_use]
    pub fn json(self, json: &Value) -> Self {
        self.header("content-type", "application/json").body(json.to_string())
    }

    /// Sends these bytes.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Gives up after `timeout`.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes the call.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(self) -> Answer {
        let what = format!("{} {}", self.method, self.uri);
        self.try_send().await.unwrap_or_else(|error| panic!("{what}: {error:#}"))
    }

    /// Makes the call; a missing answer is an error.
    ///
    /// # Errors
    /// When the connection fails or the time is up.
    pub async fn try_send(self) -> anyhow::Result<Answer> {
        let mut request = http::Request::builder().method(self.method).uri(&self.uri).body(Full::new(self.body))?;
        *request.headers_mut() = self.headers;
        tokio::time::timeout(self.timeout, async {
            let response = self.client.request(request).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        })
        .await?
    }
}

impl Call {
    /// Makes the call and hands the answer over as soon as its head is there.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn open(self) -> Open {
        let what = format!("{} {}", self.method, self.uri);
        let request = http::Request::builder().method(self.method).uri(&self.uri).body(Full::new(self.body));
        let mut request = request.unwrap_or_else(|error| panic!("{what}: {error}"));
        *request.headers_mut() = self.headers;
        let answer = tokio::time::timeout(self.timeout, self.client.request(request)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{what}: no answer"));
        let (parts, body) = answer.unwrap_or_else(|error| panic!("{what}: {error}")).into_parts();
        Open { status: parts.status, headers: parts.headers, body, held: Vec::new() }
    }
}

/// An answer that goes on.
#[derive(Debug)]
pub struct Open {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    body: Incoming,
    held: Vec<u8>,
}

impl Open {
    /// Everything up to and with the next `mark`; what is left when the body ends well, none after that. A body that
    /// breaks off is an error.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn until(&mut self, mark: &[u8]) -> Result<Option<Vec<u8>>, hyper::Error> {
        loop {
            if let Some(at) = self.held.windows(mark.len()).position(|window| window == mark) {
                return Ok(Some(self.held.drain(..at + mark.len()).collect()));
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.held.extend_from_slice(&data);
                    }
                }
                None if self.held.is_empty() => return Ok(None),
                None => return Ok(Some(std::mem::take(&mut self.held))),
            }
        }
    }

    /// The next `length` bytes; none when the body has ended, or ends before.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn take(&mut self, length: usize) -> Result<Option<Vec<u8>>, hyper::Error> {
        while self.held.len() < length {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                self.held.extend_from_slice(&data);
            }
        }
        Ok(Some(self.held.drain(..length).collect()))
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn rest(mut self) -> Result<Vec<u8>, hyper::Error> {
        let rest = self.body.collect().await?.to_bytes();
        self.held.extend_from_slice(&rest);
        Ok(self.held)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as sent.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.status, self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// What the process logged under the request id of this answer, for a test that tells why it failed.
    #[must_use]
    pub fn logged(&self) -> Vec<Value> {
        let id = self.header("x-request-id");
        if id.is_empty() { Vec::new() } else { crate::logs::lines_with(id) }
    }

    /// The reason of the ErrorInfo in an error body, empty when there is none.
    #[must_use]
    pub fn reason(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        detail(&body, "google.rpc.ErrorInfo")
            .and_then(|info| info["reason"].as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// The detail of an error body whose type is `name`.
    #[must_use]
    pub fn detail(&self, name: &str) -> Option<Value> {
        detail(&serde_json::from_slice(&self.body).ok()?, name)
    }

    /// Asserts the status and answers the JSON body.
    ///
    /// # Panics
    /// When the status is another.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "answer: {}", self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// Asserts the status and the reason of an error.
    ///
    /// # Panics
    /// When either is another.
    #[track_caller]
    pub fn refused(&self, status: u16, reason: &str) {
        let seen = (self.status.as_u16(), self.reason());
        assert_eq!(seen, (status, reason.to_owned()), "answer: {}", self.text());
    }
}

fn detail(body: &Value, name: &str) -> Option<Value> {
    // A stream that failed before its first message wraps its error.
    let error = body.get("error").unwrap_or(body);
    error["details"]
        .as_array()?
        .iter()
        .find(|detail| detail["@type"].as_str().is_some_and(|t| t.ends_with(name)))
        .cloned()
}
