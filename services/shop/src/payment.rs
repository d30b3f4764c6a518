//! The payment service: where the external points of conversions are taken.
//!
//! A payment is named by its purchase (`Idempotency-Key`), so asking again is asking for the same one.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, options, purchase::Purchase};

/// Key of the sandbox; it guards nothing.
const SANDBOX_KEY: &str = "sandbox-payment-key";
/// What it is called when it is away.
pub(crate) const PAYMENTS: &str = "the payment service";
/// Tries of one call, and the pause before the second; each further one is twice as long.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);
/// Longest answer that is read, in bytes.
const LONGEST: usize = 64 * 1024;

/// What the payment service says of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It is not decided.
    Pending {
        /// What it is called there.
        payment_id: String,
    },
    /// The points are taken.
    Confirmed {
        /// What it is called there.
        payment_id: String,
    },
    /// The points were given back.
    Voided {
        /// What it is called there.
        payment_id: String,
        /// Why.
        reason: String,
    },
    /// No points are taken.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What the payment service says now of a payment that it confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Now {
    /// It stands.
    Stands,
    /// It was taken back.
    TakenBack {
        /// Why.
        reason: String,
    },
    /// It knows it no more: it keeps them for so long, perhaps.
    Unknown,
    /// Something that cannot be after it was confirmed, or of another payment.
    Contradicts,
}

/// The way to it. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Payments(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: options::Payment,
    // Made when it is first used: reading the system's certificates takes longer than a start.
    client: OnceLock<reqwest::Client>,
}

/// It said nothing that can be relied on.
struct Failed {
    /// With this status, if it said anything.
    status: Option<u16>,
    said: String,
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        Self::Away { part: PAYMENTS, said: failed.said }
    }
}

#[derive(Serialize)]
struct Pay<'a> {
    reference: String,
    user: String,
    amount: i64,
    handle: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    callback_url: &'a str,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Answer {
    payment_id: String,
    status: String,
    reason: String,
    /// What it is the payment of, where the payment service says so.
    reference: String,
}

impl Payments {
    /// By the settings.
    #[must_use]
    pub fn new(options: options::Payment) -> Self {
        Self(Arc::new(Inner { options, client: OnceLock::new() }))
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.0.options.endpoint.is_empty()
    }

    /// Asks for the payment of a purchase.
    ///
    /// # Errors
    /// When what it says is not known: asked again, it is the same payment.
    pub async fn pay(&self, purchase: &Purchase) -> Result<Said, Error> {
        let id = purchase.id.to_string();
        let pay = Pay {
            reference: id.clone(),
            user: purchase.user.to_string(),
            amount: purchase.price,
            handle: &purchase.payment_handle,
            callback_url: &self.0.options.callback_url,
        };
        let asked = self
            .ask(|client, base| client.post(format!("{base}/v1/payments")).header("idempotency-key", &id).json(&pay))
            .await;
        match asked {
            // Asked again it would say so again.
            Err(Failed { status: Some(status @ (400 | 422)), .. }) => {
                Ok(Said::Refused { reason: format!("STATUS_{status}") })
            }
            asked => Ok(asked?),
        }
    }

    /// Asks what became of a payment.
    ///
    /// # Errors
    /// When what it says is not known.
    pub async fn look(&self, payment_id: &str) -> Result<Said, Error> {
        Ok(self.ask(|client, base| client.get(format!("{base}/v1/payments/{payment_id}"))).await?)
    }

    /// Asks what became of a payment since it was confirmed. What takes GOLD from somebody must be said clearly, and of this payment.
    ///
    /// # Errors
    /// When what it says is not known.
    pub async fn since(&self, purchase: Uuid, payment_id: &str) -> Result<Now, Error> {
        let call = |client: &reqwest::Client, base: &str| client.get(format!("{base}/v1/payments/{payment_id}"));
        Ok(self.asked(call, |status, answer| now(status, answer, purchase, payment_id)).await?)
    }

