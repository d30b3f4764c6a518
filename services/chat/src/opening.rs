//! Somebody begins a conversation.

use coreloop_chat_api::v1::{ChatReason, CreateConversationRequest};
use coreloop_core::UserId;
use coreloop_eventing::Facts;
use coreloop_facts::v1::ChatConversationOpened;
use uuid::Uuid;

use crate::{
    App, Error,
    history::{Happened, note},
    store::{
        conversations::{self, Conversation},
        users,
    },
    times::{micros, proto_time},
};

/// Begins a conversation; answers it, which may be there already.
///
/// # Errors
/// The refusals of the contract.
pub async fn open(app: &App, user: UserId, asked: &CreateConversationRequest) -> Result<Conversation, Error> {
    let key = Some(asked.idempotency_key.as_str()).filter(|key| !key.is_empty());
    let id = match begun(app, user.0, asked, key).await? {
        Begun::New(id) => id,
        Begun::Before(conversation) if conversation.title == asked.title => return Ok(conversation),
        Begun::Before(_) => return Err(Error::KeyReused),
    };
    let found = conversations::of_user(&app.db, user.0, id).await?;
    Ok(found.ok_or(ChatReason::ConversationNotFound)?)
}

enum Begun {
    New(Uuid),
    Before(Conversation),
}

async fn begun(app: &App, user: Uuid, asked: &CreateConversationRequest, key: Option<&str>) -> Result<Begun, Error> {
    let (now, id) = (micros(app.clock.now()), app.ids.uuid());
    let most = i64::from(app.options.max_conversations);
    let mut tx = coreloop_db::begin(&app.db).await?;
    // Whoever else begins one for this user waits here: what is counted is what there is.
    if !users::hold(&mut tx, user).await? {
        return Err(ChatReason::UserWithdrawn.into());
    }
    if let Some(key) = key
        && let Some(conversation) = conversations::by_key(&mut *tx, user, key).await?
    {
        return Ok(Begun::Before(conversation));
    }
    if conversations::count(&mut *tx, user, most).await? >= most {
        return Err(ChatReason::TooManyConversations.into());
    }
    if !conversations::insert(&mut tx, (user, key), id, &asked.title, now).await? {
        return Err(Error::Corrupt("a key that is there and is not"));
    }
    let fact = ChatConversationOpened {
        conversation_id: id.to_string(),
        user_id: user.to_string(),
        occurred_at: Some(proto_time(now)),
    };
    let mut facts = Facts::new();
    note(app, &mut tx, id, Happened::Opened(fact), &mut facts, now).await?;
    app.outbox.write(&mut tx, &facts, now).await?;
    tx.commit().await?;
    Ok(Begun::New(id))
}
