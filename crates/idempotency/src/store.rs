//! The statements. The schema is the service's own, so they are put together once, from a checked name.

use std::sync::Arc;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::Scope;

#[derive(Debug, Clone)]
pub(crate) struct Statements {
    claim: Arc<str>,
    claim_again: Arc<str>,
    read: Arc<str>,
    finish: Arc<str>,
    sweep: Arc<str>,
}

impl Statements {
    /// For a schema whose name has been checked.
    pub(crate) fn of(schema: &str) -> Self {
        let table = format!("{schema}.idempotency_keys");
        Self {
            // The lock is tried before the insert, so that a second call does not wait in the index for the first. A key
            // that is answered is not locked: those who replay it must not keep each other out.
            claim: format!(
                "with lock as materialized (
                     select case when exists (
                         select from {table}
                         where user_id = $1 and rpc = $2 and key = $3 and answer is not null and expires_at > $5
                     ) then null else pg_try_advisory_xact_lock($7) end as got),
                 claimed as (
                     insert into {table} as mine (user_id, rpc, key, body_hash, claimed_at, expires_at)
                     select $1, $2, $3, $4, $5, $6 from lock where got
                     on conflict on constraint idempotency_keys_pkey do update
                     set body_hash = excluded.body_hash, answer = null,
                         claimed_at = excluded.claimed_at, expires_at = excluded.expires_at
                     where mine.expires_at <= excluded.claimed_at
                     returning 1)
                 select coalesce(got, true), exists (select from claimed) from lock"
            )
            .into(),
            claim_again: format!("update {table} set claimed_at = $4 where user_id = $1 and rpc = $2 and key = $3").into(),
            read: format!(
                "select body_hash, answer, claimed_at from {table} where user_id = $1 and rpc = $2 and key = $3"
            )
            .into(),
            finish: format!("update {table} set answer = $4 where user_id = $1 and rpc = $2 and key = $3").into(),
            sweep: format!(
                "delete from {table} where ctid = any (array(
                     select ctid from {table} where expires_at <= $1 order by expires_at limit $2 for update skip locked))"
            )
            .into(),
        }
    }
}

pub(crate) struct Tried {
    /// No other transaction holds the key now.
    pub(crate) locked: bool,
    /// The row is ours.
    pub(crate) claimed: bool,
}

pub(crate) struct Row {
    pub(crate) body_hash: Vec<u8>,
    pub(crate) answer: Option<Vec<u8>>,
    pub(crate) claimed_at: Timestamp,
}

pub(crate) async fn claim(
    connection: &mut PgConnection,
    sql: &Statements,
    scope: &Scope<'_>,
    hash: &[u8],
    now: Timestamp,
    expires: Timestamp,
) -> Result<Tried, sqlx::Error> {
    let row = sqlx::query(AssertSqlSafe(Arc::clone(&sql.claim)))
        .bind(scope.user)
        .bind(scope.rpc)
        .bind(scope.key)
        .bind(hash)
        .bind(now.to_sqlx())
        .bind(expires.to_sqlx())
        .bind(lock_key(scope))
        .fetch_one(connection)
        .await?;
    Ok(Tried { locked: row.try_get(0)?, claimed: row.try_get(1)? })
}

/// The first 64 bits of a hash of the scope. Two scopes that share them make each other wait, nothing worse.
fn lock_key(scope: &Scope<'_>) -> i64 {
    let hash = crate::hash(format!("{}\n{}\n{}", scope.user, scope.rpc, scope.key).as_bytes());
    hash.first_chunk::<8>().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

pub(crate) async fn claim_again(
    connection: &mut PgConnection,
    sql: &Statements,
    scope: &Scope<'_>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(Arc::clone(&sql.claim_again)))
        .bind(scope.user)
        .bind(scope.rpc)
        .bind(scope.key)
        .bind(now.to_sqlx())
        .execute(connection)
        .await?;
    Ok(())
}

pub(crate) async fn read(
    connection: &mut PgConnection,
    sql: &Statements,
    scope: &Scope<'_>,
) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query(AssertSqlSafe(Arc::clone(&sql.read)))
        .bind(scope.user)
        .bind(scope.rpc)
        .bind(scope.key)
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        let claimed_at: jiff_sqlx::Timestamp = row.try_get(2)?;
        Ok(Row { body_hash: row.try_get(0)?, answer: row.try_get(1)?, claimed_at: claimed_at.to_jiff() })
    })
    .transpose()
}

pub(crate) async fn finish(
    connection: &mut PgConnection,
    sql: &Statements,
    scope: &Scope<'_>,
    answer: &[u8],
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(AssertSqlSafe(Arc::clone(&sql.finish)))
        .bind(scope.user)
        .bind(scope.rpc)
        .bind(scope.key)
        .bind(answer)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn sweep(
    connection: &mut PgConnection,
    sql: &Statements,
    now: Timestamp,
    most: i64,
) -> Result<u64, sqlx::Error> {
    let done =
        sqlx::query(AssertSqlSafe(Arc::clone(&sql.sweep))).bind(now.to_sqlx()).bind(most).execute(connection).await?;
    Ok(done.rows_affected())
}
