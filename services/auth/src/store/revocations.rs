//! `auth.revocations`.

use coreloop_core::UserId;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::Error;

/// What is refused before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// A session (`sid`) or a token (`jti`).
    pub id: Uuid,
    /// The id is a session's.
    pub session: bool,
    /// When nothing it names can be alive any more.
    pub expires_at: Timestamp,
}

/// Records revocations; one that is recorded already keeps the later end.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    conn: &mut PgConnection,
    user: UserId,
    reason: &str,
    rows: &[Revocation],
    now: Timestamp,
) -> Result<(), Error> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let kinds: Vec<String> = rows.iter().map(|row| if row.session { "session" } else { "token" }.to_owned()).collect();
    let ends: Vec<jiff_sqlx::Timestamp> = rows.iter().map(|row| row.expires_at.to_sqlx()).collect();
    sqlx::query!(
        r#"insert into auth.revocations (id, kind, user_id, reason, revoked_at, expires_at)
           select id, kind, $4, $5, $6, ends from unnest($1::uuid[], $2::text[], $3::timestamptz[]) as t(id, kind, ends)
           on conflict (id) do update
              set expires_at = greatest(revocations.expires_at, excluded.expires_at), published_at = null"#,
        &ids,
        &kinds,
        ends as _,
        user.0,
        reason,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that the fast form has them.
///
/// # Errors
/// When the database fails.
pub async fn published(db: impl PgExecutor<'_>, ids: &[Uuid], now: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        "update auth.revocations set published_at = $2 where id = any($1) and published_at is null",
        ids,
        now.to_sqlx() as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Live revocations that the fast form may lack, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn unpublished(db: impl PgExecutor<'_>, limit: i64, now: Timestamp) -> Result<Vec<Revocation>, Error> {
    Ok(sqlx::query_as!(
        Revocation,
        r#"select id, kind = 'session' as "session!", expires_at as "expires_at: jiff_sqlx::Timestamp"
             from auth.revocations where published_at is null and expires_at > $1 order by revoked_at limit $2"#,
        now.to_sqlx() as _,
        limit,
    )
    .fetch_all(db)
    .await?)
}

/// Live revocations in order of id, from above `after`.
///
/// # Errors
/// When the database fails.
pub async fn live(
    db: impl PgExecutor<'_>,
    after: Option<Uuid>,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<Revocation>, Error> {
    Ok(sqlx::query_as!(
        Revocation,
        r#"select id, kind = 'session' as "session!", expires_at as "expires_at: jiff_sqlx::Timestamp"
             from auth.revocations where expires_at > $1 and ($2::uuid is null or id > $2) order by id limit $3"#,
        now.to_sqlx() as _,
        after,
        limit,
    )
    .fetch_all(db)
    .await?)
}

/// Drops revocations that name nothing alive, at most 1,000; answers how many.
///
/// # Errors
/// When the database fails.
pub async fn sweep(db: impl PgExecutor<'_>, now: Timestamp) -> Result<u64, Error> {
    Ok(sqlx::query!(
        r#"delete from auth.revocations where id in
             (select id from auth.revocations where expires_at < $1 order by expires_at limit 1000)"#,
        now.to_sqlx() as _,
    )
    .execute(db)
    .await?
    .rows_affected())
}
