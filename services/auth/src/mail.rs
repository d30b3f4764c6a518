//! Mail to account holders, through an API compatible with SendGrid's version 3.
//!
//! A reset request is kept in the database as it came ([`resets`]); whether there is such an account is looked up by the
//! worker. The request's path is the same for every address, so its time tells nothing.

pub mod resets;

use std::time::Duration;

use aws_lc_rs::digest;
use coreloop_service::Mode;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::sync::Notify;

use crate::outside::Outside;

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
    /// Bearer key of the mail API. Required in production; without one local mode sends no mail.
    pub api_key: Option<SecretString>,
    /// Sender.
    pub from: String,
    /// Address in the reset mail; `{token}` is put in.
    pub reset_url: String,
    /// Mails that may wait to be sent, over all replicas.
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
        if mode == Mode::Production {
            if self.endpoint.starts_with("http://") {
                report.refuse("mail.endpoint", "must be an https address");
            }
            // Without it the mails would be taken and dropped, and who waits for one would never know.
            report.require_secret("mail.api_key", self.api_key.as_ref());
        }
    }
}

/// The way to the mail API.
#[derive(Debug)]
pub struct Mailer {
    endpoint: String,
    api_key: Option<SecretString>,
    from: String,
    reset_url: String,
    /// A mail was asked for here.
    asked: Notify,
}

/// Why a mail is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// The API does not want it, with this status: trying again is no use.
    Refused(u16),
    /// The API does not answer, or not well: the mail may have gone out all the same.
    Away(String),
}

impl Mailer {
    /// Takes the settings.
    #[must_use]
    pub fn new(options: &crate::Options) -> Self {
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
            asked: Notify::new(),
        }
    }

    async fn send(&self, outside: &Outside, to: &str, subject: &str, text: &str) -> Result<(), Failed> {
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
            let http = outside.client().map_err(|_| Failed::Away("tls".to_owned()))?;
            let sent = http.post(&self.endpoint).bearer_auth(key.expose_secret()).json(&mail).send().await;
            let failure = match sent {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) if answer.status().is_server_error() || answer.status().as_u16() == 429 => {
                    format!("status {}", answer.status().as_u16())
                }
                Ok(answer) => return Err(Failed::Refused(answer.status().as_u16())),
                Err(error) if error.is_timeout() => "timeout".to_owned(),
                Err(_) => "connection".to_owned(),
            };
            let Some(pause) = pauses.next() else { return Err(Failed::Away(failure)) };
            tracing::warn!(failure, "mail API failed; trying again");
            tokio::time::sleep(pause).await;
        }
    }
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
}
