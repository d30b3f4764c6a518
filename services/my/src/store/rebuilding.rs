//! What the history of a user came to is written anew, in one transaction.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::person::Person;

/// Users after `after`, by id.
///
/// # Errors
/// When the database fails.
pub async fn people(db: impl PgExecutor<'_>, after: Uuid, most: i64) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!("select user_id from my.people where user_id > $1 order by user_id limit $2", after, most)
        .fetch_all(db)
        .await
}

/// Writes what a locked user has come to by day and category in the place of what was written before.
///
/// # Errors
/// When the database fails.
pub async fn days(connection: &mut PgConnection, user: Uuid, person: &Person) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with categories as (delete from my.categories where user_id = $1),
              streaks as (delete from my.streaks where user_id = $1),
              badges as (delete from my.badges where user_id = $1)
         delete from my.footprints where user_id = $1",
        user,
    )
    .execute(&mut *connection)
    .await?;
    let days: Vec<i32> = person.days.keys().copied().collect();
    let of = |figure: fn(&crate::person::Footprint) -> i64| person.days.values().map(figure).collect::<Vec<i64>>();
    sqlx::query!(
        "insert into my.footprints (user_id, day, scans, recycled, tree_milli, water_ml, co2_g)
         select $1, t.* from unnest($2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]) as t",
        user,
        &days,
        &of(|day| day.scans),
        &of(|day| day.recycled),
        &of(|day| day.tree_milli),
        &of(|day| day.water_ml),
        &of(|day| day.co2_g),
    )
    .execute(&mut *connection)
    .await?;
    let (names, scans): (Vec<String>, Vec<i64>) = person.categories.clone().into_iter().unzip();
    sqlx::query!(
        "insert into my.categories (user_id, category, scans) select $1, t.* from unnest($2::text[], $3::bigint[]) as t",
        user,
        &names,
        &scans,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the badges of a locked user who has none; times in microseconds since 1970.
///
/// # Errors
/// When the database fails.
pub async fn badges(connection: &mut PgConnection, user: Uuid, person: &Person) -> Result<(), sqlx::Error> {
    let (codes, micros): (Vec<String>, Vec<i64>) = person.badges.clone().into_iter().unzip();
    sqlx::query!(
        "insert into my.badges (user_id, code, earned_at)
         select $1, code, timestamptz 'epoch' + at * interval '1 microsecond'
           from unnest($2::text[], $3::bigint[]) as t (code, at)",
        user,
        &codes,
        &micros,
    )
    .execute(connection)
    .await?;
    Ok(())
}
