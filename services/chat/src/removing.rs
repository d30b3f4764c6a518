//! A conversation is deleted, with all that was said in it.

use coreloop_chat_api::v1::ChatReason;
use coreloop_core::UserId;
use coreloop_eventing::Facts;
use coreloop_facts::v1::ChatConversationDeleted;
use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    history::{Happened, note},
    store::{answers, conversations},
    times::{micros, proto_time},
};

/// The last piece of an answer comes so long after it was asked for, at most, in seconds.
const LATE_SECS: i64 = 900;
/// Answers whose pieces are forgotten at once.
const MOST: i64 = 50;

/// Deletes a conversation of `user`. What an open answer was reckoned to take stays taken: who deletes while the model speaks has had it.
///
/// # Errors
/// `CONVERSATION_NOT_FOUND`.
pub async fn delete(app: &App, user: UserId, id: Uuid) -> Result<(), Error> {
    let now = micros(app.clock.now());
    let mut tx = coreloop_db::begin(&app.db).await?;
    let locked = conversations::lock(&mut tx, id).await?.filter(|locked| locked.user_id == user.0);
    locked.ok_or(ChatReason::ConversationNotFound)?;
    let mut facts = Facts::new();
    let heard = remove(app, &mut tx, (user.0, id), &mut facts, now).await?;
    app.outbox.write(&mut tx, &facts, now).await?;
    tx.commit().await?;
    app.pieces.forget(&heard).await;
    Ok(())
}

/// Removes a conversation that is locked, and adds that to what is told; the answers of which there may be pieces.
///
/// # Errors
/// When the database fails.
pub async fn remove(
    app: &App,
    connection: &mut PgConnection,
    (user, id): (Uuid, Uuid),
    facts: &mut Facts,
    now: Timestamp,
) -> Result<Vec<Uuid>, Error> {
    let kept = SignedDuration::from_secs(i64::from(app.options.pieces_secs) + LATE_SECS);
    let since = now.saturating_sub(kept).unwrap_or(now);
    let heard = answers::newest(&mut *connection, id, since, MOST).await?;
    conversations::remove(connection, id).await?;
    let fact = ChatConversationDeleted {
        conversation_id: id.to_string(),
        user_id: user.to_string(),
        occurred_at: Some(proto_time(now)),
    };
    note(app, connection, id, Happened::Deleted(fact), facts, now).await?;
    Ok(heard)
}
