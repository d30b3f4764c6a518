//! The mail API of SendGrid, version 3: what is sent is kept to be read.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State as Shared,
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::post,
};
use coreloop_core::Clock as _;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Notify;

use crate::{
    fault::{self, At},
    secret,
    state::State,
};

/// Most mail kept; the oldest gives way.
const MOST: usize = 1_000;
/// Longest wait of a reader, in milliseconds.
const LONGEST_WAIT_MS: u64 = 30_000;

/// A mail as it arrived.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Mail {
    id: String,
    to: Vec<String>,
    from: String,
    subject: String,
    /// Every part: media type and text.
    content: Vec<Content>,
    received_at: jiff::Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Content {
    r#type: String,
    value: String,
}

#[derive(Debug, Deserialize)]
struct Address {
    email: String,
}

#[derive(Debug, Deserialize)]
struct Personalization {
    to: Vec<Address>,
    subject: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Send {
    personalizations: Vec<Personalization>,
    from: Address,
    subject: Option<String>,
    content: Vec<Content>,
}

/// What a reader asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MailQuery {
    /// Only mail to this address.
    to: Option<String>,
    /// Wait this long for the first one.
    wait_ms: u64,
}

/// The mail that was accepted.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    mails: Mutex<VecDeque<Mail>>,
    arrived: Notify,
}

impl Mailbox {
    /// Mail that the query asks for, newest last; waits for the first one as long as the query says.
    pub(crate) async fn wait_for(&self, query: &MailQuery) -> Vec<Mail> {
        let patience = Duration::from_millis(query.wait_ms.min(LONGEST_WAIT_MS));
        let some = async {
            loop {
                let arrival = self.arrived.notified();
                let mails = self.read(query);
                if !mails.is_empty() {
                    return mails;
                }
                arrival.await;
            }
        };
        tokio::time::timeout(patience, some).await.unwrap_or_else(|_| self.read(query))
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.mails().clear();
    }

    fn read(&self, query: &MailQuery) -> Vec<Mail> {
        let wanted = |mail: &&Mail| {
            query.to.as_ref().is_none_or(|to| mail.to.iter().any(|address| address.eq_ignore_ascii_case(to)))
        };
        self.mails().iter().filter(wanted).cloned().collect()
    }

    fn accept(&self, mail: Mail) {
        let mut mails = self.mails();
        if mails.len() >= MOST {
            mails.pop_front();
        }
        mails.push_back(mail);
        drop(mails);
        self.arrived.notify_waiters();
    }

    fn mails(&self) -> MutexGuard<'_, VecDeque<Mail>> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `POST /v3/mail/send`.
pub(crate) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    let state = Arc::clone(state);
    let at = At { provider: "sendgrid", endpoint: "send" };
    let played = from_fn(move |request, next| fault::play(Arc::clone(&state), at, request, next));
    Router::new().route("/v3/mail/send", post(send).layer(played))
}

async fn send(Shared(state): Shared<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if bearer.strip_prefix("Bearer ") != Some(state.options.mail_api_key.as_str()) {
        let message = "The provided authorization grant is invalid, expired, or revoked";
        return refuse(StatusCode::UNAUTHORIZED, message, None);
    }
    let Ok(send) = serde_json::from_slice::<Send>(&body) else {
        return refuse(StatusCode::BAD_REQUEST, "Bad Request", None);
    };
    let to: Vec<_> =
        send.personalizations.iter().flat_map(|person| person.to.iter().map(|to| to.email.clone())).collect();
    if to.is_empty() || to.iter().any(|address| !address.contains('@')) {
        let message = "Does not contain a valid address.";
        return refuse(StatusCode::BAD_REQUEST, message, Some("personalizations.0.to.0.email"));
    }
    if send.content.is_empty() {
        let message = "The content value must be a string at least one character in length.";
        return refuse(StatusCode::BAD_REQUEST, message, Some("content.0.value"));
    }
    let id = secret::random();
    let subject = send.personalizations.into_iter().find_map(|person| person.subject).or(send.subject);
    state.mail.accept(Mail {
        id: id.clone(),
        to,
        from: send.from.email,
        subject: subject.unwrap_or_default(),
        content: send.content,
        received_at: state.clock.now(),
    });
    (StatusCode::ACCEPTED, [("x-message-id", id)]).into_response()
}

fn refuse(status: StatusCode, message: &str, field: Option<&str>) -> Response {
    (status, Json(json!({ "errors": [{ "message": message, "field": field, "help": null }] }))).into_response()
}
