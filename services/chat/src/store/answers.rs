//! `chat.messages`: answers, from when they are asked for to their end.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::said::Took;

/// An answer that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// By which command.
    pub command_id: Uuid,
    /// What it counts as until it is known what it took.
    pub reserved: i64,
    /// On which day.
    pub day: Date,
}

/// Writes an answer that is to be given, behind its question.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    connection: &mut PgConnection,
    (id, question): (Uuid, Uuid),
    asked: Asked,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into chat.messages (id, conversation_id, user_id, seq, role, state, created_at, question_id, attempt,
                                    command_id, sent_at, reserved, reserved_on)
         select $1, conversation_id, user_id, seq + 1, 2, 1, $3, id, 1, $4, $3, $5, $6 from chat.messages where id = $2",
        id,
        question,
        now.to_sqlx() as _,
        asked.command_id,
        asked.reserved,
        asked.day.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Has a failed answer of a conversation that is locked asked for again.
///
/// # Errors
/// When the database fails.
pub async fn again(connection: &mut PgConnection, id: Uuid, asked: Asked, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update chat.messages
            set state = 1, done_at = null, failure = '', attempt = attempt + 1, command_id = $2, sent_at = $3,
                reserved = $4, reserved_on = $5
          where id = $1 and state = 3",
        id,
        asked.command_id,
        now.to_sqlx() as _,
        asked.reserved,
        asked.day.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many answers are open, counted up to `most`: of all, or of a user.
///
/// # Errors
/// When the database fails.
pub async fn open(db: impl PgExecutor<'_>, user: Option<Uuid>, most: i64) -> Result<i64, sqlx::Error> {
    let counted = match user {
        None => {
            sqlx::query_scalar!(
                r#"select count(*) as "count!" from (select 1 from chat.messages where state = 1 limit $1) as few"#,
                most,
            )
            .fetch_one(db)
            .await?
        }
        Some(user) => {
            sqlx::query_scalar!(
                r#"select count(*) as "count!" from (
                       select 1 from chat.messages where state = 1 and user_id = $1 limit $2) as few"#,
                user,
                most,
            )
            .fetch_one(db)
            .await?
        }
    };
    Ok(counted)
}

/// Which answer is followed where nobody says which: the first that is being given, or else the newest.
///
/// # Errors
/// When the database fails.
pub async fn followed(db: impl PgExecutor<'_>, conversation: Uuid) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from chat.messages where conversation_id = $1 and role = 2
          order by (state = 1) desc, case when state = 1 then seq else -seq end limit 1",
        conversation,
    )
    .fetch_optional(db)
    .await
}

/// The answer to a question.
///
/// # Errors
/// When the database fails.
pub async fn to(db: impl PgExecutor<'_>, question: Uuid) -> Result<Option<Uuid>, sqlx::Error> {
    // They are neighbours: the index of the conversation finds it.
    sqlx::query_scalar!(
        "select a.id from chat.messages q
           join chat.messages a on a.conversation_id = q.conversation_id and a.seq = q.seq + 1
          where q.id = $1",
        question,
    )
    .fetch_optional(db)
    .await
}

/// What an answer came to.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// What was said.
    pub text: &'a str,
    /// It ends before its end.
    pub truncated: bool,
    /// What that took.
    pub took: Took,
}

/// Writes what an answer of a conversation that is locked is. What it took is added to what it had taken when it came to nothing.
///
/// # Errors
/// When the database fails.
pub async fn give(
    connection: &mut PgConnection,
    id: Uuid,
    given: Given<'_>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update chat.messages
            set state = 2, text = $2, truncated = $3, prompt_tokens = prompt_tokens + $4, answer_tokens = answer_tokens + $5,
                failure = '', done_at = $6, reserved = 0
          where id = $1",
        id,
        given.text,
        given.truncated,
        given.took.prompt,
        given.took.answer,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes why an answer of a conversation that is locked came to nothing, and what it took all the same.
///
/// # Errors
/// When the database fails.
pub async fn fail(
    connection: &mut PgConnection,
    id: Uuid,
    (failure, took): (&str, Took),
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update chat.messages
            set state = 3, failure = $2, done_at = $3, reserved = 0, prompt_tokens = prompt_tokens + $4,
                answer_tokens = answer_tokens + $5
          where id = $1",
        id,
        failure,
        now.to_sqlx() as _,
        took.prompt,
        took.answer,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// An answer of which nothing was heard.
#[derive(Debug, Clone, Copy)]
pub struct Lost {
    /// Which.
    pub id: Uuid,
    /// By which command it was asked for.
    pub command_id: Uuid,
}

/// Answers that were asked for at `since` or before and are open.
///
/// # Errors
/// When the database fails.
pub async fn lost(db: impl PgExecutor<'_>, since: Timestamp, most: i64) -> Result<Vec<Lost>, sqlx::Error> {
    sqlx::query_as!(
        Lost,
        r#"select id, command_id as "command_id!" from chat.messages where state = 1 and sent_at <= $1
            order by sent_at limit $2"#,
        since.to_sqlx() as _,
        most,
    )
    .fetch_all(db)
    .await
}

/// The newest answers of a conversation that were asked for at `since` or later.
///
/// # Errors
/// When the database fails.
pub async fn newest(
    db: impl PgExecutor<'_>,
    conversation: Uuid,
    since: Timestamp,
    most: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from chat.messages where conversation_id = $1 and role = 2 and sent_at >= $2
          order by seq desc limit $3",
        conversation,
        since.to_sqlx() as _,
        most,
    )
    .fetch_all(db)
    .await
}
