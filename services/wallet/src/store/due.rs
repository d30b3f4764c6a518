//! What is over and not yet taken away.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::order::Key;

/// Holds whose time is over.
///
/// # Errors
/// When the database fails.
pub async fn holds(db: impl PgExecutor<'_>, now: Timestamp, limit: i64) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from wallet.holds where state = 'held' and expires_at <= $1 order by expires_at limit $2",
        now.to_sqlx() as _,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Accounts with value whose time is over.
///
/// # Errors
/// When the database fails.
pub async fn accounts(db: impl PgExecutor<'_>, now: Timestamp, limit: i64) -> Result<Vec<Key>, sqlx::Error> {
    let rows = sqlx::query!(
        "select owner, currency from wallet.lots where expires_at <= $1 order by expires_at limit $2",
        now.to_sqlx() as _,
        limit,
    )
    .fetch_all(db)
    .await?;
    let mut keys: Vec<Key> = rows.into_iter().map(|row| (row.owner, row.currency)).collect();
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}
