//! `chat.conversations`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// A conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// Id.
    pub id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// As its owner called it.
    pub title: String,
    /// Messages ever.
    pub messages: i64,
    /// When it was begun.
    pub created_at: jiff_sqlx::Timestamp,
    /// When something was asked last.
    pub updated_at: jiff_sqlx::Timestamp,
}

/// Writes one; `false` when the key of the user is known.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    connection: &mut PgConnection,
    (user, key): (Uuid, Option<&str>),
    id: Uuid,
    title: &str,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let written = sqlx::query!(
        "insert into chat.conversations (id, user_id, title, key, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $5) on conflict (user_id, key) do nothing",
        id,
        user,
        title,
        key,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// The conversation that a user has begun by a key.
///
/// # Errors
/// When the database fails.
pub async fn by_key(db: impl PgExecutor<'_>, user: Uuid, key: &str) -> Result<Option<Conversation>, sqlx::Error> {
    sqlx::query_as!(
        Conversation,
        r#"select id, user_id, title, messages, created_at as "created_at: jiff_sqlx::Timestamp",
                  updated_at as "updated_at: jiff_sqlx::Timestamp"
             from chat.conversations where user_id = $1 and key = $2"#,
        user,
        key,
    )
    .fetch_optional(db)
    .await
}

/// How many a user has, counted up to `most`.
///
/// # Errors
/// When the database fails.
pub async fn count(db: impl PgExecutor<'_>, user: Uuid, most: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from (select 1 from chat.conversations where user_id = $1 limit $2) as few"#,
        user,
        most,
    )
    .fetch_one(db)
    .await
}

/// A conversation of a user; somebody else's is none.
///
/// # Errors
/// When the database fails.
pub async fn of_user(db: impl PgExecutor<'_>, user: Uuid, id: Uuid) -> Result<Option<Conversation>, sqlx::Error> {
    sqlx::query_as!(
        Conversation,
        r#"select id, user_id, title, messages, created_at as "created_at: jiff_sqlx::Timestamp",
                  updated_at as "updated_at: jiff_sqlx::Timestamp"
             from chat.conversations where id = $1 and user_id = $2"#,
        id,
        user,
    )
    .fetch_optional(db)
    .await
}

/// Conversations of a user, the one in which something was asked last first, before the one that `before` names.
///
/// # Errors
/// When the database fails.
pub async fn all_of_user(
    db: impl PgExecutor<'_>,
    user: Uuid,
    before: Option<(Timestamp, Uuid)>,
    most: i64,
) -> Result<Vec<Conversation>, sqlx::Error> {
    let (at, id) = before.unzip();
    sqlx::query_as!(
        Conversation,
        r#"select id, user_id, title, messages, created_at as "created_at: jiff_sqlx::Timestamp",
                  updated_at as "updated_at: jiff_sqlx::Timestamp"
             from chat.conversations
            where user_id = $1 and ($2::timestamptz is null or (updated_at, id) < ($2, $3))
            order by updated_at desc, id desc limit $4"#,
        user,
        at.map(|at| at.to_sqlx()) as _,
        id,
        most,
    )
    .fetch_all(db)
    .await
}

/// Locks a conversation to the end of the transaction; none when there is none. Read after the lock: what whoever held it before has
/// written is seen.
///
/// # Errors
/// When the database fails.
pub async fn lock(connection: &mut PgConnection, id: Uuid) -> Result<Option<Conversation>, sqlx::Error> {
    sqlx::query_as!(
        Conversation,
        r#"select id, user_id, title, messages, created_at as "created_at: jiff_sqlx::Timestamp",
                  updated_at as "updated_at: jiff_sqlx::Timestamp"
             from chat.conversations where id = $1 for update"#,
        id,
    )
    .fetch_optional(connection)
    .await
}

/// Notes in a conversation that is locked how many messages it has, and that something was asked now.
///
/// # Errors
/// When the database fails.
pub async fn asked(connection: &mut PgConnection, id: Uuid, messages: i64, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update chat.conversations set messages = $2, updated_at = greatest(updated_at, $3) where id = $1",
        id,
        messages,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes a conversation that is locked, with its messages.
///
/// # Errors
/// When the database fails.
pub async fn remove(connection: &mut PgConnection, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from chat.conversations where id = $1", id).execute(connection).await?;
    Ok(())
}

/// Locks some conversations of a user, in the order of their ids; which.
///
/// # Errors
/// When the database fails.
pub async fn lock_some(connection: &mut PgConnection, user: Uuid, most: i64) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from chat.conversations where user_id = $1 order by id limit $2 for update",
        user,
        most,
    )
    .fetch_all(connection)
    .await
}