    /// Gives the points of a payment back.
    ///
    /// # Errors
    /// When what it says is not known.
    pub async fn void(&self, payment_id: &str) -> Result<Said, Error> {
        Ok(self.ask(|client, base| client.post(format!("{base}/v1/payments/{payment_id}/void"))).await?)
    }

    async fn ask(&self, call: impl Fn(&reqwest::Client, &str) -> reqwest::RequestBuilder) -> Result<Said, Failed> {
        self.asked(call, read).await
    }

    async fn asked<T>(
        &self,
        call: impl Fn(&reqwest::Client, &str) -> reqwest::RequestBuilder,
        read: impl Fn(StatusCode, Option<Answer>) -> Option<T>,
    ) -> Result<T, Failed> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.once(&call, &read).await {
                Err(failed) if failed.status.is_none_or(|status| !matches!(status, 400 | 422)) => {
                    tracing::debug!(said = failed.said, "the payment service is asked again");
                }
                said => return said,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.once(&call, &read).await
    }

    async fn once<T>(
        &self,
        call: &impl Fn(&reqwest::Client, &str) -> reqwest::RequestBuilder,
        read: &impl Fn(StatusCode, Option<Answer>) -> Option<T>,
    ) -> Result<T, Failed> {
        let away = |said: String| Failed { status: None, said };
        let options = &self.0.options;
        let key = options.api_key.as_ref().map_or(SANDBOX_KEY, SecretString::expose_secret);
        let client = self.client().map_err(|error| away(error.to_string()))?;
        let request = call(client, options.endpoint.trim_end_matches('/')).bearer_auth(key);
        // Its address may hold what is nobody's business.
        let answer = request.send().await.map_err(|error| away(error.without_url().to_string()))?;
        let status = answer.status();
        let said = whole(answer).await;
        read(status, said).ok_or_else(|| {
            let status = status.as_u16();
            Failed { status: Some(status), said: format!("status {status}") }
        })
    }

    fn client(&self) -> Result<&reqwest::Client, reqwest::Error> {
        if let Some(made) = self.0.client.get() {
            return Ok(made);
        }
        let client = reqwest::Client::builder()
            .timeout(Duration::from_millis(self.0.options.timeout_ms))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("coreloop/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(self.0.client.get_or_init(|| client))
    }
}

/// An answer, unless it is longer than any that makes sense.
async fn whole(mut answer: reqwest::Response) -> Option<Answer> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST {
            return None;
        }
    }
    serde_json::from_slice(&body).ok()
}

/// Whether the payment service may call a payment so: it becomes a part of a path, and is written down.
#[must_use]
pub fn is_name(id: &str) -> bool {
    (1..=128).contains(&id.chars().count())
        && !id.chars().any(|c| c.is_control() || "/\\?#%".contains(c))
        && !matches!(id, "." | "..")
}

/// What an answer says; nothing where it says nothing that can be relied on.
fn read(status: StatusCode, answer: Option<Answer>) -> Option<Said> {
    let Answer { payment_id, status: word, reason, .. } = answer?;
    let ours = is_name(&payment_id);
    match (status.as_u16(), word.as_str()) {
        (200 | 202, "pending") if ours => Some(Said::Pending { payment_id }),
        (200, "confirmed") if ours => Some(Said::Confirmed { payment_id }),
        (200, "voided") if ours => Some(Said::Voided { payment_id, reason: plain(&reason) }),
        (200 | 402 | 422, "refused") => Some(Said::Refused { reason: plain(&reason) }),
        _ => None,
    }
}

/// What an answer says of a payment that was confirmed; nothing where it says nothing that can be relied on.
fn now(status: StatusCode, answer: Option<Answer>, purchase: Uuid, payment: &str) -> Option<Now> {
    if matches!(status.as_u16(), 404 | 410) {
        return Some(Now::Unknown);
    }
    let Answer { payment_id, status: word, reason, reference } = answer.filter(|_| status == StatusCode::OK)?;
    let ours = payment_id == payment && (reference.is_empty() || reference == purchase.to_string());
    match word.as_str() {
        "confirmed" if ours => Some(Now::Stands),
        "voided" | "refused" if ours => Some(Now::TakenBack { reason: plain(&reason) }),
        "pending" | "confirmed" | "voided" | "refused" => Some(Now::Contradicts),
        _ => None,
    }
}

