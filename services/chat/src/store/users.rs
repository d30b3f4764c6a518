//! `chat.users`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;

/// Holds the row of a user to the end of the transaction, and makes it where there is none; `false` when the account is closed.
///
/// # Errors
/// When the database fails.
pub async fn hold(connection: &mut PgConnection, user: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"insert into chat.users (user_id) values ($1)
               on conflict (user_id) do update set user_id = excluded.user_id
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
        "insert into chat.users as u (user_id, withdrawn_at) values ($1, $2)
             on conflict (user_id) do update set withdrawn_at = coalesce(u.withdrawn_at, excluded.withdrawn_at)",
        user,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}
