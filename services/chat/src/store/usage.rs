//! `chat.usage`: what answers took, by user and day.

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// Takes tokens of a user's day; `false` when that would be more than `most`, and nothing was taken. `tokens` alone is not more.
///
/// # Errors
/// When the database fails.
pub async fn take(
    connection: &mut PgConnection,
    (user, day): (Uuid, Date),
    tokens: i64,
    most: i64,
) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query!(
        "insert into chat.usage as u (user_id, day, tokens) values ($1, $2, $3)
             on conflict (user_id, day) do update set tokens = u.tokens + excluded.tokens
                where u.tokens + excluded.tokens <= $4",
        user,
        day.to_sqlx() as _,
        tokens,
        most,
    )
    .execute(connection)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Puts what something took in the place of what was taken for it.
///
/// # Errors
/// When the database fails.
pub async fn settle(
    connection: &mut PgConnection,
    (user, day): (Uuid, Date),
    reserved: i64,
    took: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update chat.usage set tokens = greatest(tokens - $3 + $4, 0) where user_id = $1 and day = $2",
        user,
        day.to_sqlx() as _,
        reserved,
        took,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes what is known of a user.
///
/// # Errors
/// When the database fails.
pub async fn forget(connection: &mut PgConnection, user: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from chat.usage where user_id = $1", user).execute(connection).await?;
    Ok(())
}

/// Removes what is known of days before `day`, at most `most` rows.
///
/// # Errors
/// When the database fails.
pub async fn sweep(db: impl PgExecutor<'_>, day: Date, most: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from chat.usage where (user_id, day) in (
             select user_id, day from chat.usage where day < $1 limit $2 for update skip locked)",
        day.to_sqlx() as _,
        most,
    )
    .execute(db)
    .await?;
    Ok(())
}
