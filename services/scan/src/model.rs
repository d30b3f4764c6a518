//! The vision model, over HTTP: asked within bounds, asked again where that may help, left alone while it goes on failing.
//!
//! One look has a time of its own, and all that is asked in it shares that. A refusal for the moment (429, 5xx, a connection or an
//! answer that breaks) is asked again after what `Retry-After` says, or a growing pause; an answer that makes no sense is asked again
//! once, with a reminder. Neither the key nor the address of a photo is in any error: models repeat what they were asked.

use std::time::Duration;

use coreloop_outbound::{Away, Breaker, Party, Pauses, read, retry_after};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    Options,
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
    party: Party,
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
        let patience = Duration::from_millis(options.model_timeout_ms);
        let breaker = Breaker::new(options.breaker_failures, Duration::from_secs(options.breaker_secs.into()));
        Self {
            address,
            style: options.model_style,
            name: options.model.clone(),
            api_key: options.api_key.clone(),
            patience,
            party: Party::new(Pauses { first: PAUSE, tries: options.model_tries }, breaker, patience),
        }
    }

    /// It is left alone at the moment.
    #[must_use]
    pub fn is_left_alone(&self) -> bool {
        self.party.breaker.is_open()
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
                    let Some(pause) = self.party.pauses.after(&away, failures, until) else { return Err(away) };
                    sleep(pause).await;
                }
            }
        }
    }

    /// Asks once, and tells the breaker.
    async fn ask(&self, question: &Value, until: Instant) -> Result<Told, Away> {
        let left = self.party.admit(until)?;
        let told = self.send(question, left).await;
        self.party.hear(&told);
        told
    }

    async fn send(&self, question: &Value, within: Duration) -> Result<Told, Away> {
        let mut asked = self.party.client()?.post(&self.address).timeout(within).json(question);
        if let Some(key) = &self.api_key {
            asked = asked.bearer_auth(key.expose_secret());
        }
        let response = asked.send().await.map_err(Away::of)?;
        let (status, after) = (response.status(), retry_after(&response));
        let body = read(response, MOST).await?;
        if status.is_success() {
            return wire::answer(self.style, &body).map(Told::Answer).ok_or(Away::Broken);
        }
        let refused = Away::by_status(status, after);
        if matches!(refused, Away::Refused(_)) && wire::could_not_see(&body) { Ok(Told::Unseen) } else { Err(refused) }
    }
}

/// A constant, by which dead letters are filtered and a failed task is told.
#[must_use]
pub fn reason(away: &Away) -> &'static str {
    match away.word() {
        "LEFT_ALONE" => "MODEL_LEFT_ALONE",
        "TIMEOUT" => "MODEL_TIMEOUT",
        "RATE_LIMITED" => "MODEL_RATE_LIMITED",
        "REFUSED" => "MODEL_REFUSED",
        _ => "MODEL_UNAVAILABLE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_a_constant_of_its_own() {
        let by = |status: u16| reason(&Away::by_status(status.try_into().unwrap(), None));
        assert_eq!((by(429), by(502), by(401)), ("MODEL_RATE_LIMITED", "MODEL_UNAVAILABLE", "MODEL_REFUSED"));
        assert_eq!((reason(&Away::Late), reason(&Away::LeftAlone)), ("MODEL_TIMEOUT", "MODEL_LEFT_ALONE"));
    }
}
