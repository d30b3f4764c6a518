//! The command `notification.push`: a notification goes to one device, and what came of it is written down.
//!
//! The gateway knows no idempotency keys, so whoever is killed between sending and the note of it sends again; the device shows one.
//! A command speaks for its push as long as the push has its key: one that had to wait for the end of quiet hours has another.

use std::sync::Arc;

use async_trait::async_trait;
use coreloop_db::Transaction;
use coreloop_eventing::{Command, CommandHandler, Failure};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    App,
    store::{
        devices,
        inbox::params,
        people::{self, Person},
        pushes::{self, Ready, State},
    },
    telling::name,
    text::render,
    wire::{Away, Message, Said},
};

/// Pushes to devices.
#[derive(Debug, Clone)]
pub struct Pusher(pub Arc<App>);

/// What the command says. Whose phone it is, and its token, is looked up when it is sent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Push {
    /// Which push.
    pub push_id: Uuid,
}

/// What a command came to, as it is kept beside it: no token is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Came {
    /// Nothing was to be done any more.
    Over,
    /// It is not to be pushed: a constant says why.
    Dropped(String),
    /// It is quiet until then, in microseconds.
    Waits(i64),
    /// The gateway has it, under this name.
    Taken(String),
    /// The device is dead: why, and the hash of the token that was tried.
    Dead { device_id: Uuid, reason: String, token_hash: String },
}

#[async_trait]
impl CommandHandler for Pusher {
    async fn act(&self, command: &Command) -> Result<Value, Failure> {
        let Push { push_id } = command.decode()?;
        let found = pushes::ready(&self.0.db, push_id).await?;
        // One that was given up is sent after all: whoever looks after dead letters wants that.
        let open = |ready: &Ready| {
            ready.command_key == command.idempotency_key && matches!(ready.state, State::Sent | State::GivenUp)
        };
        let came = match found.filter(open) {
            Some(ready) => self.sent(&ready).await?,
            None => Came::Over,
        };
        serde_json::to_value(came).map_err(|error| Failure::permanent("RESULT", error.to_string()))
    }

    async fn settle(&self, tx: &mut Transaction, command: &Command, result: &Value) -> Result<(), Failure> {
        let Push { push_id } = command.decode()?;
        let came = Came::deserialize(result).map_err(|error| Failure::permanent("RESULT", error.to_string()))?;
        let (push, now) = ((push_id, command.idempotency_key), self.0.clock.now());
        let (written, outcome) = match came {
            Came::Over => return Ok(()),
            Came::Dropped(reason) => (pushes::end(tx, push, (State::Dropped, &reason), now).await?, reason),
            Came::Waits(until) => {
                let until = Timestamp::from_microsecond(until).unwrap_or(now);
                (pushes::wait(tx, push, until).await?, "WAITS".to_owned())
            }
            Came::Taken(name) => (pushes::taken(tx, push, &name, now).await?, "TAKEN".to_owned()),
            Came::Dead { device_id, reason, token_hash } => {
                // The phone may have been registered anew meanwhile: then it has another token, and stays.
                devices::remove_dead(tx, device_id, &hex::decode(token_hash).unwrap_or_default()).await?;
                (pushes::end(tx, push, (State::GivenUp, &reason), now).await?, reason)
            }
        };
        // The commit is not ours: one that fails and is done again is counted twice, none is counted too few times.
        if written {
            self.0.metrics.pushed(&outcome);
        }
        Ok(())
    }

    async fn died(&self, tx: &mut Transaction, command: &Command, failure: &Failure) -> Result<(), Failure> {
        let Push { push_id } = command.decode()?;
        let (push, now) = ((push_id, command.idempotency_key), self.0.clock.now());
        if pushes::end(tx, push, (State::GivenUp, failure.reason()), now).await? {
            self.0.metrics.pushed(failure.reason());
        }
        Ok(())
    }
}

