//! The vendor of vouchers, over HTTP: orders under a key, which it knows for good.
//!
//! `POST /v1/orders` with `Idempotency-Key` answers 201 and the voucher, however often it is asked; 422 when it does not give
//! it, and will not; 409 `order_cancelled` for a key that was cancelled. `POST /v1/orders/{key}/cancel` answers 200 when nothing
//! comes of that key any more, and 409 `already_issued` with the order when something has. Everything else, and no answer, says
//! nothing: the same key is asked again.

use std::{sync::OnceLock, time::Duration};

use coreloop_core::{Problem, Reason};
use reqwest::{Client, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::Options;

/// Largest answer that is read, in bytes.
const MOST: usize = 64 << 10;
/// Longest code that is kept, in bytes.
const LONGEST_CODE: usize = 1_024;

/// The vendor.
#[derive(Debug)]
pub struct Vendor {
    url: String,
    api_key: SecretString,
    patience: Duration,
    // Made at first use: reading the system's certificates takes long.
    client: OnceLock<Client>,
}

/// What the vendor says for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Here it is.
    Issued(Order),
    /// It gives nothing under this key: its word for why.
    Refused(String),
}

/// What was issued.
#[derive(Clone, PartialEq, Eq)]
pub struct Order {
    /// The vendor's id.
    pub order_id: String,
    /// The voucher's code; never logged.
    pub code: String,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order").field("order_id", &self.order_id).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Body {
    order_id: Option<String>,
    voucher: Option<Voucher>,
    error: Option<Refusal>,
    order: Option<Box<Body>>,
}

#[derive(Deserialize)]
struct Voucher {
    code: String,
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
}

impl Body {
    fn order(self) -> Option<Order> {
        let (order_id, voucher) = (self.order_id?, self.voucher?);
        let order = Order { order_id, code: voucher.code };
        let whole = !order.code.is_empty() && order.code.len() <= LONGEST_CODE && order.order_id.len() <= 200;
        // What the database cannot keep is no code.
        Some(order).filter(|order| whole && !order.code.contains('\0') && !order.order_id.contains('\0'))
    }

    fn word(&self) -> String {
        let word = self.error.as_ref().map(|error| error.code.as_str()).unwrap_or_default();
        word.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_').take(64).collect()
    }
}

impl Vendor {
    /// The vendor of the settings.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        Self {
            url: options.vendor_url.trim_end_matches('/').to_owned(),
            api_key: options.vendor_api_key.clone().unwrap_or_default(),
            patience: Duration::from_millis(options.vendor_timeout_ms),
            client: OnceLock::new(),
        }
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.url.is_empty()
    }

    /// Orders a voucher.
    ///
    /// # Errors
    /// When it is not known what the vendor did.
    pub async fn order(&self, redemption: Uuid, vendor_sku: &str) -> Result<Said, Problem> {
        let body = json!({"reference": redemption, "sku": vendor_sku, "quantity": 1});
        let (status, body) = self.ask("/v1/orders", redemption, &body).await?;
        match status {
            StatusCode::CREATED | StatusCode::OK => {
                body.order().map(Said::Issued).ok_or_else(|| away("an order without a voucher"))
            }
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Said::Refused(body.word())),
            StatusCode::CONFLICT if body.word() == "order_cancelled" => Ok(Said::Refused(body.word())),
            status => Err(away(format!("the vendor answered {status}"))),
        }
    }

    /// Has a key come to nothing, unless something has come of it.
    ///
    /// # Errors
    /// When it is not known what the vendor did.
    pub async fn cancel(&self, redemption: Uuid) -> Result<Said, Problem> {
        let path = format!("/v1/orders/{redemption}/cancel");
        let (status, body) = self.ask(&path, redemption, &json!({})).await?;
        match status {
            StatusCode::OK => Ok(Said::Refused("order_cancelled".to_owned())),
            StatusCode::CONFLICT if body.word() == "already_issued" => {
                let order = body.order.and_then(|order| order.order());
                order.map(Said::Issued).ok_or_else(|| {
                    tracing::error!(redemption_id = %redemption, "a vendor says that it has issued, and not what");
                    away("an order without a voucher")
                })
            }
            status => Err(away(format!("the vendor answered {status}"))),
        }
    }

    async fn ask(&self, path: &str, redemption: Uuid, body: &serde_json::Value) -> Result<(StatusCode, Body), Problem> {
        if !self.is_set() {
            return Err(away("no vendor is set (rewards.vendor_url)"));
        }
        let asked = self
            .client()?
            .post(format!("{}{path}", self.url))
            .bearer_auth(self.api_key.expose_secret())
            .header("idempotency-key", redemption.to_string())
            .json(body)
            .send();
        let response = asked.await.map_err(|error| away(error.without_url()))?;
        let status = response.status();
        Ok((status, read(response).await?))
    }

    fn client(&self) -> Result<&Client, Problem> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .connect_timeout(self.patience)
            .timeout(self.patience)
            // Whoever redirects is not the party we know.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("coreloop/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Problem::internal)?;
        Ok(self.client.get_or_init(|| client))
    }
}

async fn read(mut response: Response) -> Result<Body, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| away(error.without_url()))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MOST {
            return Err(away("the vendor's answer is too large"));
        }
    }
    serde_json::from_slice(&bytes).map_err(|_| away("the vendor's answer makes no sense"))
}

fn away(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Problem {
    Problem::common(Reason::DependencyUnavailable, "the vendor does not say").because(why)
}
