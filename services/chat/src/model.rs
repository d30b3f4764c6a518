//! The language model, over HTTP: asked for an answer in pieces, asked again where that may help, left alone while it goes on failing.
//!
//! One answer has a time of its own, and all that is asked for it shares that. A refusal for the moment (429, 5xx, a connection or a
//! stream that breaks) is asked again after what `Retry-After` says, or a growing pause; then the answer begins anew, and whoever
//! listens is told so. A model that falls silent is not waited for. Neither the key nor the address of an image is in any error.
//!
//! **What it read and said is paid for, whatever came of it**: an answer that is begun and breaks off, is filtered or empty counts as what
//! was heard of it, and as what it was told.

pub mod events;
pub mod wire;

use std::time::Duration;

use coreloop_core::Ids;
use coreloop_outbound::{Away, Breaker, Party, Pauses, read, retry_after};
use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, sleep, sleep_until};

use self::events::Events;
use crate::{
    Options,
    context::Prompt,
    pieces::{Voice, Writer},
    said::{Said, Took},
};

/// Largest refusal that is read, in bytes.
const MOST_REFUSAL: usize = 64 << 10;
/// Longest answer, in bytes, whatever it was told: what is more is left out.
const MOST_ANSWER: usize = 64 << 10;
/// The first pause before it is asked again; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(250);
/// Characters of a token, where the model does not say how many there were: few, so that too many are reckoned.
const CHARS_PER_TOKEN: usize = 2;

/// The model.
#[derive(Debug)]
pub struct Model {
    address: String,
    name: String,
    api_key: Option<SecretString>,
    patience: Duration,
    silence: Duration,
    tokens: u32,
    party: Party,
}

/// What an answer came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is there; after what time its first piece was.
    Said(Said, Option<Duration>),
    /// The model answers, and says nothing.
    Nonsense,
    /// The model may not say what it would.
    Filtered,
}

/// What one request came to.
enum Told {
    Said(Heard),
    /// The model could not have the image.
    Unseen,
}

/// What was heard of an answer.
#[derive(Default)]
struct Heard {
    text: String,
    first: Option<Duration>,
    finish: Option<String>,
    usage: Option<(i64, i64)>,
    /// It was longer than one may be.
    cut: bool,
}

