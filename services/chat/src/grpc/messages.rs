//! `SendMessage`, `ListMessages`, `RetryMessage`: in the caller's own conversations.

use coreloop_access::Caller;
use coreloop_chat_api::v1::{self, ChatReason};
use coreloop_core::page;
use tonic::{Request, Response};
use uuid::Uuid;

use super::id;
use crate::{
    App, Error, asking, retrying,
    store::{conversations, messages, messages::Message},
    times::proto_time,
};

/// Name of the list in its page tokens.
const MESSAGES: &str = "chat.messages";

/// As the owner of the conversation sees it.
#[must_use]
pub fn proto_message(message: Message) -> v1::Message {
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    v1::Message {
        message_id: message.id.to_string(),
        conversation_id: message.conversation_id.to_string(),
        sequence: message.seq,
        role: message.role as i32,
        text: message.text,
        image_id: id(message.image_id),
        image_gone: message.image_gone,
        state: message.state as i32,
        failure: message.failure,
        question_id: id(message.question_id),
        truncated: message.truncated,
        attempt: message.attempt,
        created_at: Some(proto_time(message.created_at.to_jiff())),
        done_at: message.done_at.map(|at| proto_time(at.to_jiff())),
    }
}

/// `SendMessage`.
///
/// # Errors
/// As the contract lists.
pub async fn send_message(
    app: &App,
    request: Request<v1::SendMessageRequest>,
) -> Result<Response<v1::SendMessageResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let (message, answer) = asking::send(app, user, request.into_inner()).await?;
    let (message, answer) = (Some(proto_message(message)), Some(proto_message(answer)));
    Ok(Response::new(v1::SendMessageResponse { message, answer }))
}

/// `ListMessages`.
///
/// # Errors
/// `CONVERSATION_NOT_FOUND`, `PAGE_TOKEN_INVALID`.
pub async fn list_messages(
    app: &App,
    request: Request<v1::ListMessagesRequest>,
) -> Result<Response<v1::ListMessagesResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.get_ref();
    let conversation = id("conversation_id", &asked.conversation_id)?;
    let size = page::size(asked.page_size);
    // A token of one conversation is none of another.
    let cursor: Option<(Uuid, i64)> = page::decode(MESSAGES, &asked.page_token)?;
    let before = cursor.filter(|(of, _)| *of == conversation).map(|(_, seq)| seq);
    let found = conversations::of_user(&app.db, user.0, conversation).await?;
    found.ok_or(ChatReason::ConversationNotFound)?;
    let mut rows = messages::before(&app.db, conversation, before, size + 1).await?;
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| page::encode(MESSAGES, &(conversation, row.seq)));
    Ok(Response::new(v1::ListMessagesResponse {
        messages: rows.into_iter().map(proto_message).collect(),
        next_page_token: next.unwrap_or_default(),
    }))
}

/// `RetryMessage`.
///
/// # Errors
/// As the contract lists.
pub async fn retry_message(
    app: &App,
    request: Request<v1::RetryMessageRequest>,
) -> Result<Response<v1::RetryMessageResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.get_ref();
    let (conversation, message) =
        (id("conversation_id", &asked.conversation_id)?, id("message_id", &asked.message_id)?);
    let answer = retrying::retry(app, user, conversation, message).await?;
    Ok(Response::new(v1::RetryMessageResponse { answer: Some(proto_message(answer)) }))
}
