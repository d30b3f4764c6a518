//! SQS' JSON protocol: an action is a POST with its name in a header, signed with SigV4.

use std::{sync::Arc, time::Duration};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use coreloop_core::Clock;
use coreloop_eventing::Error;
use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::Value;

use crate::Options;

const CONTENT_TYPE: &str = "application/x-amz-json-1.0";
/// Largest answer: ten commands, with every byte of theirs escaped.
const MOST_BYTES: usize = 16 << 20;

/// Asks SQS.
pub(crate) struct Client {
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
    options: Options,
}

/// What SQS refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The error's name, as `QueueDoesNotExist`.
    pub(crate) name: String,
    message: String,
    status: StatusCode,
}

impl Refusal {
    /// There is no such queue; it has a name for that from each of its protocols.
    pub(crate) fn no_queue(&self) -> bool {
        ["QueueDoesNotExist", "NonExistentQueue"].iter().any(|name| self.name.contains(name))
    }

    /// It says no for the moment: too much is asked, or it fails.
    fn passing(&self) -> bool {
        let throttled = self.name.contains("Throttl") || self.name.ends_with("OverLimit");
        throttled || self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error()
    }
}

/// What SQS refused, where an error says that.
pub(crate) fn refusal(error: &Error) -> Option<&Refusal> {
    match error {
        Error::Broker(cause) => cause.downcast_ref(),
        _ => None,
    }
}

/// The same may be answered another time: SQS is away, late, or says no for the moment.
pub(crate) fn passing(error: &Error) -> bool {
    match error {
        Error::Timeout => true,
        Error::Broker(cause) => refusal(error).map_or(cause.is::<reqwest::Error>(), Refusal::passing),
        _ => false,
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

impl std::error::Error for Refusal {}

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(alias = "Message", default)]
    message: String,
}

impl Client {
    pub(crate) fn new(options: &Options, clock: Arc<dyn Clock>) -> Self {
        Self { http: reqwest::Client::new(), clock, options: options.clone() }
    }

    /// Does `action`; what SQS refuses is `Ok(Err(_))`. `wait` is how long SQS is asked to wait for news.
    pub(crate) async fn ask(
        &self,
        action: &str,
        body: &Value,
        wait: Duration,
    ) -> Result<Result<Value, Refusal>, Error> {
        let body = body.to_string();
        let target = format!("AmazonSQS.{action}");
        let mut request = self
            .http
            .post(&self.options.endpoint)
            .timeout(Duration::from_millis(self.options.timeout_ms) + wait)
            .header("content-type", CONTENT_TYPE)
            .header("x-amz-target", &target);
        for (name, value) in self.signed(&target, body.as_bytes())? {
            request = request.header(name, value);
        }
        let mut answer = request.body(body).send().await.map_err(broker)?;
        let (status, mut said) = (answer.status(), Vec::new());
        while let Some(piece) = answer.chunk().await.map_err(broker)? {
            if said.len() + piece.len() > MOST_BYTES {
                return Err(Error::Broker("SQS answers too much".into()));
            }
            said.extend_from_slice(&piece);
        }
        if status.is_success() {
            let said: &[u8] = if said.is_empty() { b"{}" } else { &said };
            return serde_json::from_slice(said).map(Ok).map_err(|error| Error::Broker(error.into()));
        }
        let said: Said =
            serde_json::from_slice(&said).unwrap_or(Said { kind: status.to_string(), message: String::new() });
        let name = said.kind.rsplit('#').next().unwrap_or_default().to_owned();
        Ok(Err(Refusal { name, message: said.message, status }))
    }

    /// As [`Client::ask`]; a refusal is an error.
    pub(crate) async fn must(&self, action: &str, body: &Value, wait: Duration) -> Result<Value, Error> {
        self.ask(action, body, wait).await?.map_err(|refusal| Error::Broker(refusal.into()))
    }

    /// The headers that say who asks.
    fn signed(&self, target: &str, body: &[u8]) -> Result<Vec<(String, String)>, Error> {
        let options = &self.options;
        let token = Some(options.session_token.expose_secret()).filter(|token| !token.is_empty());
        let secret = options.access_key_secret.expose_secret();
        let who = Credentials::new(&options.access_key_id, secret, token.map(str::to_owned), None, "settings").into();
        let how = v4::SigningParams::builder()
            .identity(&who)
            .region(&options.region)
            .name("sqs")
            .time(self.clock.now().into())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| Error::Broker(error.into()))?
            .into();
        let headers = [("content-type", CONTENT_TYPE), ("x-amz-target", target)];
        let request = SignableRequest::new("POST", &options.endpoint, headers.into_iter(), SignableBody::Bytes(body))
            .map_err(|error| Error::Broker(error.into()))?;
        let (signed, _) = sign(request, &how).map_err(|error| Error::Broker(error.into()))?.into_parts();
        Ok(signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

/// What an answer says at `path`, as `/Attributes/QueueArn`; null where it says nothing.
pub(crate) fn at<'a>(answer: &'a Value, path: &str) -> &'a Value {
    answer.pointer(path).unwrap_or(&Value::Null)
}

fn broker(error: reqwest::Error) -> Error {
    if error.is_timeout() { Error::Timeout } else { Error::Broker(error.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, status: u16) -> Refusal {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        Refusal { name: name.to_owned(), message: String::new(), status }
    }

    #[test]
    fn a_queue_is_missing_only_where_sqs_says_so() {
        for missing in ["QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"] {
            assert!(refused(missing, 400).no_queue() && !refused(missing, 400).passing());
        }
        for (other, status) in [("RequestThrottled", 403), ("ThrottlingException", 400), ("OverLimit", 403), ("", 503)]
        {
            assert!(refused(other, status).passing() && !refused(other, status).no_queue(), "{other}");
        }
        let denied = refused("AccessDenied", 403);
        assert!(!denied.passing() && !denied.no_queue());
        assert!(!passing(&Error::Broker(denied.into())) && passing(&Error::Timeout));
        assert!(passing(&Error::Broker(refused("", 500).into())) && !passing(&Error::Fenced));
    }
}
