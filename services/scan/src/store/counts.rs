//! `scan.earned` and `scan.daily`: what results are worth, and how many there are.

use jiff::civil::Date;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// Has a content of a user earn something; `false` when it has. Who asks for the same at once waits for the first.
///
/// # Errors
/// When the database fails.
pub async fn earn(connection: &mut PgConnection, user: Uuid, etag: &str, task: Uuid) -> Result<bool, sqlx::Error> {
    let written = sqlx::query!(
        "insert into scan.earned (user_id, etag, task_id) values ($1, $2, $3) on conflict on constraint earned_pkey do nothing",
        user,
        etag,
        task,
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Counts a result.
///
/// # Errors
/// When the database fails.
pub async fn count(
    connection: &mut PgConnection,
    (user, day): (Uuid, Date),
    category: i16,
    recyclable: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into scan.daily (user_id, day, category, total, recyclable) values ($1, $2, $3, 1, $4)
         on conflict on constraint daily_pkey
         do update set total = daily.total + 1, recyclable = daily.recyclable + excluded.recyclable",
        user,
        day.to_sqlx() as _,
        category,
        i64::from(recyclable),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Results of a category on a day.
#[derive(Debug, Clone)]
pub struct Counted {
    /// The day.
    pub day: jiff_sqlx::Date,
    /// As the contract numbers it.
    pub category: i16,
    /// How many.
    pub total: i64,
    /// Of these, what can be recycled.
    pub recyclable: i64,
}

/// Results of a user from a day to another, and with it.
///
/// # Errors
/// When the database fails.
pub async fn of_user(
    db: impl PgExecutor<'_>,
    user: Uuid,
    (from, to): (Date, Date),
) -> Result<Vec<Counted>, sqlx::Error> {
    sqlx::query_as!(
        Counted,
        r#"select day as "day: jiff_sqlx::Date", category, total, recyclable
             from scan.daily where user_id = $1 and day >= $2 and day <= $3 order by category, day"#,
        user,
        from.to_sqlx() as _,
        to.to_sqlx() as _,
    )
    .fetch_all(db)
    .await
}
