//! `auth.processed_events`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;

use crate::Error;

/// Drops deliveries whose memory has ended, at most 1,000; answers how many.
///
/// # Errors
/// When the database fails.
pub async fn sweep(db: impl PgExecutor<'_>, now: Timestamp) -> Result<u64, Error> {
    Ok(sqlx::query!(
        r#"delete from auth.processed_events where idempotency_key in
             (select idempotency_key from auth.processed_events where expires_at < $1 order by expires_at limit 1000)"#,
        now.to_sqlx() as _,
    )
    .execute(db)
    .await?
    .rows_affected())
}
