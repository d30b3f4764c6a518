//! `my.streaks`: rows of days, as `my.footprints` makes them.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::streak::Streak;

/// The rows of a locked user.
///
/// # Errors
/// When the database fails.
pub async fn find(connection: &mut PgConnection, user: Uuid) -> Result<Streak, sqlx::Error> {
    let found = sqlx::query_as!(
        Streak,
        r#"select run, last_day as "last_day?", longest from my.streaks where user_id = $1"#,
        user
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.unwrap_or_default())
}

/// Writes the rows of a locked user who has a day.
///
/// # Errors
/// When the database fails.
pub async fn put(connection: &mut PgConnection, user: Uuid, streak: &Streak) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into my.streaks (user_id, run, last_day, longest) values ($1, $2, $3, $4)
         on conflict on constraint streaks_pkey do update
            set run = excluded.run, last_day = excluded.last_day, longest = excluded.longest",
        user,
        streak.run,
        streak.last_day.unwrap_or_default(),
        streak.longest,
    )
    .execute(connection)
    .await?;
    Ok(())
}
