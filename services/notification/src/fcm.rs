//! The push gateway: FCM's HTTP API, version 1, with an access token of the service account.
//!
//! It has no idempotency keys: whoever is killed after sending sends again, and the device shows one by the message's ids
//! ([`crate::wire`]). A gateway that says "not now" is left alone by everybody for as long as it says; one that fails is not, for it
//! may fail one phone alone. Whoever gives tokens and fails, fails everybody: then it is left alone for a moment.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use coreloop_core::Clock;
use http::{StatusCode, header::RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response};
use secrecy::ExposeSecret as _;
use tokio::{sync::Mutex as Queue, time::Instant};

use crate::{
    Options,
    oauth::{Account, Bearer, GRANT},
    wire::{self, Away, Message, Said},
};

/// Largest answer that is read, in bytes.
const MOST: usize = 64 << 10;
/// Longest that it is left alone, whatever it says: shorter than the pauses between tries of a command together.
const LONGEST: Duration = Duration::from_secs(60);
/// How long it is where its quota is used up, and it does not say.
const USUAL: Duration = Duration::from_secs(10);
/// How long it is where no token was given: who waited for that one does not ask for another in a row, each as long.
const TOKENLESS: Duration = Duration::from_secs(2);

/// The gateway.
#[derive(Debug)]
pub struct Gateway {
    url: String,
    account: Option<Account>,
    patience: Duration,
    clock: Arc<dyn Clock>,
    // Made at first use: reading the system's certificates takes long.
    client: OnceLock<Client>,
    /// One asks for a token, the others wait for it.
    bearer: Queue<Option<Bearer>>,
    until: Mutex<Option<Instant>>,
}

impl Gateway {
    /// The gateway of the settings.
    #[must_use]
    pub fn of(options: &Options, clock: Arc<dyn Clock>) -> Self {
        Self {
            url: options.fcm_url.trim_end_matches('/').to_owned(),
            account: options.service_account.as_ref().and_then(Account::parse),
            patience: Duration::from_millis(options.push_timeout_ms),
            clock,
            client: OnceLock::new(),
            bearer: Queue::default(),
            until: Mutex::default(),
        }
    }

    /// It is left alone at the moment.
    #[must_use]
    pub fn is_left_alone(&self) -> bool {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Pushes a message to a device.
    ///
    /// # Errors
    /// When nothing is known of it, or nothing will come of it.
    pub async fn push(&self, message: &Message, token: &str) -> Result<Said, Away> {
        if self.is_left_alone() {
            return Err(Away::LeftAlone);
        }
        let said = self.sent(message, token).await;
        if let Err(Away::Busy { status, after, .. }) = &said
            && let Some(pause) = after.or_else(|| (*status == 429).then_some(USUAL))
        {
            self.leave_alone(pause.min(LONGEST));
        }
        said
    }

    /// From now on for so long; who has asked for longer is not overruled.
    fn leave_alone(&self, pause: Duration) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Some(Instant::now() + pause));
    }

    async fn sent(&self, message: &Message, token: &str) -> Result<Said, Away> {
        let account = self.account.as_ref().ok_or_else(|| refused(0, "NO_ACCOUNT"))?;
        let address = format!("{}/v1/projects/{}/messages:send", self.url, account.project());
        let body = message.to(token);
        let bearer = self.bearer(account, None).await?;
        let first = self.posted(&address, &body, &bearer).await?;
        let (status, after, answer) = if first.0 == StatusCode::UNAUTHORIZED {
            // It may be over, or withdrawn: once with a new one.
            let bearer = self.bearer(account, Some(&bearer)).await?;
            self.posted(&address, &body, &bearer).await?
        } else {
            first
        };
        wire::said(status, after, &answer)
    }

    async fn posted(
        &self,
        address: &str,
        body: &serde_json::Value,
        bearer: &Bearer,
    ) -> Result<(StatusCode, Option<Duration>, Vec<u8>), Away> {
        answered(self.client()?.post(address).bearer_auth(bearer.secret.expose_secret()).json(body)).await
    }

    /// An access token, but not `spent`.
    async fn bearer(&self, account: &Account, spent: Option<&Bearer>) -> Result<Bearer, Away> {
        let mut known = self.bearer.lock().await;
        let is_spent =
            |bearer: &Bearer| spent.is_some_and(|spent| spent.secret.expose_secret() == bearer.secret.expose_secret());
        if let Some(bearer) = known.as_ref().filter(|bearer| bearer.is_good(self.clock.now()) && !is_spent(bearer)) {
            return Ok(bearer.clone());
        }
        *known = None;
        // Who was asked before us, and waited for, has given none.
        if self.is_left_alone() {
            return Err(Away::LeftAlone);
        }
        match self.granted(account).await {
            Ok(bearer) => {
                *known = Some(bearer.clone());
                Ok(bearer)
            }
            Err(away) => {
                if away.may_pass() {
                    self.leave_alone(TOKENLESS);
                }
                Err(away)
            }
        }
    }

    /// A new access token.
    async fn granted(&self, account: &Account) -> Result<Bearer, Away> {
        let assertion = account.assertion(&*self.clock).ok_or_else(|| refused(0, "NO_SIGNATURE"))?;
        let form = [("grant_type", GRANT), ("assertion", assertion.as_str())];
        let (status, after, body) = answered(self.client()?.post(account.token_uri()).form(&form)).await?;
        match status.as_u16() {
            200 => {}
            status @ (408 | 429 | 500..) => return Err(Away::Busy { status, word: "TOKEN".to_owned(), after }),
            status => return Err(refused(status, "TOKEN")),
        }
        Bearer::parse(&body, self.clock.now()).ok_or(Away::Broken)
    }

    fn client(&self) -> Result<&Client, Away> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .connect_timeout(self.patience)
            .timeout(self.patience)
            // Whoever redirects is not the party that was given the token.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("coreloop/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(silent)?;
        Ok(self.client.get_or_init(|| client))
    }
}

async fn answered(asked: RequestBuilder) -> Result<(StatusCode, Option<Duration>, Vec<u8>), Away> {
    let response = asked.send().await.map_err(silent)?;
    let (status, after) = (response.status(), retry_after(&response));
    Ok((status, after, read(response).await?))
}

fn refused(status: u16, word: &str) -> Away {
    Away::Refused { status, word: word.to_owned() }
}

fn silent(error: reqwest::Error) -> Away {
    if error.is_timeout() { Away::Late } else { Away::Silent(error.without_url().to_string()) }
}

/// Seconds alone: a date would need a clock that agrees with theirs.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

async fn read(mut response: Response) -> Result<Vec<u8>, Away> {
    let mut bytes = Vec::new();
    let broken = |error: reqwest::Error| if error.is_timeout() { Away::Late } else { Away::Broken };
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MOST {
            return Err(Away::Broken);
        }
    }
    Ok(bytes)
}
