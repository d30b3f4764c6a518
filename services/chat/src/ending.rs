//! An answer comes to its end, once for each time that it is asked for: state, cost, history and fact in the transaction of whoever ends
//! it.

use coreloop_eventing::Facts;
use coreloop_facts::v1::{ChatMessageAnswered, ChatMessageFailed};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    history::{Happened, note},
    said::{Said, Took},
    store::{
        answers::{self, Given},
        conversations,
        messages::{self, Message, State},
        usage,
    },
    times::{micros, proto_time},
};

/// What an answer came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It is there.
    Answered(Said),
    /// It came to nothing.
    Failed {
        /// A constant says why.
        reason: String,
        /// What the model read and said all the same.
        took: Took,
    },
}

/// Writes what an answer came to that `command` asked for, in the transaction of `connection`; `false` when it is gone, was asked for
/// again meanwhile, or is there. One that has failed may be there yet.
///
/// # Errors
/// When the database fails.
pub async fn end(
    app: &App,
    connection: &mut PgConnection,
    (id, command): (Uuid, Uuid),
    ended: &Ended,
) -> Result<bool, Error> {
    let Some(found) = messages::by_id(&mut *connection, id).await? else { return Ok(false) };
    if conversations::lock(connection, found.conversation_id).await?.is_none() {
        return Ok(false);
    }
    // Read again under the lock.
    let found = messages::by_id(&mut *connection, id).await?;
    let Some(answer) = found.filter(|answer| answer.command_id == Some(command) && is_open(answer, ended)) else {
        return Ok(false);
    };
    let now = micros(app.clock.now());
    let took = write(connection, &answer, ended, now).await?;
    if let Some(day) = answer.reserved_on {
        // What it was reckoned to take was given back when it failed.
        usage::settle(connection, (answer.user_id, day.to_jiff()), answer.reserved, took).await?;
    }
    let mut facts = Facts::new();
    note(app, connection, answer.conversation_id, happened(&answer, ended, now), &mut facts, now).await?;
    app.outbox.write(connection, &facts, now).await?;
    Ok(true)
}

fn is_open(answer: &Message, ended: &Ended) -> bool {
    match ended {
        Ended::Answered(_) => answer.state != State::Done,
        Ended::Failed { .. } => answer.state == State::Pending,
    }
}

/// Writes the state; what it took, in tokens.
async fn write(
    connection: &mut PgConnection,
    answer: &Message,
    ended: &Ended,
    now: Timestamp,
) -> Result<i64, sqlx::Error> {
    match ended {
        Ended::Answered(said) => {
            let Said { text, truncated, took } = said;
            let given = Given { text, truncated: *truncated, took: *took };
            answers::give(connection, answer.id, given, now).await?;
            Ok(took.total())
        }
        Ended::Failed { reason, took } => {
            // Who has nothing of it pays no more than they were told; who makes it fail does not go free.
            let took = took.at_most(answer.reserved);
            answers::fail(connection, answer.id, (reason.as_str(), took), now).await?;
            Ok(took.total())
        }
    }
}

fn happened(answer: &Message, ended: &Ended, now: Timestamp) -> Happened {
    let conversation_id = answer.conversation_id.to_string();
    let user_id = answer.user_id.to_string();
    let question_id = answer.question_id.map(|id| id.to_string()).unwrap_or_default();
    let message_id = answer.id.to_string();
    let occurred_at = Some(proto_time(now));
    match ended {
        Ended::Answered(said) => Happened::Answered(ChatMessageAnswered {
            conversation_id,
            user_id,
            question_id,
            message_id,
            truncated: said.truncated,
            prompt_tokens: said.took.prompt,
            answer_tokens: said.took.answer,
            occurred_at,
        }),
        Ended::Failed { reason, .. } => Happened::Failed(ChatMessageFailed {
            conversation_id,
            user_id,
            question_id,
            message_id,
            reason: reason.clone(),
            occurred_at,
        }),
    }
}
