//! Webhooks of the payment service: signed, young, each once. Pure.

use aws_lc_rs::hmac;
use coreloop_shop_api::v1::{PurchaseState, ShopReason};
use serde::Deserialize;
use uuid::Uuid;

use crate::{Error, payment::is_name};

/// Time a webhook's timestamp may be off, in seconds, either way.
const TOLERANCE_SECS: i64 = 300;

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Notice {
    /// Id of the event; the same one again is a replay.
    pub event_id: String,
    /// What the payment is called there.
    pub payment_id: String,
    /// The purchase.
    pub reference: Uuid,
    /// `confirmed`, `voided`, `refused`; `pending` says nothing new.
    pub status: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

impl Notice {
    /// What it decides, if anything.
    #[must_use]
    pub fn verdict(&self) -> Option<PurchaseState> {
        match self.status.as_str() {
            "confirmed" => Some(PurchaseState::Confirmed),
            "voided" => Some(PurchaseState::Voided),
            "refused" => Some(PurchaseState::Failed),
            _ => None,
        }
    }
}

/// Checks a webhook's signature (hex HMAC-SHA256 over timestamp, a dot and the raw body) and its age, and reads it.
///
/// # Errors
/// `WEBHOOK_SIGNATURE_INVALID`, `WEBHOOK_TOO_OLD`; `VALIDATION_FAILED` when what is signed cannot be read.
pub fn read(secret: &[u8], timestamp: &str, signature: &str, body: &[u8], now: i64) -> Result<Notice, Error> {
    let wrong = || Error::from(ShopReason::WebhookSignatureInvalid);
    let signature = hex::decode(signature).map_err(|_| wrong())?;
    let signed = [timestamp.as_bytes(), b".", body].concat();
    // Compares in constant time.
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), &signed, &signature).map_err(|_| wrong())?;
    let at: i64 = timestamp.parse().map_err(|_| wrong())?;
    if now.saturating_sub(at).saturating_abs() > TOLERANCE_SECS {
        return Err(ShopReason::WebhookTooOld.into());
    }
    let notice: Notice = serde_json::from_slice(body).map_err(|_| Error::invalid("payload", "cannot be read"))?;
    if !(1..=128).contains(&notice.event_id.chars().count()) || notice.event_id.chars().any(char::is_control) {
        return Err(Error::invalid("payload.event_id", "must have 1 to 128 characters that can be seen"));
    }
    if !is_name(&notice.payment_id) {
        return Err(Error::invalid("payload.payment_id", "must be a plain name of 1 to 128 characters"));
    }
    if !["confirmed", "voided", "refused", "pending"].contains(&notice.status.as_str()) {
        return Err(Error::invalid("payload.status", "must be confirmed, voided, refused or pending"));
    }
    Ok(notice)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const BODY: &str = r#"{"event_id":"e1","payment_id":"p1","reference":"00000000-0000-0000-0000-000000000001","status":"confirmed"}"#;

    fn sign(secret: &[u8], timestamp: &str, body: &str) -> String {
        let text = format!("{timestamp}.{body}");
        hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes()).as_ref())
    }

    fn outcome(timestamp: &str, signature: &str, body: &str) -> &'static str {
        read(b"s", timestamp, signature, body.as_bytes(), 1_000).map_or_else(|error| error.outcome(), |_| "ok")
    }

    #[test]
    fn a_webhook_is_good_for_five_minutes() {
        for (timestamp, expected) in [
            ("1000", "ok"),
            ("700", "ok"),
            ("1300", "ok"),
            ("699", "WEBHOOK_TOO_OLD"),
            ("1301", "WEBHOOK_TOO_OLD"),
            ("-9223372036854775808", "WEBHOOK_TOO_OLD"),
            ("soon", "WEBHOOK_SIGNATURE_INVALID"),
        ] {
            assert_eq!(outcome(timestamp, &sign(b"s", timestamp, BODY), BODY), expected, "{timestamp}");
        }
    }

    #[test]
    fn anything_but_the_right_signature_is_refused() {
        let right = sign(b"s", "1000", BODY);
        for wrong in
            ["", "zz", &right[2..], &sign(b"s", "1001", BODY), &sign(b"t", "1000", BODY), &format!("{right}00")]
        {
            assert_eq!(outcome("1000", wrong, BODY), "WEBHOOK_SIGNATURE_INVALID", "{wrong}");
        }
        assert_eq!(outcome("1000", &right, &BODY.replace("confirmed", "voided")), "WEBHOOK_SIGNATURE_INVALID");
    }

    #[test]
    fn what_is_signed_must_make_sense() {
        let long = "e".repeat(129);
        for body in [
            "{}".to_owned(),
            "not json".to_owned(),
            BODY.replace("e1", ""),
            BODY.replace("e1", &long),
            BODY.replace("e1", "e\\u0000"),
            BODY.replace("p1", ""),
            BODY.replace("p1", "../p1"),
            BODY.replace("confirmed", "maybe"),
            BODY.replace("00000000-0000", "x"),
        ] {
            assert_eq!(outcome("1000", &sign(b"s", "1000", &body), &body), "VALIDATION_FAILED", "{body}");
        }
    }
}
