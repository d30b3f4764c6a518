//! `CreateConversation`, `ListConversations`, `DeleteConversation`: of the caller, and of nobody else.

use coreloop_access::Caller;
use coreloop_chat_api::v1;
use coreloop_core::page;
use jiff::Timestamp;
use tonic::{Request, Response};
use uuid::Uuid;

use super::id;
use crate::{
    App, Error, opening, removing,
    store::conversations::{Conversation, all_of_user},
    times::proto_time,
};

/// Name of the list in its page tokens.
const CONVERSATIONS: &str = "chat.conversations";

/// As its owner sees it.
#[must_use]
pub fn proto_conversation(conversation: Conversation) -> v1::Conversation {
    v1::Conversation {
        conversation_id: conversation.id.to_string(),
        title: conversation.title,
        messages: conversation.messages,
        created_at: Some(proto_time(conversation.created_at.to_jiff())),
        updated_at: Some(proto_time(conversation.updated_at.to_jiff())),
    }
}

/// `CreateConversation`.
///
/// # Errors
/// As the contract lists.
pub async fn create_conversation(
    app: &App,
    request: Request<v1::CreateConversationRequest>,
) -> Result<Response<v1::CreateConversationResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let conversation = opening::open(app, user, request.get_ref()).await?;
    let conversation = Some(proto_conversation(conversation));
    Ok(Response::new(v1::CreateConversationResponse { conversation }))
}

/// `ListConversations`.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub async fn list_conversations(
    app: &App,
    request: Request<v1::ListConversationsRequest>,
) -> Result<Response<v1::ListConversationsResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.get_ref();
    let size = page::size(asked.page_size);
    let cursor: Option<(i64, Uuid)> = page::decode(CONVERSATIONS, &asked.page_token)?;
    let before = cursor.and_then(|(at, id)| Some((Timestamp::from_microsecond(at).ok()?, id)));
    let mut rows = all_of_user(&app.db, user.0, before, size + 1).await?;
    let most = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| page::encode(CONVERSATIONS, &(row.updated_at.to_jiff().as_microsecond(), row.id)));
    Ok(Response::new(v1::ListConversationsResponse {
        conversations: rows.into_iter().map(proto_conversation).collect(),
        next_page_token: next.unwrap_or_default(),
    }))
}

/// `DeleteConversation`: one of somebody else is none.
///
/// # Errors
/// `CONVERSATION_NOT_FOUND`.
pub async fn delete_conversation(
    app: &App,
    request: Request<v1::DeleteConversationRequest>,
) -> Result<Response<v1::DeleteConversationResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    removing::delete(app, user, id("conversation_id", &request.get_ref().conversation_id)?).await?;
    Ok(Response::new(v1::DeleteConversationResponse {}))
}