/// A reason of others as we pass it on: a short constant.
fn plain(reason: &str) -> String {
    reason.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn answer(payment_id: &str, word: &str, reference: &str) -> Answer {
        let (payment_id, status, reference) = (payment_id.into(), word.into(), reference.into());
        Answer { payment_id, status, reason: "NO <b>POINTS</b>".into(), reference }
    }

    fn said(status: u16, payment_id: &str, word: &str) -> Option<Said> {
        read(StatusCode::from_u16(status).unwrap(), Some(answer(payment_id, word, "")))
    }

    #[test]
    fn what_was_confirmed_is_taken_back_by_a_clear_word_about_it_alone() {
        let purchase = Uuid::from_u128(7);
        let (of_it, of_another) = (purchase.to_string(), Uuid::from_u128(8).to_string());
        let said = |status: u16, payment_id: &str, word: &str, reference: &str| {
            now(StatusCode::from_u16(status).unwrap(), Some(answer(payment_id, word, reference)), purchase, "p1")
        };
        let back = || Some(Now::TakenBack { reason: "NObPOINTSb".into() });
        for word in ["voided", "refused"] {
            assert_eq!((said(200, "p1", word, ""), said(200, "p1", word, &of_it)), (back(), back()));
            assert_eq!(said(200, "p1", word, &of_another), Some(Now::Contradicts));
            assert_eq!(said(200, "p2", word, &of_it), Some(Now::Contradicts));
            assert_eq!(said(200, "", word, ""), Some(Now::Contradicts));
            for status in [202, 402, 422, 500, 503] {
                assert_eq!(said(status, "p1", word, &of_it), None, "{status}");
            }
        }
        assert_eq!(said(200, "p1", "confirmed", &of_it), Some(Now::Stands));
        assert_eq!(said(200, "p1", "pending", ""), Some(Now::Contradicts));
        assert_eq!(said(200, "p1", "partially_refunded", ""), None);
        assert_eq!((said(404, "", "", ""), said(410, "", "", "")), (Some(Now::Unknown), Some(Now::Unknown)));
        assert_eq!(now(StatusCode::OK, None, purchase, "p1"), None);
    }

    #[test]
    fn only_what_is_clear_is_believed() {
        let id = || "p1".to_owned();
        assert_eq!(said(202, "p1", "pending"), Some(Said::Pending { payment_id: id() }));
        assert_eq!(said(200, "p1", "confirmed"), Some(Said::Confirmed { payment_id: id() }));
        assert_eq!(said(402, "", "refused"), Some(Said::Refused { reason: "NObPOINTSb".into() }));
        for (status, payment_id, word) in [
            (200, "", "confirmed"),
            (200, "p/../1", "confirmed"),
            (200, "..", "confirmed"),
            (200, "p\\1", "confirmed"),
            (200, "p%2f1", "confirmed"),
            (200, "p\0", "confirmed"),
            (202, "p1", "confirmed"),
            (500, "p1", "refused"),
            (404, "p1", ""),
            (200, "p1", "maybe"),
        ] {
            assert_eq!(said(status, payment_id, word), None, "{status} {word}");
        }
        assert_eq!(read(StatusCode::OK, None), None);
    }

    #[tokio::test]
    async fn an_answer_without_end_is_none() {
        let answer = |spaces: usize| {
            let body = format!("{}{{\"payment_id\":\"p1\",\"status\":\"confirmed\"}}", " ".repeat(spaces));
            reqwest::Response::from(http::Response::new(body))
        };
        assert!(whole(answer(1_000)).await.is_some());
        assert!(whole(answer(LONGEST)).await.is_none());
    }
}
