//! Mail to account holders, through an API compatible with SendGrid's version 3.
//!
//! A reset request is put on a bounded queue as it came; whether there is such an account is looked up by the worker.
//! The request's path is the same few instructions for every address, so its time tells nothing. A full queue drops the
//! request: the person asks again, and the log tells us.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;
use coreloop_core::UserId;
use coreloop_service::{Mode, Worker};
use jiff::SignedDuration;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{App, Client, Error, password, social::state, store};

/// Mails sent at once.
const SENDERS: usize = 4;
/// Pauses before the second and the third try.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];
/// Key of the sandbox's mail API; it guards nothing.
const SANDBOX_KEY: &str = "sandbox-mail-key";

/// Settings of mail.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(default)]
pub struct Options {
    /// Base of the mail API; empty: the sandbox where `social.sandbox_url` names one, else SendGrid.
    pub endpoint: String,
    /// Bearer key of the mail API; without one no mail is sent.
    pub api_key: Option<SecretString>,
    /// Sender.
    pub from: String,
    /// Address in the reset mail; `{token}` is put in.
    pub reset_url: String,
    /// Requests that may wait.
    pub queue: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            api_key: None,
            from: "no-reply@coreloop.example".to_owned(),
            reset_url: "coreloop://auth/reset?token={token}".to_owned(),
            queue: 1_024,
        }
    }
}

impl Options {
    /// Refuses what cannot work.
    pub fn check(&self, mode: Mode, report: &mut coreloop_config::Report<'_>) {
        report.within("mail.queue", self.queue, 1, 100_000);
        if !self.reset_url.contains("{token}") {
            report.refuse("mail.reset_url", "must contain {token}");
        }
        if mode == Mode::Production && self.endpoint.starts_with("http://") {
            report.refuse("mail.endpoint", "must be an https address");
        }
    }
}

/// A request that waits.
#[derive(Debug)]
struct Reset {
    email: String,
    client: Client,
}

/// The queue of mail.
#[derive(Debug)]
pub struct Mailer {
    endpoint: String,
    api_key: Option<SecretString>,
    from: String,
    reset_url: String,
    queue: mpsc::Sender<Reset>,
    waiting: Mutex<mpsc::Receiver<Reset>>,
}

impl Mailer {
    /// An empty queue.
    #[must_use]
    pub fn new(options: &crate::Options) -> Self {
        let (queue, waiting) = mpsc::channel(usize::try_from(options.mail.queue).unwrap_or(1).max(1));
        let sandbox = options.social.sandbox_url.trim_end_matches('/');
        let (endpoint, api_key) = match (options.mail.endpoint.as_str(), sandbox) {
            ("", "") => ("https://api.sendgrid.com", options.mail.api_key.clone()),
            ("", sandbox) => (sandbox, Some(options.mail.api_key.clone().unwrap_or_else(|| SANDBOX_KEY.into()))),
            (set, _) => (set, options.mail.api_key.clone()),
        };
        Self {
            endpoint: format!("{}/v3/mail/send", endpoint.trim_end_matches('/')),
            api_key,
            from: options.mail.from.clone(),
            reset_url: options.mail.reset_url.clone(),
            queue,
            waiting: Mutex::new(waiting),
        }
    }

    /// Asks for a reset mail to `email`, whoever that is. Never waits and never tells.
    pub fn request_reset(&self, email: &str, client: Client) {
        if self.queue.try_send(Reset { email: email.to_owned(), client }).is_err() {
            tracing::warn!("mail queue is full; a password reset was dropped");
        }
    }

    async fn send(&self, http: &reqwest::Client, to: &str, subject: &str, text: &str) -> Result<(), Error> {
        let Some(key) = &self.api_key else {
            tracing::warn!("no mail is sent: auth.mail.api_key is not set");
            return Ok(());
        };
        let mail = json!({
            "personalizations": [{ "to": [{ "email": to }] }],
            "from": { "email": self.from },
            "subject": subject,
            "content": [{ "type": "text/plain", "value": text }],
        });
        let mut pauses = PAUSES.into_iter();
        loop {
            let sent = http.post(&self.endpoint).bearer_auth(key.expose_secret()).json(&mail).send().await;
            let failure = match sent {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) if answer.status().is_server_error() || answer.status().as_u16() == 429 => {
                    format!("status {}", answer.status().as_u16())
                }
                Ok(answer) => return Err(Error::Internal(format!("mail API answered {}", answer.status().as_u16()))),
                Err(error) if error.is_timeout() => "timeout".to_owned(),
                Err(_) => "connection".to_owned(),
            };
            let Some(pause) = pauses.next() else {
                return Err(Error::Internal(format!("mail API failed: {failure}")));
            };
            tracing::warn!(failure, "mail API failed; trying again");
            tokio::time::sleep(pause).await;
        }
    }
}

