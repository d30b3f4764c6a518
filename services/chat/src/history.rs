//! The history of a conversation, from which what it came to can be told at any time. No word of it is there.

use coreloop_eventing::Facts;
use coreloop_eventstore::{Aggregate, BoxError, Event, EventType, message, payload};
use coreloop_facts::v1::{
    ChatConversationDeleted, ChatConversationOpened, ChatMessageAnswered, ChatMessageAsked, ChatMessageFailed,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{App, Error};

/// A conversation as its history has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// It is there.
    pub there: bool,
    /// How often answers were asked for.
    pub asked: u64,
    /// Answers that were given.
    pub answered: u64,
    /// How often answers came to nothing.
    pub failed: u64,
}

/// What happened to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// It was begun.
    Opened(ChatConversationOpened),
    /// Something is to be answered.
    Asked(ChatMessageAsked),
    /// An answer is there.
    Answered(ChatMessageAnswered),
    /// An answer came to nothing.
    Failed(ChatMessageFailed),
    /// It was deleted.
    Deleted(ChatConversationDeleted),
}

const OPENED: &str = "chat.conversation_opened";
const ASKED: &str = "chat.message_asked";
const ANSWERED: &str = "chat.message_answered";
const FAILED: &str = "chat.message_failed";
const DELETED: &str = "chat.conversation_deleted";

impl Event for Happened {
    const TYPES: &'static [EventType] = &[
        EventType::new(OPENED),
        EventType::new(ASKED),
        EventType::new(ANSWERED),
        EventType::new(FAILED),
        EventType::new(DELETED),
    ];

    fn event_type(&self) -> &'static str {
        match self {
            Self::Opened(_) => OPENED,
            Self::Asked(_) => ASKED,
            Self::Answered(_) => ANSWERED,
            Self::Failed(_) => FAILED,
            Self::Deleted(_) => DELETED,
        }
    }

    fn encode(&self) -> Result<Value, BoxError> {
        match self {
            Self::Opened(fact) => payload(fact),
            Self::Asked(fact) => payload(fact),
            Self::Answered(fact) => payload(fact),
            Self::Failed(fact) => payload(fact),
            Self::Deleted(fact) => payload(fact),
        }
    }

    fn decode(event_type: &str, value: Value) -> Result<Self, BoxError> {
        Ok(match event_type {
            OPENED => Self::Opened(message(&value)?),
            ASKED => Self::Asked(message(&value)?),
            ANSWERED => Self::Answered(message(&value)?),
            FAILED => Self::Failed(message(&value)?),
            _ => Self::Deleted(message(&value)?),
        })
    }
}

impl Aggregate for Conversation {
    type Event = Happened;

    const TYPE: &'static str = "conversation";
    const SCHEMA: i32 = 1;

    fn apply(&mut self, event: &Happened) {
        match event {
            Happened::Opened(_) => self.there = true,
            Happened::Asked(_) => self.asked = self.asked.saturating_add(1),
            Happened::Answered(_) => self.answered = self.answered.saturating_add(1),
            Happened::Failed(_) => self.failed = self.failed.saturating_add(1),
            Happened::Deleted(_) => self.there = false,
        }
    }
}

/// Writes what happened to a conversation whose row is locked, or new, into its history, and adds it to what is told.
///
/// # Errors
/// When the database fails.
pub async fn note(
    app: &App,
    connection: &mut PgConnection,
    id: Uuid,
    happened: Happened,
    facts: &mut Facts,
    now: Timestamp,
) -> Result<(), Error> {
    let key = id.to_string();
    match &happened {
        Happened::Opened(fact) => facts.add(&*app.ids, key, fact)?,
        Happened::Asked(fact) => facts.add(&*app.ids, key, fact)?,
        Happened::Answered(fact) => facts.add(&*app.ids, key, fact)?,
        Happened::Failed(fact) => facts.add(&*app.ids, key, fact)?,
        Happened::Deleted(fact) => facts.add(&*app.ids, key, fact)?,
    };
    let mut loaded = app.history.load::<Conversation>(connection, id).await?;
    app.history.append(connection, &mut loaded, &[happened], &*app.ids, now).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_read_as_it_was_written() {
        let id = || Uuid::from_u128(7).to_string();
        let all = [
            Happened::Opened(ChatConversationOpened { conversation_id: id(), ..Default::default() }),
            Happened::Asked(ChatMessageAsked { message_id: id(), attempt: 2, ..Default::default() }),
            Happened::Answered(ChatMessageAnswered { message_id: id(), answer_tokens: 9, ..Default::default() }),
            Happened::Failed(ChatMessageFailed { reason: "MODEL_TIMEOUT".to_owned(), ..Default::default() }),
            Happened::Deleted(ChatConversationDeleted { user_id: id(), ..Default::default() }),
        ];
        let mut conversation = Conversation::default();
        for (happened, known) in all.iter().zip(Happened::TYPES) {
            assert_eq!(happened.event_type(), known.name);
            assert_eq!(Happened::decode(known.name, happened.encode().unwrap()).unwrap(), *happened);
            conversation.apply(happened);
        }
        assert_eq!(conversation, Conversation { there: false, asked: 1, answered: 1, failed: 1 });
    }
}
