//! FCM's HTTP API, version 1, as it is on the wire: a message, and what is said of one.
//!
//! `POST /v1/projects/{project}/messages:send` answers 200 `{"name"}`, or an error `{"error": {"code", "message", "status",
//! "details"}}` whose details may have an `errorCode` of FCM's own and the fields that are wrong.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::text::{Params, Text};

/// Longest name of a message that is kept, in bytes.
const LONGEST_NAME: usize = 512;
/// Longest constant that is kept of an error.
const LONGEST_WORD: usize = 64;

/// What is pushed. Its token is not part of it: that is opened when it is sent.
#[derive(Debug, Clone)]
pub struct Message {
    /// Notification: a device shows one of the same id, however often it comes.
    pub id: Uuid,
    /// Kind, as the contract names it.
    pub kind: &'static str,
    /// Headline and text.
    pub text: Text,
    /// What the app looks things up by.
    pub data: Params,
    /// For so long the gateway keeps it for a phone that is off, in seconds; and until then.
    pub ttl_secs: u32,
    /// The end of that.
    pub until: Timestamp,
}

impl Message {
    /// To a device, as the gateway takes it.
    #[must_use]
    pub fn to(&self, token: &str) -> Value {
        let id = self.id.to_string();
        let mut data = self.data.clone();
        data.insert("notification_id".to_owned(), id.clone());
        data.insert("kind".to_owned(), self.kind.to_owned());
        json!({"message": {
            "token": token,
            "notification": {"title": self.text.title, "body": self.text.body},
            "data": data,
            "android": {
                "collapse_key": id,
                "ttl": format!("{}s", self.ttl_secs),
                "notification": {"tag": id},
            },
            "apns": {"headers": {"apns-collapse-id": id, "apns-expiration": self.until.as_second().to_string()}},
            // A topic has 32 letters at most.
            "webpush": {
                "headers": {"Topic": self.id.simple().to_string(), "TTL": self.ttl_secs.to_string()},
                "notification": {"tag": id},
            },
        }})
    }
}

/// What the gateway says of a message for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It has it: its name for it.
    Taken(String),
    /// The device cannot be pushed to any more: a constant says why.
    Dead(String),
}

/// Why nothing is known of a message, or nothing came of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Away {
    /// It was not asked: it has just said that it wants to be left alone.
    #[error("the gateway is left alone for a while")]
    LeftAlone,
    /// No answer in time.
    #[error("the gateway does not answer in time")]
    Late,
    /// No answer.
    #[error("the gateway cannot be asked: {0}")]
    Silent(String),
    /// An answer that is none.
    #[error("the gateway's answer breaks off, or is none")]
    Broken,
    /// It refuses for the moment.
    #[error("the gateway answered {status} {word}")]
    Busy {
        /// Its status.
        status: u16,
        /// Its word for it.
        word: String,
        /// When it is to be asked again, as it says.
        after: Option<Duration>,
    },
    /// It refuses, and will: account, project or message is wrong.
    #[error("the gateway refuses: {status} {word}")]
    Refused {
        /// Its status.
        status: u16,
        /// Its word for it.
        word: String,
    },
}

impl Away {
    /// A constant, by which dead letters are filtered and a push that is given up is told.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::LeftAlone => "PUSH_LEFT_ALONE",
            Self::Late => "PUSH_TIMEOUT",
            Self::Busy { status: 429, .. } => "PUSH_QUOTA",
            Self::Silent(_) | Self::Broken | Self::Busy { .. } => "PUSH_UNAVAILABLE",
            Self::Refused { .. } => "PUSH_REFUSED",
        }
    }

    /// Asking again may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

#[derive(Deserialize)]
struct Body {
    error: Refusal,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    message: String,
    status: String,
    details: Vec<Detail>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    error_code: String,
    field_violations: Vec<Violation>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Violation {
    field: String,
}

#[derive(Deserialize)]
struct Taken {
    name: String,
}

/// What an answer to a message says.
///
/// # Errors
/// When nothing is known of the message, or nothing will come of it.
pub fn said(status: StatusCode, after: Option<Duration>, body: &[u8]) -> Result<Said, Away> {
    if status.is_success() {
        let taken: Taken = serde_json::from_slice(body).map_err(|_| Away::Broken)?;
        let fits = !taken.name.is_empty() && taken.name.len() <= LONGEST_NAME && !taken.name.contains('\0');
        return Some(Said::Taken(taken.name)).filter(|_| fits).ok_or(Away::Broken);
    }
    let refusal = serde_json::from_slice::<Body>(body).map(|body| body.error);
    let is_one = refusal.is_ok();
    let refusal = refusal.unwrap_or_default();
    let own = refusal.details.iter().map(|detail| detail.error_code.as_str()).find(|code| !code.is_empty());
    let word = word(own.unwrap_or(&refusal.status));
    let status = status.as_u16();
    match (status, word.as_str()) {
        (_, "UNREGISTERED" | "SENDER_ID_MISMATCH") => Ok(Said::Dead(word)),
        (_, "INVALID_ARGUMENT") if refusal.is_of_the_token() => Ok(Said::Dead("INVALID_TOKEN".to_owned())),
        (408 | 429 | 500.., _) => Err(Away::Busy { status, word, after }),
        // A 404 that is no error of the gateway's is somebody else's: of a proxy, or a wrong address.
        _ if is_one => Err(Away::Refused { status, word }),
        _ => Err(Away::Broken),
    }
}

impl Refusal {
    /// What is wrong is the token, and not what we say beside it. FCM names the field, or has a sentence for it and names none: where it
    /// has another one day, the push is a dead letter, and no phone is forgotten for what may be our fault.
    fn is_of_the_token(&self) -> bool {
        let mut fields = self.details.iter().flat_map(|detail| &detail.field_violations).peekable();
        if fields.peek().is_none() {
            return self.message.to_ascii_lowercase().contains("registration token");
        }
        fields.all(|violation| violation.field == "message.token")
    }
}

fn word(text: &str) -> String {
    text.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_').take(LONGEST_WORD).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn error(status: u16, code: &str, details: Value) -> Result<Said, Away> {
        let body = json!({"error": {"code": status, "message": "m", "status": code, "details": details}});
        said(StatusCode::from_u16(status).unwrap(), None, body.to_string().as_bytes())
    }

