//! The vision model, over HTTP: asked within bounds, asked again where that may help, left alone while it goes on failing.
//!
//! One look has a time of its own, and all that is asked in it shares that. A refusal for the moment (429, 5xx, a connection or an
//! answer that breaks) is asked again after what `Retry-After` says, or a growing pause; an answer that makes no sense is asked again
//! once, with a reminder. Neither the key nor the address of a photo is in any error: models repeat what they were asked.

use std::{sync::OnceLock, time::Duration};

use reqwest::{Client, Response, StatusCode, header::RETRY_AFTER};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    Options,
    breaker::Breaker,
    options::Style,
    verdict::Verdict,
    wire::{self, Answer, Photo},
};

/// Largest answer that is read, in bytes.
const MOST: usize = 256 << 10;
/// The first pause before it is asked again; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(250);

/// The model.
#[derive(Debug)]
pub struct Model {
    address: String,
    style: Style,
    name: String,
    api_key: Option<SecretString>,
    patience: Duration,
    tries: u32,
    breaker: Breaker,
    // Made at first use: reading the system's certificates takes long.
    client: OnceLock<Client>,
}

/// What a look came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// What the photo shows.
    Verdict(Verdict),
    /// The model answers, and makes no sense.
    Nonsense,
    /// The model says that it could not have the photo.
    Unseen,
}

/// Nothing is known of the photo.
#[derive(Debug, thiserror::Error)]
pub enum Away {
    /// Others have found it failing; nobody was asked.
    #[error("the model goes on failing and is left alone for a while")]
    LeftAlone,
    /// No answer in time.
    #[error("the model does not answer in time")]
    Late,
    /// No answer.
    #[error("the model cannot be asked: {0}")]
    Silent(reqwest::Error),
    /// An answer that is none.
    #[error("the model's answer breaks off, or is none of such a model")]
    Broken,
    /// It refuses for the moment.
    #[error("the model answered {status}")]
    Busy {
        /// Its status.
        status: StatusCode,
        /// When it is to be asked again, as it says.
        after: Option<Duration>,
    },
    /// It refuses, and will: the key or the request is wrong.
    #[error("the model refuses: {0}")]
    Refused(StatusCode),
}

impl Away {
    /// A constant, by which dead letters are filtered and a failed task is told.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::LeftAlone => "MODEL_LEFT_ALONE",
            Self::Late => "MODEL_TIMEOUT",
            Self::Busy { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS => "MODEL_RATE_LIMITED",
            Self::Silent(_) | Self::Broken | Self::Busy { .. } => "MODEL_UNAVAILABLE",
            Self::Refused(_) => "MODEL_REFUSED",
        }
    }

    /// Asking again now may help.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Broken | Self::Busy { .. })
    }
}

/// What one request came to.
enum Told {
    Answer(Answer),
    Unseen,
}

