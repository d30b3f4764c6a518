//! `character.collections`: what each has come to, and the row that everybody locks who changes one.

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::{Error, condition::Counters};

/// A collection that is locked.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// The longest row of days with an eligible scan.
    pub longest_streak: i32,
    /// The account was closed.
    pub closed: bool,
}

/// Locks the row of a user, which is made where there is none, until the end of the transaction.
///
/// # Errors
/// When the database fails.
pub async fn lock(connection: &mut PgConnection, user: Uuid) -> Result<Standing, sqlx::Error> {
    sqlx::query_as!(
        Standing,
        "insert into character.collections as mine (user_id) values ($1)
         on conflict on constraint collections_pkey do update set user_id = excluded.user_id
         returning longest_streak, closed",
        user,
    )
    .fetch_one(connection)
    .await
}

/// Notes what a locked collection has come to.
///
/// # Errors
/// When the database fails.
pub async fn advance(connection: &mut PgConnection, user: Uuid, owned: i32, version: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("update character.collections set owned = $2, version = $3 where user_id = $1", user, owned, version,)
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes the longest row of days of a locked collection.
///
/// # Errors
/// When the database fails.
pub async fn streak(connection: &mut PgConnection, user: Uuid, longest: i32) -> Result<(), sqlx::Error> {
    sqlx::query!("update character.collections set longest_streak = $2 where user_id = $1", user, longest)
        .execute(connection)
        .await?;
    Ok(())
}

/// Closes a locked collection, and forgets all that was known of its user.
///
/// # Errors
/// When the database fails.
pub async fn close(connection: &mut PgConnection, user: Uuid, version: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with ownership as (delete from character.ownership where user_id = $1),
              counters as (delete from character.counters where user_id = $1),
              days as (delete from character.days where user_id = $1),
              grants as (delete from character.grants where user_id = $1),
              keys as (delete from character.idempotency_keys where user_id = $1)
         update character.collections set owned = 0, longest_streak = 0, closed = true, version = $2 where user_id = $1",
        user,
        version,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How new the history of a user is, and what was counted; none where nothing ever happened.
///
/// # Errors
/// When the database fails.
pub async fn now(db: impl PgExecutor<'_>, user: Uuid) -> Result<Option<(i64, Counters)>, Error> {
    let row = sqlx::query!(
        r#"select version, longest_streak,
                  coalesce((select jsonb_object_agg(c.category, c.value) from character.counters c
                             where c.user_id = s.user_id), '{}') as "counters!"
             from character.collections s where s.user_id = $1"#,
        user,
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let by_category: BTreeMap<String, i64> =
        serde_json::from_value(row.counters).map_err(|_| Error::Corrupt("counters that are no numbers"))?;
    Ok(Some((row.version, Counters { by_category, longest_streak: row.longest_streak })))
}
