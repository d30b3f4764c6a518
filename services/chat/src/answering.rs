//! The command `chat.pipeline`: the model is asked, its pieces are told as they come, and what it said is written down.
//!
//! A model that fails is no failure of the command: it is what the answer came to, written down at once for whoever waits. What is left
//! to the tries of the command is what is ours to mend.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use coreloop_db::Transaction;
use coreloop_eventing::{Command, CommandHandler, Failure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    App, Error,
    context::{self, Prompt},
    ending::{Ended, end},
    model::Outcome,
    neighbours::Around,
    pieces::Voice,
    said::Took,
    sending::{Ask, Kind},
    store::messages::{self, Message, State},
};

/// Gives answers.
#[derive(Debug)]
pub struct Answering(pub Arc<App>);

/// What a command came to, as it is kept beside it. What was said is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Came {
    /// Nothing was to be done any more.
    Over,
    /// The model has answered.
    Answered {
        /// The image that was asked about, where it is found gone.
        without: Option<Uuid>,
    },
    /// It came to nothing: a constant says why.
    Failed {
        /// Why.
        reason: String,
        /// What the model read and said all the same.
        #[serde(default)]
        took: Took,
        /// The image that was asked about, where it is found gone.
        without: Option<Uuid>,
    },
}

#[async_trait]
impl CommandHandler for Answering {
    async fn act(&self, command: &Command) -> Result<Value, Failure> {
        let ask: Ask = command.decode()?;
        let came = self.came(&ask, command.idempotency_key).await?;
        serde_json::to_value(came).map_err(|error| Failure::permanent("RESULT", error.to_string()))
    }

    async fn settle(&self, tx: &mut Transaction, command: &Command, result: &Value) -> Result<(), Failure> {
        let ask: Ask = command.decode()?;
        let came = Came::deserialize(result).map_err(|error| Failure::permanent("RESULT", error.to_string()))?;
        let id = command.idempotency_key;
        let (ended, without) = match came {
            Came::Over => return Ok(()),
            Came::Failed { reason, took, without } => (Ended::Failed { reason, took }, without),
            Came::Answered { without } => match self.0.said.find(id) {
                Some(said) => (Ended::Answered(said), without),
                // Too many others have answered since: it is asked again.
                None => return Err(Failure::Transient("what was said is forgotten".to_owned())),
            },
        };
        let written = end(&self.0, tx, (ask.message_id, id), &ended).await?;
        // Behind the lock of the conversation, as whoever deletes one takes its messages.
        if let Some(image) = without {
            messages::without_image(tx, image).await?;
        }
        self.count(&ended, written);
        Ok(())
    }

    async fn died(&self, tx: &mut Transaction, command: &Command, failure: &Failure) -> Result<(), Failure> {
        let ask: Ask = command.decode()?;
        let ended = Ended::Failed { reason: failure.reason().to_owned(), took: Took::default() };
        let written = end(&self.0, tx, (ask.message_id, command.idempotency_key), &ended).await?;
        self.count(&ended, written);
        Ok(())
    }
}

impl Answering {
    async fn came(&self, ask: &Ask, command: Uuid) -> Result<Came, Failure> {
        let app = &self.0;
        let found = messages::by_id(&app.db, ask.message_id).await?;
        // A failed one is answered, too, unless it was asked for again: whoever looks after dead letters wants that.
        let open = found.filter(|answer| answer.command_id == Some(command) && answer.state != State::Done);
        let Some(answer) = open else { return Ok(Came::Over) };
        // It was said, and could not be written down.
        if app.said.find(command).is_some() {
            return Ok(Came::Answered { without: None });
        }
        let Some(question) = question(app, &answer).await? else { return Ok(Came::Over) };
        let around = match ask.kind {
            Kind::Image => app.neighbours.around(&question, app.options.model_sees, &app.metrics).await,
            Kind::Text => app.neighbours.beside(&question, &app.metrics).await,
        };
        let without = question.image_id.filter(|_| around.image_gone);
        if question.text.trim().is_empty() && (around.image_gone || question.image_gone) {
            return Ok(Came::Failed { reason: "IMAGE_GONE".to_owned(), took: Took::default(), without });
        }
        let prompt = prompt(app, &question, around).await?;
        let voice = Voice { pieces: &app.pieces, conversation: ask.conversation_id, message: ask.message_id };
        Ok(self.asked(command, prompt, &voice, without).await)
    }

    async fn asked(&self, command: Uuid, prompt: Prompt, voice: &Voice<'_>, without: Option<Uuid>) -> Came {
        let (app, began) = (&self.0, Instant::now());
        let (told, took) = app.model.answer(prompt, voice, &*app.ids).await;
        let reason = match &told {
            Ok(Outcome::Said(..)) => "ANSWERED".to_owned(),
            Ok(Outcome::Nonsense) => "MODEL_NONSENSE".to_owned(),
            Ok(Outcome::Filtered) => "CONTENT_FILTERED".to_owned(),
            Err(away) => format!("MODEL_{}", away.word()),
        };
        app.metrics.asked(&reason, began.elapsed(), app.model.is_left_alone());
        match told {
            Ok(Outcome::Said(said, first)) => {
                app.metrics.first_piece.observe(first.unwrap_or_else(|| began.elapsed()).as_secs_f64());
                app.said.keep(command, said);
                Came::Answered { without }
            }
            Ok(Outcome::Nonsense | Outcome::Filtered) => Came::Failed { reason, took, without },
            Err(away) => {
                tracing::warn!(error = %away, reason, "the model does not answer");
                Came::Failed { reason, took, without }
            }
        }
    }

    /// The commit is not ours: one that fails and is done again is counted twice, none is counted too few times.
    fn count(&self, ended: &Ended, written: bool) {
        match ended {
            _ if !written => {}
            Ended::Failed { reason, took } => {
                self.0.metrics.ended(reason);
                self.0.metrics.took(*took);
            }
            Ended::Answered(said) => {
                self.0.metrics.ended("answered");
                self.0.metrics.took(said.took);
            }
        }
    }
}

async fn question(app: &App, answer: &Message) -> Result<Option<Message>, Error> {
    let Some(id) = answer.question_id else { return Ok(None) };
    Ok(messages::by_id(&app.db, id).await?)
}

/// All that the model is told.
async fn prompt(app: &App, question: &Message, around: Around) -> Result<Prompt, Error> {
    let most = i64::from(app.options.context_messages);
    let before = messages::before(&app.db, question.conversation_id, Some(question.seq), most).await?;
    let chars = usize::try_from(app.options.context_chars).unwrap_or(usize::MAX);
    Ok(context::prompt(question, &before, around, chars))
}

/// What a command may take beside the model's time: asking others, writing.
#[must_use]
pub fn time(app: &App) -> Duration {
    const BESIDE: Duration = Duration::from_secs(10);
    Duration::from_millis(app.options.model_timeout_ms) + BESIDE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_command_is_what_it_came_to() {
        let without = Some(Uuid::from_u128(3));
        let took = Took { prompt: 7, answer: 2 };
        let failed = |reason: &str| Came::Failed { reason: reason.to_owned(), took, without: None };
        // As it was kept before it was known what it took.
        let before = serde_json::json!({"failed": {"reason": "MODEL_TIMEOUT", "without": null}});
        assert!(matches!(Came::deserialize(&before), Ok(Came::Failed { took, .. }) if took == Took::default()));
        for came in [Came::Over, Came::Answered { without }, failed("MODEL_TIMEOUT")] {
            let kept = serde_json::to_value(came.clone()).unwrap();
            assert_eq!(Came::deserialize(&kept).unwrap(), came);
        }
    }
}