impl Model {
    /// The model of the settings.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        let base = options.model_url.trim_end_matches('/');
        let address = match options.model_style {
            Style::Openai => format!("{base}/v1/chat/completions"),
            Style::Plain => base.to_owned(),
        };
        Self {
            address,
            style: options.model_style,
            name: options.model.clone(),
            api_key: options.api_key.clone(),
            patience: Duration::from_millis(options.model_timeout_ms),
            tries: options.model_tries,
            breaker: Breaker::new(options.breaker_failures, Duration::from_secs(options.breaker_secs.into())),
            client: OnceLock::new(),
        }
    }

    /// It is left alone at the moment.
    #[must_use]
    pub fn is_left_alone(&self) -> bool {
        self.breaker.is_open()
    }

    /// Has it look at a photo.
    ///
    /// # Errors
    /// When nothing is known of the photo.
    pub async fn look(&self, photo: Photo<'_>) -> Result<Seen, Away> {
        let until = Instant::now() + self.patience;
        let mut question = wire::question(self.style, &self.name, photo);
        let (mut reminded, mut failures) = (false, 0);
        loop {
            match self.ask(&question, until).await {
                Ok(Told::Answer(Answer::Verdict(verdict))) => return Ok(Seen::Verdict(verdict)),
                Ok(Told::Answer(Answer::Nonsense(_))) if reminded => return Ok(Seen::Nonsense),
                Ok(Told::Answer(Answer::Nonsense(text))) => {
                    reminded = true;
                    question = wire::once_more(self.style, question, &text);
                }
                Ok(Told::Unseen) => return Ok(Seen::Unseen),
                Err(away) => {
                    failures += 1;
                    let Some(pause) = self.pause(&away, failures, until) else { return Err(away) };
                    sleep(pause).await;
                }
            }
        }
    }

    /// How long to wait before it is asked again; none where that does not help or time is up.
    fn pause(&self, away: &Away, failures: u32, until: Instant) -> Option<Duration> {
        if failures >= self.tries || !away.may_pass() {
            return None;
        }
        let own = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(8));
        let asked = if let Away::Busy { after, .. } = away { *after } else { None };
        let pause = asked.unwrap_or_default().max(own);
        (Instant::now() + pause < until).then_some(pause)
    }

    /// Asks once, and tells the breaker.
    async fn ask(&self, question: &Value, until: Instant) -> Result<Told, Away> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Away::Late);
        }
        if !self.breaker.admits(Instant::now()) {
            return Err(Away::LeftAlone);
        }
        let told = self.send(question, left).await;
        match &told {
            // A refusal for good is an answer.
            Ok(_) | Err(Away::Refused(_)) => self.breaker.succeeded(),
            Err(_) => self.breaker.failed(Instant::now()),
        }
        told
    }

    async fn send(&self, question: &Value, within: Duration) -> Result<Told, Away> {
        let mut asked = self.client()?.post(&self.address).timeout(within).json(question);
        if let Some(key) = &self.api_key {
            asked = asked.bearer_auth(key.expose_secret());
        }
        let response = asked.send().await.map_err(silent)?;
        let (status, after) = (response.status(), retry_after(&response));
        let body = read(response).await?;
        if status.is_success() {
            return wire::answer(self.style, &body).map(Told::Answer).ok_or(Away::Broken);
        }
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT
        {
            return Err(Away::Busy { status, after });
        }
        if wire::could_not_see(&body) { Ok(Told::Unseen) } else { Err(Away::Refused(status)) }
    }

    fn client(&self) -> Result<&Client, Away> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .connect_timeout(self.patience)
            // Whoever redirects is not the party that was given the photo.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("coreloop/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(silent)?;
        Ok(self.client.get_or_init(|| client))
    }
}

fn silent(error: reqwest::Error) -> Away {
    if error.is_timeout() { Away::Late } else { Away::Silent(error.without_url()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(status: StatusCode, after: Option<u64>) -> Away {
        Away::Busy { status, after: after.map(Duration::from_secs) }
    }

    #[test]
    fn it_is_asked_again_as_it_says_as_long_as_there_is_time() {
        let model = Model::of(&Options { model_tries: 3, ..Options::default() });
        let until = Instant::now() + Duration::from_secs(20);
        let limited = busy(StatusCode::TOO_MANY_REQUESTS, Some(7));
        assert_eq!(model.pause(&limited, 1, until), Some(Duration::from_secs(7)));
        assert_eq!(model.pause(&limited, 3, until), None, "tries are used up");
        assert_eq!(model.pause(&busy(StatusCode::TOO_MANY_REQUESTS, Some(21)), 1, until), None, "too late");
        assert_eq!(model.pause(&Away::Broken, 2, until), Some(PAUSE * 2));
        assert_eq!(model.pause(&Away::Refused(StatusCode::UNAUTHORIZED), 1, until), None);
        assert_eq!(model.pause(&Away::LeftAlone, 1, until), None);
    }

    #[test]
    fn a_failure_has_a_constant_of_its_own() {
        assert_eq!(busy(StatusCode::TOO_MANY_REQUESTS, None).reason(), "MODEL_RATE_LIMITED");
        assert_eq!(busy(StatusCode::BAD_GATEWAY, None).reason(), "MODEL_UNAVAILABLE");
        assert_eq!(Away::Late.reason(), "MODEL_TIMEOUT");
        assert_eq!(Away::Refused(StatusCode::UNAUTHORIZED).reason(), "MODEL_REFUSED");
    }
}
