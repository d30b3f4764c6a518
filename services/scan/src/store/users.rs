//! `scan.departed`: who has closed the account.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;

/// Holds a user to the end of the transaction; `false` when the account is closed.
///
/// # Errors
/// When the database fails.
pub async fn hold(connection: &mut PgConnection, user: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('scan.user:' || $1::text, 0))", user.to_string())
        .fetch_one(&mut *connection)
        .await?;
    // Read after the lock: what whoever held it before has written is seen.
    sqlx::query_scalar!(r#"select not exists (select 1 from scan.departed where user_id = $1) as "here!""#, user,)
        .fetch_one(connection)
        .await
}

/// Removes all that is kept of a user, who is held, but that the account is closed; in the order of the locks.
///
/// # Errors
/// When the database fails.
pub async fn forget(connection: &mut PgConnection, user: Uuid, now: Timestamp) -> Result<(), sqlx::Error> {
    hold(connection, user).await?;
    sqlx::query!(
        "insert into scan.departed (user_id, departed_at) values ($1, $2) on conflict do nothing",
        user,
        now.to_sqlx() as _,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("delete from scan.tasks where user_id = $1", user).execute(&mut *connection).await?;
    sqlx::query!("delete from scan.earned where user_id = $1", user).execute(&mut *connection).await?;
    sqlx::query!("delete from scan.daily where user_id = $1", user).execute(connection).await?;
    Ok(())
}
