//! A failed answer is asked for again, in its place.

use coreloop_chat_api::v1::ChatReason;
use coreloop_core::UserId;
use uuid::Uuid;

use crate::{
    App, Error,
    asking::{admit, ask, reserve},
    store::{
        answers, conversations,
        messages::{self, Message, Role, State},
        users,
    },
    times::micros,
};

/// Asks again; the answer as it is then. One that is being given stays as it is.
///
/// # Errors
/// The refusals of the contract.
pub async fn retry(app: &App, user: UserId, conversation: Uuid, id: Uuid) -> Result<Message, Error> {
    let found = conversations::of_user(&app.db, user.0, conversation).await?;
    found.ok_or(ChatReason::ConversationNotFound)?;
    admit(app).await?;
    let failed = |message: &Message| message.conversation_id == conversation && message.state == State::Failed;
    if messages::by_id(&app.db, id).await?.is_some_and(|message| failed(&message)) {
        // Or whoever listens would hear them first. Who asks for it again at the same time loses a few pieces at most.
        app.pieces.forget(&[id]).await;
    }
    again(app, user.0, conversation, id).await?;
    Ok(messages::by_id(&app.db, id).await?.ok_or(ChatReason::ConversationNotFound)?)
}

async fn again(app: &App, user: Uuid, conversation: Uuid, id: Uuid) -> Result<(), Error> {
    let now = micros(app.clock.now());
    let mut tx = coreloop_db::begin(&app.db).await?;
    if !users::hold(&mut tx, user).await? {
        return Err(ChatReason::UserWithdrawn.into());
    }
    let locked = conversations::lock(&mut tx, conversation).await?.filter(|locked| locked.user_id == user);
    let count = locked.ok_or(ChatReason::ConversationNotFound)?.messages;
    let found = messages::by_id(&mut *tx, id).await?;
    let answer = found.filter(|found| found.conversation_id == conversation && found.role == Role::Assistant);
    match answer.ok_or(ChatReason::MessageNotFound)?.state {
        State::Pending => return Ok(()),
        State::Done => return Err(ChatReason::MessageNotFailed.into()),
        State::Failed => {}
    }
    let asked = reserve(app, &mut tx, user, now).await?;
    answers::again(&mut tx, id, asked, now).await?;
    conversations::asked(&mut tx, conversation, count, now).await?;
    ask(app, tx, id, asked.command_id, now).await
}
