//! `location.visits`.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// A visit.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Which.
    pub id: Uuid,
    /// When it was noted.
    pub at: jiff_sqlx::Timestamp,
}

/// Notes that a user was at a shop on a day; `false` when that is noted already, and nothing was written.
///
/// # Errors
/// When the database fails; `visits_shop_id_fkey` for a shop that is none.
pub async fn insert(
    connection: &mut PgConnection,
    id: Uuid,
    (user, shop, day): (Uuid, Uuid, Date),
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let written = sqlx::query!(
        "insert into location.visits (id, user_id, shop_id, day, at) values ($1, $2, $3, $4, $5)
             on conflict on constraint visits_once_a_day do nothing",
        id,
        user,
        shop,
        day.to_sqlx() as _,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// The visit of a user at a shop on a day.
///
/// # Errors
/// When the database fails.
pub async fn of_day(
    db: impl PgExecutor<'_>,
    (user, shop, day): (Uuid, Uuid, Date),
) -> Result<Option<Visit>, sqlx::Error> {
    sqlx::query_as!(
        Visit,
        r#"select id, at as "at: jiff_sqlx::Timestamp" from location.visits where user_id = $1 and shop_id = $2 and day = $3"#,
        user,
        shop,
        day.to_sqlx() as _,
    )
    .fetch_optional(db)
    .await
}

/// How many visits each of these shops has since a time; none is left out.
///
/// # Errors
/// When the database fails.
pub async fn counts(
    db: impl PgExecutor<'_>,
    shops: &[Uuid],
    since: Timestamp,
) -> Result<Vec<(Uuid, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select shop_id, count(*) as "count!" from location.visits where shop_id = any($1) and at > $2 group by shop_id"#,
        shops,
        since.to_sqlx() as _,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.shop_id, row.count)).collect())
}

/// Deletes all of a user.
///
/// # Errors
/// When the database fails.
pub async fn forget(connection: &mut PgConnection, user: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from location.visits where user_id = $1", user).execute(connection).await?;
    Ok(())
}
