//! When one replica last did something for all, and what it found.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;
use uuid::Uuid;

/// Whether it was not done since a time.
///
/// # Errors
/// When the database fails.
pub async fn is_due(db: impl PgExecutor<'_>, name: &str, since: Timestamp) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select not exists (select from shop.sweeps where name = $1 and done_at > $2) as "due!""#,
        name,
        since.to_sqlx() as _
    )
    .fetch_one(db)
    .await
}

/// It was done.
///
/// # Errors
/// When the database fails.
pub async fn done(db: impl PgExecutor<'_>, name: &str, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into shop.sweeps (name, done_at) values ($1, $2)
         on conflict on constraint sweeps_pkey do update set done_at = excluded.done_at",
        name,
        now.to_sqlx() as _
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that a receipt does not fit; false where that was known.
///
/// # Errors
/// When the database fails.
pub async fn mismatch(db: impl PgExecutor<'_>, purchase: Uuid, now: Timestamp) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query!(
        "insert into shop.receipt_mismatches (purchase_id, found_at) values ($1, $2)
         on conflict on constraint receipt_mismatches_pkey do nothing",
        purchase,
        now.to_sqlx() as _
    )
    .execute(db)
    .await?;
    Ok(noted.rows_affected() == 1)
}
