//! `image.owners`. Whoever holds a row changes images of that user, and with each change grows its version.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// Version of the images of a user; nought where there never were any.
///
/// # Errors
/// When the database fails.
pub async fn version(db: impl PgExecutor<'_>, user: Uuid) -> Result<i64, sqlx::Error> {
    let version = sqlx::query_scalar!("select version from image.owners where user_id = $1", user);
    Ok(version.fetch_optional(db).await?.unwrap_or_default())
}

/// Holds the row of a user to the end of the transaction, and makes it where there is none; `false` when the account is closed.
///
/// # Errors
/// When the database fails.
pub async fn hold(connection: &mut PgConnection, user: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"insert into image.owners as o (user_id, version) values ($1, 1)
               on conflict (user_id) do update set version = o.version + 1
           returning withdrawn_at is null as "open!""#,
        user,
    )
    .fetch_one(connection)
    .await
}

/// The same, and closes it.
///
/// # Errors
/// When the database fails.
pub async fn withdraw(connection: &mut PgConnection, user: Uuid, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into image.owners as o (user_id, withdrawn_at, version) values ($1, $2, 1)
             on conflict (user_id) do update set withdrawn_at = coalesce(o.withdrawn_at, excluded.withdrawn_at),
                                                 version = o.version + 1",
        user,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}
