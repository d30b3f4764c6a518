//! `auth.totp_secrets` and `auth.recovery_codes`. Each code is used up by one statement, so of any number at once one
//! succeeds.

use coreloop_core::UserId;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};

use crate::Error;

/// The sealed secret of an administrator.
///
/// # Errors
/// When the database fails.
pub async fn secret(db: impl PgExecutor<'_>, user: UserId) -> Result<Option<Vec<u8>>, Error> {
    let secret = sqlx::query_scalar!("select secret from auth.totp_secrets where user_id = $1", user.0);
    Ok(secret.fetch_optional(db).await?)
}

/// Uses up `step` and every earlier one; `false` when it was used already (RFC 6238, 5.2).
///
/// # Errors
/// When the database fails.
pub async fn use_step(conn: &mut PgConnection, user: UserId, step: i64) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update auth.totp_secrets set last_used_step = $2 where user_id = $1 and last_used_step < $2",
        user.0,
        step,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Uses up a recovery code; `false` when there is none such or it was used.
///
/// # Errors
/// When the database fails.
pub async fn use_recovery(conn: &mut PgConnection, user: UserId, hash: &[u8], now: Timestamp) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update auth.recovery_codes set used_at = $3 where user_id = $1 and code_hash = $2 and used_at is null",
        user.0,
        hash,
        now.to_sqlx() as _,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// How many recovery codes are left.
///
/// # Errors
/// When the database fails.
pub async fn recovery_left(db: impl PgExecutor<'_>, user: UserId) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from auth.recovery_codes where user_id = $1 and used_at is null"#,
        user.0,
    )
    .fetch_one(db)
    .await?)
}

/// Sets a new secret and new recovery codes; the old ones are gone.
///
/// # Errors
/// When the database fails.
pub async fn set(
    conn: &mut PgConnection,
    user: UserId,
    sealed: &[u8],
    recovery: &[Vec<u8>],
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        r#"insert into auth.totp_secrets (user_id, secret, last_used_step, created_at) values ($1, $2, 0, $3)
           on conflict (user_id) do update
               set secret = excluded.secret, last_used_step = 0, created_at = excluded.created_at"#,
        user.0,
        sealed,
        now.to_sqlx() as _,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("delete from auth.recovery_codes where user_id = $1", user.0).execute(&mut *conn).await?;
    sqlx::query!(
        r#"insert into auth.recovery_codes (user_id, code_hash, created_at)
           select $1, code_hash, $3 from unnest($2::bytea[]) as t(code_hash)"#,
        user.0,
        recovery,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}
