//! `my.footprints` and `my.categories`: what was recycled on which day.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{person::Footprint, streak::Streak};

/// Adds to a day of a locked user; `true` when it is the first of that day.
///
/// # Errors
/// When the database fails.
pub async fn add(connection: &mut PgConnection, user: Uuid, day: i32, worth: &Footprint) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"insert into my.footprints as mine (user_id, day, scans, recycled, tree_milli, water_ml, co2_g)
           values ($1, $2, $3, $4, $5, $6, $7)
           on conflict on constraint footprints_pkey do update
              set scans = mine.scans + excluded.scans, recycled = mine.recycled + excluded.recycled,
                  tree_milli = mine.tree_milli + excluded.tree_milli, water_ml = mine.water_ml + excluded.water_ml,
                  co2_g = mine.co2_g + excluded.co2_g
           returning scans = $3 as "first!""#,
        user,
        day,
        worth.scans,
        worth.recycled,
        worth.tree_milli,
        worth.water_ml,
        worth.co2_g,
    )
    .fetch_one(connection)
    .await
}

/// Counts a scan of a category of a locked user; answers how many different ones there are.
///
/// # Errors
/// When the database fails.
pub async fn add_category(connection: &mut PgConnection, user: Uuid, category: &str) -> Result<i64, sqlx::Error> {
    sqlx::query!(
        "insert into my.categories as mine (user_id, category, scans) values ($1, $2, 1)
         on conflict on constraint categories_pkey do update set scans = mine.scans + 1",
        user,
        category,
    )
    .execute(&mut *connection)
    .await?;
    variety(connection, user).await
}

/// Different categories of a user.
///
/// # Errors
/// When the database fails.
pub async fn variety(connection: &mut PgConnection, user: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select count(*) as "variety!" from my.categories where user_id = $1"#, user)
        .fetch_one(connection)
        .await
}

/// The rows that the days of a locked user make.
///
/// # Errors
/// When the database fails.
pub async fn streak(connection: &mut PgConnection, user: Uuid) -> Result<Streak, sqlx::Error> {
    sqlx::query_as!(
        Streak,
        r#"with runs as (
               select max(day) as last_day, count(*)::integer as days
                 from (select day, day - row_number() over (order by day) as island
                         from my.footprints where user_id = $1) placed
                group by island)
           select coalesce((select days from runs order by last_day desc limit 1), 0) as "run!",
                  max(last_day) as "last_day?", coalesce(max(days), 0) as "longest!"
             from runs"#,
        user,
    )
    .fetch_one(connection)
    .await
}
