//! `image.images` whose smaller copies are to be made: which are sent as commands, and what came of it.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::images::Thumbnails;

/// An image whose command is sent now.
#[derive(Debug, Clone)]
pub struct Due {
    /// Which.
    pub id: Uuid,
    /// Where storage has it.
    pub object_key: String,
}

/// How many commands are on their way, counted up to `most`.
///
/// # Errors
/// When the database fails.
pub async fn on_their_way(db: impl PgExecutor<'_>, most: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from (
               select 1 from image.images where state = 1 and thumbnails = 1 and thumbnails_sent_at is not null
                limit $1) as few"#,
        most,
    )
    .fetch_one(db)
    .await
}

/// Takes the oldest that wait, to be sent. What somebody holds is left out: nobody waits.
///
/// # Errors
/// When the database fails.
pub async fn take(connection: &mut PgConnection, now: Timestamp, most: i64) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as!(
        Due,
        "update image.images set thumbnails_sent_at = $1 where id in (
             select id from image.images where state = 1 and thumbnails = 1 and thumbnails_sent_at is null
              order by created_at limit $2 for update skip locked)
         returning id, object_key",
        now.to_sqlx() as _,
        most,
    )
    .fetch_all(connection)
    .await
}

/// Takes those that were sent at `lost` or before and of which nothing was heard, to be sent again.
///
/// # Errors
/// When the database fails.
pub async fn take_lost(
    connection: &mut PgConnection,
    now: Timestamp,
    lost: Timestamp,
    most: i64,
) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as!(
        Due,
        "update image.images set thumbnails_sent_at = $1 where id in (
             select id from image.images where state = 1 and thumbnails = 1 and thumbnails_sent_at <= $2
              order by thumbnails_sent_at limit $3 for update skip locked)
         returning id, object_key",
        now.to_sqlx() as _,
        lost.to_sqlx() as _,
        most,
    )
    .fetch_all(connection)
    .await
}

/// Writes what came of it, once: what cannot be made may be made after all, what is there stays. `false` when nothing changed.
///
/// # Errors
/// When the database fails.
pub async fn end(connection: &mut PgConnection, id: Uuid, thumbnails: Thumbnails) -> Result<bool, sqlx::Error> {
    let ended = sqlx::query!(
        "update image.images set thumbnails = $2
          where id = $1 and state = 1 and thumbnails in (1, 4) and thumbnails <> $2",
        id,
        thumbnails as i16,
    )
    .execute(connection)
    .await?;
    Ok(ended.rows_affected() == 1)
}