impl Model {
    /// The model of the settings.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        let patience = Duration::from_millis(options.model_timeout_ms);
        let breaker = Breaker::new(options.breaker_failures, Duration::from_secs(options.breaker_secs.into()));
        Self {
            address: format!("{}/v1/chat/completions", options.model_url.trim_end_matches('/')),
            name: options.model.clone(),
            api_key: options.api_key.clone(),
            patience,
            silence: Duration::from_millis(options.model_silence_ms),
            tokens: options.answer_tokens,
            party: Party::new(Pauses { first: PAUSE, tries: options.model_tries }, breaker, patience),
        }
    }

    /// It is left alone at the moment.
    #[must_use]
    pub fn is_left_alone(&self) -> bool {
        self.party.breaker.is_open()
    }

    /// Has it answer, and gives its pieces to `voice` as they come; and what all that was asked for it took.
    pub async fn answer(&self, prompt: Prompt, voice: &Voice<'_>, ids: &dyn Ids) -> (Result<Outcome, Away>, Took) {
        let mut took = Took::default();
        let outcome = self.answer_at_last(prompt, voice, ids, &mut took).await;
        (outcome, took)
    }

    async fn answer_at_last(
        &self,
        mut prompt: Prompt,
        voice: &Voice<'_>,
        ids: &dyn Ids,
        took: &mut Took,
    ) -> Result<Outcome, Away> {
        let until = Instant::now() + self.patience;
        let (mut failures, mut mute) = (0, false);
        loop {
            let mut writer = voice.begin(ids).await;
            match self.ask(&prompt, until, &mut writer, took).await {
                Ok(Told::Said(heard)) if heard.finish.as_deref() == Some("content_filter") => {
                    return Ok(Outcome::Filtered);
                }
                Ok(Told::Said(heard)) if heard.text.trim().is_empty() => {
                    if mute {
                        return Ok(Outcome::Nonsense);
                    }
                    mute = true;
                }
                Ok(Told::Said(heard)) => return Ok(heard.whole(*took)),
                Ok(Told::Unseen) => {
                    if !prompt.drop_picture() {
                        return Err(Away::Refused(StatusCode::BAD_REQUEST));
                    }
                }
                Err(away) => {
                    failures += 1;
                    let Some(pause) = self.party.pauses.after(&away, failures, until) else { return Err(away) };
                    sleep(pause).await;
                }
            }
        }
    }

    /// Asks once, and tells the breaker.
    async fn ask(
        &self,
        prompt: &Prompt,
        until: Instant,
        writer: &mut Writer<'_>,
        took: &mut Took,
    ) -> Result<Told, Away> {
        let left = self.party.admit(until)?;
        let told = self.send(prompt, left, writer, took).await;
        self.party.hear(&told);
        told
    }

    async fn send(
        &self,
        prompt: &Prompt,
        within: Duration,
        writer: &mut Writer<'_>,
        took: &mut Took,
    ) -> Result<Told, Away> {
        let (began, until) = (Instant::now(), Instant::now() + within);
        let question = wire::question(&self.name, prompt, self.tokens);
        let mut asked = self.party.client()?.post(&self.address).timeout(within).json(&question);
        if let Some(key) = &self.api_key {
            asked = asked.bearer_auth(key.expose_secret());
        }
        let silent_at = (began + self.silence).min(until);
        let response = tokio::time::timeout_at(silent_at, asked.send()).await.map_err(|_| Away::Late)?;
        let response = response.map_err(Away::of)?;
        let (status, after) = (response.status(), retry_after(&response));
        if status.is_success() {
            let mut heard = Heard::default();
            let whole = self.hear_out(response, (began, until), writer, &mut heard).await;
            *took = took.and(heard.took(prompt));
            return whole.map(|()| Told::Said(heard));
        }
        let refused = Away::by_status(status, after);
        let unseen = matches!(refused, Away::Refused(_)) && wire::could_not_see(&read(response, MOST_REFUSAL).await?);
        if unseen { Ok(Told::Unseen) } else { Err(refused) }
    }

    async fn hear_out(
        &self,
        mut response: Response,
        (began, until): (Instant, Instant),
        writer: &mut Writer<'_>,
        heard: &mut Heard,
    ) -> Result<(), Away> {
        let mut events = Events::default();
        let mut silent_at = (began + self.silence).min(until);
        loop {
            let bytes = tokio::select! {
                bytes = response.chunk() => bytes.map_err(|error| Away::cut(&error))?,
                () = sleep_until(silent_at) => return Err(Away::Late),
                () = sleep_until(writer.due()), if writer.holds() => {
                    writer.flush().await;
                    continue;
                }
            };
            silent_at = (Instant::now() + self.silence).min(until);
            let Some(bytes) = bytes else {
                writer.flush().await;
                // Some end without a word when they have said why.
                return if heard.finish.is_some() { Ok(()) } else { Err(Away::Broken) };
            };
            for data in events.take(&bytes)? {
                let piece = wire::piece(&data)?;
                if piece.last || !heard.take(&piece, began, writer).await {
                    writer.flush().await;
                    return Ok(());
                }
            }
        }
    }
}

impl Heard {
    /// Takes a piece and gives it on; `false` when there is no room for more.
    async fn take(&mut self, piece: &wire::Piece, began: Instant, writer: &mut Writer<'_>) -> bool {
        self.usage = piece.usage.or(self.usage);
        if piece.finish.is_some() {
            self.finish.clone_from(&piece.finish);
        }
        if piece.text.is_empty() {
            return true;
        }
        self.first.get_or_insert_with(|| began.elapsed());
        if self.text.len() + piece.text.len() > MOST_ANSWER {
            self.cut = true;
            return false;
        }
        self.text.push_str(&piece.text);
        writer.piece(&piece.text).await;
        true
    }

    /// What it took: as the model says, or as is reckoned where it does not, or broke off before.
    fn took(&self, prompt: &Prompt) -> Took {
        let reckoned = |chars: usize| i64::try_from(chars.div_ceil(CHARS_PER_TOKEN)).unwrap_or(i64::MAX);
        let (prompt, answer) =
            self.usage.unwrap_or_else(|| (reckoned(prompt.chars()), reckoned(self.text.chars().count())));
        Took { prompt, answer }
    }

    /// The answer, for which so much was taken in all.
    fn whole(self, took: Took) -> Outcome {
        let truncated = self.cut || self.finish.as_deref() == Some("length");
        Outcome::Said(Said { text: self.text, truncated, took }, self.first)
    }
}
