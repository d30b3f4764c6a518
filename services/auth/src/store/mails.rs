//! `auth.reset_mails`: mails that are asked for and not sent.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::Error;

/// A mail to be sent, taken for a while.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Row.
    pub id: Uuid,
    /// Address, folded.
    pub email: String,
    /// Request that asked for it.
    pub request_id: String,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// Tries, this one counted.
    pub tries: i32,
    /// Its reset token, sealed; none before the first try.
    pub token: Option<Vec<u8>>,
}

/// Keeps a request; `false` when `most` wait already.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    db: impl PgExecutor<'_>,
    id: Uuid,
    email: &str,
    request_id: &str,
    most: u32,
    now: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        r#"insert into auth.reset_mails (id, email, request_id, asked_at, next_try_at)
           select $1, $2, $3, $4, $4 where (select count(*) from auth.reset_mails) < $5"#,
        id,
        email,
        request_id,
        now.to_sqlx() as _,
        i64::from(most),
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}

/// Takes mails that are due, each for one taker, until `until`.
///
/// # Errors
/// When the database fails.
pub async fn take(db: impl PgExecutor<'_>, limit: i64, until: Timestamp, now: Timestamp) -> Result<Vec<Mail>, Error> {
    Ok(sqlx::query_as!(
        Mail,
        r#"update auth.reset_mails set next_try_at = $2, tries = tries + 1
            where id in (select id from auth.reset_mails where next_try_at <= $1 order by next_try_at limit $3
                            for update skip locked)
        returning id, email, request_id, asked_at as "asked_at: jiff_sqlx::Timestamp", tries, token"#,
        now.to_sqlx() as _,
        until.to_sqlx() as _,
        limit,
    )
    .fetch_all(db)
    .await?)
}

/// Keeps the token of a mail, so that the next try sends the same.
///
/// # Errors
/// When the database fails.
pub async fn keep_token(db: impl PgExecutor<'_>, id: Uuid, sealed: &[u8]) -> Result<(), Error> {
    sqlx::query!("update auth.reset_mails set token = $2 where id = $1", id, sealed).execute(db).await?;
    Ok(())
}

/// Leaves a mail to be tried at `at`.
///
/// # Errors
/// When the database fails.
pub async fn postpone(db: impl PgExecutor<'_>, id: Uuid, at: Timestamp) -> Result<(), Error> {
    sqlx::query!("update auth.reset_mails set next_try_at = $2 where id = $1", id, at.to_sqlx() as _)
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets a mail: it is sent, or never will be.
///
/// # Errors
/// When the database fails.
pub async fn settle(db: impl PgExecutor<'_>, id: Uuid) -> Result<(), Error> {
    sqlx::query!("delete from auth.reset_mails where id = $1", id).execute(db).await?;
    Ok(())
}