impl Pusher {
    /// Sends it, unless things are others by now.
    async fn sent(&self, ready: &Ready) -> Result<Came, Failure> {
        let (app, now) = (&self.0, self.0.clock.now());
        let dropped = |why: &str| Ok(Came::Dropped(why.to_owned()));
        if ready.is_read {
            return dropped("READ");
        }
        let Some((sealed, hash)) = ready.token() else { return dropped("DEVICE_GONE") };
        let person = people::of(&app.db, ready.user_id).await?;
        if person.closed || person.push_off.contains(&ready.kind) {
            return dropped("SWITCHED_OFF");
        }
        if let Some(until) = person.quiet.as_ref().and_then(|quiet| quiet.over(now)) {
            return Ok(Came::Waits(until.as_microsecond()));
        }
        // With the key that sealed it, it is sent after all.
        let opened = app.vault.open(ready.device_id, &sealed);
        let token = opened.map_err(|error| Failure::permanent("TOKEN_CLOSED", error.to_string()))?;
        match self.answered(&message(app, &person, ready, now), token.expose_secret()).await {
            Ok(Said::Taken(name)) => Ok(Came::Taken(name)),
            Ok(Said::Dead(reason)) => {
                Ok(Came::Dead { device_id: ready.device_id, reason, token_hash: hex::encode(hash) })
            }
            Err(away) => Err(failure(&away)),
        }
    }

    async fn answered(&self, message: &Message, token: &str) -> Result<Said, Away> {
        let (app, began) = (&self.0, Instant::now());
        let said = app.gateway.push(message, token).await;
        let outcome = match &said {
            Ok(Said::Taken(_)) => "taken",
            Ok(Said::Dead(reason)) => reason.as_str(),
            Err(away) => away.reason(),
        };
        app.metrics.answered(outcome, began.elapsed(), app.gateway.is_left_alone());
        said
    }
}

fn message(app: &App, person: &Person, ready: &Ready, now: Timestamp) -> Message {
    let (data, ttl_secs) = (params(&ready.params), app.options.push_ttl_secs);
    let language = person.language.unwrap_or(app.options.language);
    Message {
        id: ready.notification_id,
        kind: name(ready.kind),
        text: render(&ready.template, &data, language),
        data,
        ttl_secs,
        until: now.saturating_add(SignedDuration::from_secs(ttl_secs.into())).unwrap_or(now),
    }
}

/// An account, a project or a message that is wrong is mended by people, and then the dead letter is tried again; the rest may pass.
fn failure(away: &Away) -> Failure {
    match away.may_pass() {
        true => Failure::retryable(away.reason(), away.to_string()),
        false => Failure::permanent(away.reason(), away.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_command_is_what_it_came_to() {
        let device_id = Uuid::from_u128(7);
        for came in [
            Came::Over,
            Came::Dropped("READ".to_owned()),
            Came::Waits(1_800_000_000_000_000),
            Came::Taken("projects/p/messages/1".to_owned()),
            Came::Dead { device_id, reason: "UNREGISTERED".to_owned(), token_hash: "00ff".to_owned() },
        ] {
            let kept = serde_json::to_value(came.clone()).unwrap();
            assert_eq!(Came::deserialize(&kept).unwrap(), came);
        }
    }

    #[test]
    fn what_people_mend_is_a_dead_letter_and_the_rest_is_tried_again() {
        let refused = Away::Refused { status: 403, word: "PERMISSION_DENIED".to_owned() };
        assert!(matches!(failure(&refused), Failure::Permanent { reason, .. } if reason == "PUSH_REFUSED"));
        for (away, expected) in [
            (Away::LeftAlone, "PUSH_LEFT_ALONE"),
            (Away::Late, "PUSH_TIMEOUT"),
            (Away::Broken, "PUSH_UNAVAILABLE"),
            (Away::Busy { status: 429, word: String::new(), after: None }, "PUSH_QUOTA"),
        ] {
            assert!(matches!(failure(&away), Failure::Retryable { reason, .. } if reason == expected), "{expected}");
        }
    }
}
