//! `auth.password_resets`, by the digest of the token.

use coreloop_core::UserId;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};

use crate::Error;

/// Most tokens an account is given in the life of one: nobody's mailbox is flooded.
const MOST: i64 = 5;

/// Keeps a token; `false` when the account has been given enough of late. Tokens of one account are counted one after the
/// other, whoever sends the mails.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    conn: &mut PgConnection,
    hash: &[u8],
    user: UserId,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<bool, Error> {
    // Before the statement that counts, so that it sees what was committed while it waited.
    super::users::lock(conn, user).await?;
    let done = sqlx::query!(
        r#"insert into auth.password_resets (token_hash, user_id, created_at, expires_at)
           select $1, $2, $3, $4
            where (select count(*) from auth.password_resets where user_id = $2 and expires_at > $3) < $5"#,
        hash,
        user.0,
        now.to_sqlx() as _,
        expires_at.to_sqlx() as _,
        MOST,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Whose unused token it is.
///
/// # Errors
/// When the database fails.
pub async fn owner(db: impl PgExecutor<'_>, hash: &[u8], now: Timestamp) -> Result<Option<UserId>, Error> {
    let owner = sqlx::query_scalar!(
        "select user_id from auth.password_resets where token_hash = $1 and used_at is null and expires_at > $2",
        hash,
        now.to_sqlx() as _,
    );
    Ok(owner.fetch_optional(db).await?.map(UserId))
}

/// Uses a token up; `false` when it was used, or is expired. Every other token of the account goes with it.
///
/// # Errors
/// When the database fails.
pub async fn take(conn: &mut PgConnection, hash: &[u8], user: UserId, now: Timestamp) -> Result<bool, Error> {
    let done = sqlx::query!(
        r#"update auth.password_resets set used_at = $3
            where token_hash = $1 and user_id = $2 and used_at is null and expires_at > $3"#,
        hash,
        user.0,
        now.to_sqlx() as _,
    );
    let taken = done.execute(&mut *conn).await?.rows_affected() == 1;
    if taken {
        sqlx::query!("delete from auth.password_resets where user_id = $1 and token_hash <> $2", user.0, hash)
            .execute(conn)
            .await?;
    }
    Ok(taken)
}

/// Notes that the address of an account was proven.
///
/// # Errors
/// When the database fails.
pub async fn prove_email(conn: &mut PgConnection, user: UserId, now: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        "update auth.users set email_verified = true, updated_at = $2 where id = $1",
        user.0,
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Drops tokens that expired before `before`.
///
/// # Errors
/// When the database fails.
pub async fn sweep(db: impl PgExecutor<'_>, before: Timestamp) -> Result<u64, Error> {
    let done = sqlx::query!("delete from auth.password_resets where expires_at < $1", before.to_sqlx() as _);
    Ok(done.execute(db).await?.rows_affected())
}
