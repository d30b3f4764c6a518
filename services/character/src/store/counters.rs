//! `character.counters` and `character.days`: what conditions count.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::condition::Counters;

/// Counts an eligible scan of a user whose collection is locked.
///
/// # Errors
/// When the database fails.
pub async fn add(connection: &mut PgConnection, user: Uuid, category: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into character.counters as mine (user_id, category, value) values ($1, $2, 1)
         on conflict on constraint counters_pkey do update set value = mine.value + 1",
        user,
        category,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes a day with an eligible scan; `false` when it is known.
///
/// # Errors
/// When the database fails.
pub async fn add_day(connection: &mut PgConnection, user: Uuid, day: i32) -> Result<bool, sqlx::Error> {
    let added = sqlx::query!(
        "insert into character.days (user_id, day) values ($1, $2) on conflict on constraint days_pkey do nothing",
        user,
        day,
    )
    .execute(connection)
    .await?;
    Ok(added.rows_affected() == 1)
}

/// The longest row of days, in whatever order they were heard.
///
/// # Errors
/// When the database fails.
pub async fn longest(connection: &mut PgConnection, user: Uuid) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce(max(days), 0)::integer as "longest!"
             from (select count(*) as days
                     from (select day - row_number() over (order by day) as island
                             from character.days where user_id = $1) placed
                    group by island) runs"#,
        user,
    )
    .fetch_one(connection)
    .await
}

/// What was counted of a user whose collection is locked.
///
/// # Errors
/// When the database fails.
pub async fn of(connection: &mut PgConnection, user: Uuid, longest_streak: i32) -> Result<Counters, sqlx::Error> {
    let rows = sqlx::query!("select category, value from character.counters where user_id = $1", user)
        .fetch_all(connection)
        .await?;
    let by_category = rows.into_iter().map(|row| (row.category, row.value)).collect();
    Ok(Counters { by_category, longest_streak })
}