/// The worker that sends what waits. When the process drains it sends what is left.
#[must_use]
pub fn worker(app: Arc<App>) -> Worker {
    Worker::new("auth.mail", move |stop| {
        let app = Arc::clone(&app);
        async move {
            futures::future::join_all((0..SENDERS).map(|_| pump(&app, &stop))).await;
        }
    })
}

async fn pump(app: &App, stop: &CancellationToken) {
    loop {
        let next = async { app.mail.waiting.lock().await.recv().await };
        let reset = tokio::select! {
            biased;
            reset = next => reset,
            () = stop.cancelled() => app.mail.waiting.lock().await.try_recv().ok(),
        };
        let Some(reset) = reset else { return };
        if let Err(error) = send_reset(app, &reset).await {
            tracing::warn!(error = %coreloop_core::Problem::from(error), "password reset mail was not sent");
        }
    }
}

async fn send_reset(app: &App, reset: &Reset) -> Result<(), Error> {
    let email = password::normalise_email(&reset.email);
    let Some(user) = store::users::find_by_email(&app.db, &email).await?.filter(store::users::User::active) else {
        return Ok(());
    };
    let Some(token) = issue(app, user.id).await? else {
        tracing::info!(user_id = %user.id, request_id = %reset.client.request_id, "too many password resets asked for");
        return Ok(());
    };
    let address = app.mail.reset_url.replace("{token}", &token);
    let minutes = app.options.reset_ttl_secs / 60;
    let text = format!(
        "Open this address to set a new password:\n\n{address}\n\nIt works once, within {minutes} minutes. \
         If you did not ask for it, you need not do anything.\n"
    );
    app.mail.send(&app.http, &email, "Set a new password", &text).await
}

/// A reset token, kept by its digest. None when the account was given enough of late.
async fn issue(app: &App, user: UserId) -> Result<Option<String>, Error> {
    let now = app.now();
    let after = |secs: i64| now.checked_add(SignedDuration::from_secs(secs)).unwrap_or(now);
    store::resets::sweep(&app.db, after(-86_400)).await?;
    let token = state::secret()?;
    let expires_at = after(app.options.reset_ttl_secs.into());
    let kept = store::resets::insert(&app.db, &token_hash(&token), user, expires_at, now).await?;
    Ok(kept.then_some(token))
}

/// What of a token is kept: its SHA-256. The token is 256 random bits, so no slow hash is needed.
#[must_use]
pub fn token_hash(token: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, token.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailer(change: impl FnOnce(&mut crate::Options)) -> Mailer {
        let mut options = crate::Options::default();
        change(&mut options);
        Mailer::new(&options)
    }

    #[test]
    fn the_sandbox_takes_the_mail_unless_an_endpoint_is_set() {
        let plain = mailer(|_| ());
        assert_eq!(
            (plain.endpoint.as_str(), plain.api_key.is_some()),
            ("https://api.sendgrid.com/v3/mail/send", false)
        );
        let sandboxed = mailer(|options| options.social.sandbox_url = "http://s/".to_owned());
        assert_eq!((sandboxed.endpoint.as_str(), sandboxed.api_key.is_some()), ("http://s/v3/mail/send", true));
        let set = mailer(|options| {
            options.social.sandbox_url = "http://s".to_owned();
            options.mail.endpoint = "https://m/".to_owned();
        });
        assert_eq!((set.endpoint.as_str(), set.api_key.is_some()), ("https://m/v3/mail/send", false));
    }

    #[test]
    fn a_full_queue_drops_and_never_waits() {
        let mailer = mailer(|options| options.mail.queue = 1);
        for _ in 0..3 {
            mailer.request_reset("a@example.com", Client::default());
        }
        assert_eq!(mailer.queue.capacity(), 0);
    }
}
