//! `character.grants`: events of others that were decided on.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::granting::Ask;

/// What was decided on an event.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Whose it was.
    pub user_id: Uuid,
    /// SHA-256 of what was asked.
    pub body_hash: Vec<u8>,
    /// What was given; empty: nothing.
    pub code: String,
    /// Why nothing was, in a word.
    pub refusal: String,
}

/// Takes an event to be decided on; `false` when somebody has decided on it.
///
/// # Errors
/// When the database fails.
pub async fn claim(connection: &mut PgConnection, ask: &Ask, now: Timestamp) -> Result<bool, sqlx::Error> {
    let body_hash = ask.body_hash();
    let claimed = sqlx::query!(
        "insert into character.grants (source, event_id, user_id, body_hash, created_at) values ($1, $2, $3, $4, $5)
         on conflict on constraint grants_pkey do nothing",
        ask.source,
        ask.event_id,
        ask.user,
        &body_hash[..],
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(claimed.rows_affected() == 1)
}

/// Writes what was decided on an event that was taken.
///
/// # Errors
/// When the database fails.
pub async fn settle(connection: &mut PgConnection, ask: &Ask, code: &str, refusal: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update character.grants set code = $3, refusal = $4 where source = $1 and event_id = $2",
        ask.source,
        ask.event_id,
        code,
        refusal,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What was decided on an event.
///
/// # Errors
/// When the database fails.
pub async fn find(connection: &mut PgConnection, ask: &Ask) -> Result<Option<Decided>, sqlx::Error> {
    sqlx::query_as!(
        Decided,
        "select user_id, body_hash, code, refusal from character.grants where source = $1 and event_id = $2",
        ask.source,
        ask.event_id,
    )
    .fetch_optional(connection)
    .await
}