    fn own(code: &str) -> Value {
        json!([{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}])
    }

    fn dead(why: &str) -> Result<Said, Away> {
        Ok(Said::Dead(why.to_owned()))
    }

    #[test]
    fn what_a_device_is_told_by_is_its_own_and_what_we_are_is_ours() {
        assert_eq!(
            said(StatusCode::OK, None, br#"{"name":"projects/p/messages/1"}"#),
            Ok(Said::Taken("projects/p/messages/1".to_owned()))
        );
        assert_eq!(error(404, "NOT_FOUND", own("UNREGISTERED")), dead("UNREGISTERED"));
        assert_eq!(error(403, "PERMISSION_DENIED", own("SENDER_ID_MISMATCH")), dead("SENDER_ID_MISMATCH"));
        let field = |name: &str| json!([{"fieldViolations": [{"field": name, "description": "d"}]}]);
        assert_eq!(error(400, "INVALID_ARGUMENT", field("message.token")), dead("INVALID_TOKEN"));
        let sentence = json!({"error": {"message": "The registration token is not a valid FCM registration token",
                                        "status": "INVALID_ARGUMENT", "details": own("INVALID_ARGUMENT")}});
        let said = said(StatusCode::BAD_REQUEST, None, sentence.to_string().as_bytes());
        assert_eq!(said, dead("INVALID_TOKEN"));
        assert_eq!(error(400, "INVALID_ARGUMENT", field("message.data")).unwrap_err().reason(), "PUSH_REFUSED");
        assert_eq!(error(400, "INVALID_ARGUMENT", own("INVALID_ARGUMENT")).unwrap_err().reason(), "PUSH_REFUSED");
        assert_eq!(error(403, "PERMISSION_DENIED", json!([])).unwrap_err().reason(), "PUSH_REFUSED");
        assert_eq!(error(401, "UNAUTHENTICATED", own("THIRD_PARTY_AUTH_ERROR")).unwrap_err().reason(), "PUSH_REFUSED");
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        assert_eq!(error(429, "RESOURCE_EXHAUSTED", own("QUOTA_EXCEEDED")).unwrap_err().reason(), "PUSH_QUOTA");
        for busy in [error(503, "UNAVAILABLE", own("UNAVAILABLE")), error(500, "INTERNAL", own("INTERNAL"))] {
            assert!(busy.clone().unwrap_err().may_pass() && busy.unwrap_err().reason() == "PUSH_UNAVAILABLE");
        }
        let after = Some(Duration::from_secs(7));
        let said = said(StatusCode::SERVICE_UNAVAILABLE, after, b"<html>").unwrap_err();
        assert_eq!(said, Away::Busy { status: 503, word: String::new(), after });
    }

    #[test]
    fn what_is_no_answer_of_the_gateways_says_nothing() {
        assert_eq!(said(StatusCode::OK, None, b"{}"), Err(Away::Broken));
        assert_eq!(said(StatusCode::OK, None, br#"{"name":""}"#), Err(Away::Broken));
        assert_eq!(said(StatusCode::NOT_FOUND, None, b"no such page"), Err(Away::Broken));
        assert!(!error(404, "NOT_FOUND", json!([])).unwrap_err().may_pass(), "the project is wrong");
    }

    #[test]
    fn a_message_is_shown_once_by_its_id_on_every_platform() {
        let text = Text { title: "t".to_owned(), body: "b".to_owned() };
        let data = Params::from([("code".to_owned(), "CHR001".to_owned())]);
        let until = Timestamp::from_second(1_800_000_000).unwrap();
        let message = Message { id: Uuid::from_u128(7), kind: "CHARACTER_ACQUIRED", text, data, ttl_secs: 60, until };
        let sent = message.to("token")["message"].take();
        let id = Uuid::from_u128(7).to_string();
        assert_eq!((&sent["token"], &sent["android"]["ttl"]), (&json!("token"), &json!("60s")));
        let ids = [
            &sent["data"]["notification_id"],
            &sent["android"]["collapse_key"],
            &sent["android"]["notification"]["tag"],
            &sent["apns"]["headers"]["apns-collapse-id"],
            &sent["webpush"]["notification"]["tag"],
        ];
        assert!(ids.iter().all(|shown| **shown == id.as_str()), "{sent}");
        assert_eq!(sent["webpush"]["headers"]["Topic"].as_str().unwrap().len(), 32);
        assert_eq!(sent["apns"]["headers"]["apns-expiration"], "1800000000");
        assert_eq!((&sent["data"]["code"], &sent["data"]["kind"]), (&json!("CHR001"), &json!("CHARACTER_ACQUIRED")));
    }
}
