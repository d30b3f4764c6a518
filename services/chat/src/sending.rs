//! The command `chat.pipeline`: one answer of one conversation.

use coreloop_eventing::{Facts, Queue};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{App, Error};

/// What is to be answered. Chapter 02 has a queue of each, chapter 06 one for both: here it is one, so that answers of a conversation
/// come in order whatever they answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A text.
    Text,
    /// An image, with a text or without.
    Image,
}

/// What the command says. What was said, and where the image is, is read when it is answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ask {
    /// What is to be answered.
    pub kind: Kind,
    /// Conversation.
    pub conversation_id: Uuid,
    /// The answer.
    pub message_id: Uuid,
}

/// Adds the command to what a transaction writes that has locked the conversation: commands of one are done one after another.
///
/// # Errors
/// When it cannot be written down.
pub fn command(app: &App, facts: &mut Facts, ask: &Ask, command_id: Uuid) -> Result<(), Error> {
    Ok(facts.command(&*app.ids, Queue::CHAT_PIPELINE, ask.conversation_id.to_string(), command_id, ask)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_which_kind_it_is() {
        let id = Uuid::from_u128(7);
        let said = serde_json::to_value(Ask { kind: Kind::Image, conversation_id: id, message_id: id }).unwrap();
        assert_eq!((&said["kind"], said.as_object().unwrap().len()), (&serde_json::json!("image"), 3));
    }
}
