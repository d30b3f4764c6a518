//! `character.ownership`: who has what.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::{collection::Piece, times::from_micros};

/// Writes what a user has now.
///
/// # Errors
/// `ownership_pkey` when they have it; when the database fails.
pub async fn insert(connection: &mut PgConnection, user: Uuid, code: &str, piece: &Piece) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into character.ownership (user_id, code, level, source, acquired_at, expires_at)
         values ($1, $2, $3, $4, $5, $6)",
        user,
        code,
        piece.level,
        piece.source,
        from_micros(piece.acquired_at).to_sqlx() as _,
        piece.expires_at.map(|at| from_micros(at).to_sqlx()) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the level of what a user has.
///
/// # Errors
/// When the database fails.
pub async fn raise(connection: &mut PgConnection, user: Uuid, code: &str, level: i32) -> Result<(), sqlx::Error> {
    sqlx::query!("update character.ownership set level = $3 where user_id = $1 and code = $2", user, code, level)
        .execute(connection)
        .await?;
    Ok(())
}

/// Removes what a user has no more.
///
/// # Errors
/// When the database fails.
pub async fn delete(connection: &mut PgConnection, user: Uuid, code: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from character.ownership where user_id = $1 and code = $2", user, code)
        .execute(connection)
        .await?;
    Ok(())
}

/// Some whose time is over, the oldest first.
///
/// # Errors
/// When the database fails.
pub async fn over(db: impl PgExecutor<'_>, now: Timestamp, most: i64) -> Result<Vec<(Uuid, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select user_id, code from character.ownership where expires_at <= $1 order by expires_at limit $2",
        now.to_sqlx() as _,
        most,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.user_id, row.code)).collect())
}
