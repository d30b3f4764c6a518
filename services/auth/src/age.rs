//! Rules of the age gate: birth dates, and the provider's signed webhook. Pure.

use aws_lc_rs::hmac;
use coreloop_auth_api::v1::AuthReason;
use coreloop_core::{UserId, Violation};
use jiff::civil::Date;
use serde::Deserialize;

use crate::Error;

/// Oldest age of a living person, in years.
const OLDEST_YEARS: i16 = 130;
/// Time a webhook's timestamp may be off, in seconds, either way.
const TOLERANCE_SECS: i64 = 300;

/// Reads a birth date: a real day, not in the future, of a living person.
///
/// # Errors
/// `BIRTH_DATE_INVALID`.
pub fn birth_date(text: &str, today: Date) -> Result<Date, Error> {
    let born: Date = text.parse().map_err(|_| AuthReason::BirthDateInvalid)?;
    let fits = born <= today && today.year() - born.year() <= OLDEST_YEARS;
    if fits { Ok(born) } else { Err(AuthReason::BirthDateInvalid.into()) }
}

/// What the age provider says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Verdict {
    /// Id of the event; the same one again is a repetition.
    pub event_id: String,
    /// User.
    pub user_id: UserId,
    /// `verified` or `rejected`.
    pub result: String,
}

/// Checks a webhook's signature (hex HMAC-SHA256 over timestamp, a dot and the raw body) and its age, and reads it.
///
/// # Errors
/// `WEBHOOK_SIGNATURE_INVALID`, `WEBHOOK_TOO_OLD`; `VALIDATION_FAILED` when what is signed cannot be read.
pub fn webhook(secret: &[u8], timestamp: &str, signature: &str, body: &[u8], now: i64) -> Result<Verdict, Error> {
    let wrong = || Error::from(AuthReason::WebhookSignatureInvalid);
    let signature = hex::decode(signature).map_err(|_| wrong())?;
    let mut signed = Vec::with_capacity(timestamp.len() + 1 + body.len());
    signed.extend_from_slice(timestamp.as_bytes());
    signed.push(b'.');
    signed.extend_from_slice(body);
    // Compares in constant time.
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), &signed, &signature).map_err(|_| wrong())?;
    let at: i64 = timestamp.parse().map_err(|_| wrong())?;
    if now.saturating_sub(at).saturating_abs() > TOLERANCE_SECS {
        return Err(AuthReason::WebhookTooOld.into());
    }
    let verdict: Verdict = serde_json::from_slice(body).map_err(|_| invalid("payload", "cannot be read"))?;
    if !(1..=128).contains(&verdict.event_id.chars().count()) {
        return Err(invalid("payload.event_id", "must have 1 to 128 characters"));
    }
    if verdict.event_id.contains('\0') {
        return Err(invalid("payload.event_id", "must not contain U+0000"));
    }
    if !["verified", "rejected"].contains(&verdict.result.as_str()) {
        return Err(invalid("payload.result", "must be verified or rejected"));
    }
    Ok(verdict)
}

fn invalid(field: &str, description: &str) -> Error {
    Error::Invalid(vec![Violation { field: field.to_owned(), description: description.to_owned() }])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const BODY: &str = r#"{"event_id":"e1","user_id":"00000000-0000-0000-0000-000000000001","result":"verified"}"#;

    fn sign(secret: &[u8], timestamp: &str, body: &[u8]) -> String {
        let text = [timestamp.as_bytes(), b".", body].concat();
        hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &text).as_ref())
    }

    fn outcome(timestamp: &str, signature: &str, body: &str, now: i64) -> &'static str {
        webhook(b"s", timestamp, signature, body.as_bytes(), now).map_or_else(|error| error.outcome(), |_| "ok")
    }

    #[rstest]
    #[case::now("1000", 1000, "ok")]
    #[case::just_young("1000", 1300, "ok")]
    #[case::just_early("1300", 1000, "ok")]
    #[case::old("1000", 1301, "WEBHOOK_TOO_OLD")]
    #[case::future("1301", 1000, "WEBHOOK_TOO_OLD")]
    #[case::absurd("-9223372036854775808", 1000, "WEBHOOK_TOO_OLD")]
    #[case::no_number("soon", 1000, "WEBHOOK_SIGNATURE_INVALID")]
    fn a_webhook_is_good_for_five_minutes(#[case] timestamp: &str, #[case] now: i64, #[case] expected: &str) {
        assert_eq!(outcome(timestamp, &sign(b"s", timestamp, BODY.as_bytes()), BODY, now), expected);
    }

    #[test]
    fn anything_but_the_right_signature_is_refused() {
        let right = sign(b"s", "1000", BODY.as_bytes());
        let other_time = sign(b"s", "1001", BODY.as_bytes());
        let other_key = sign(b"t", "1000", BODY.as_bytes());
        for wrong in ["", "zz", &right[2..], &other_time, &other_key, &format!("{right}00")] {
            assert_eq!(outcome("1000", wrong, BODY, 1000), "WEBHOOK_SIGNATURE_INVALID", "{wrong}");
        }
        assert_eq!(outcome("1000", &right, &BODY.replace("verified", "rejected"), 1000), "WEBHOOK_SIGNATURE_INVALID");
    }

    #[rstest]
    #[case("{}")]
    #[case("not json")]
    #[case(r#"{"event_id":"","user_id":"00000000-0000-0000-0000-000000000001","result":"verified"}"#)]
    #[case(r#"{"event_id":"e\u0000","user_id":"00000000-0000-0000-0000-000000000001","result":"verified"}"#)]
    #[case(r#"{"event_id":"e","user_id":"x","result":"verified"}"#)]
    #[case(r#"{"event_id":"e","user_id":"00000000-0000-0000-0000-000000000001","result":"maybe"}"#)]
    fn what_is_signed_must_make_sense(#[case] body: &str) {
        assert_eq!(outcome("1000", &sign(b"s", "1000", body.as_bytes()), body, 1000), "VALIDATION_FAILED");
    }

    #[rstest]
    #[case("1990-12-31", true)]
    #[case("2026-11-21", true)]
    #[case("2026-11-22", false)]
    #[case("1890-01-01", false)]
    #[case("2023-02-29", false)]
    #[case("0000-00-00", false)]
    fn a_birth_date_is_a_living_persons(#[case] text: &str, #[case] fits: bool) {
        assert_eq!(birth_date(text, "2026-11-21".parse().unwrap()).is_ok(), fits);
    }

    proptest! {
        #[test]
        fn no_webhook_panics(timestamp in ".*", signature in ".*", body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = webhook(b"s", &timestamp, &signature, &body, 0);
            let _ = webhook(b"s", &timestamp, &sign(b"s", &timestamp, &body), &body, 0);
        }
    }
}
