//! `auth.processed_events`: what was taken in once and has no second effect.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;

use crate::Error;

/// Notes that a one-use thing was used, until then. False: it was used before.
///
/// # Errors
/// When the database fails.
pub async fn first(db: impl PgExecutor<'_>, key: &str, now: Timestamp, until: Timestamp) -> Result<bool, Error> {
    let noted = sqlx::query!(
        r#"insert into auth.processed_events (idempotency_key, domain, processed_at, expires_at)
           values ($1, 'auth', $2, $3) on conflict (idempotency_key) do nothing"#,
        key,
        now.to_sqlx() as _,
        until.to_sqlx() as _,
    );
    Ok(noted.execute(db).await?.rows_affected() == 1)
}

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
