//! `rewards.ads` and what was clicked.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// An ad.
#[derive(Debug, Clone)]
pub struct Ad {
    /// Name.
    pub id: String,
    /// As it is shown.
    pub title: String,
    /// Where it leads.
    pub url: String,
    /// Points that a click is worth.
    pub points: i64,
    /// Prediction slots that it unlocks.
    pub slots: i32,
    /// Whether it is shown, as the contract numbers it.
    pub state: i16,
    /// From when.
    pub starts_at: Option<jiff_sqlx::Timestamp>,
    /// Until when.
    pub ends_at: Option<jiff_sqlx::Timestamp>,
}

/// A click that is worth something.
#[derive(Debug)]
pub struct Click<'a> {
    /// Id of its token.
    pub token: Uuid,
    /// Who clicked.
    pub user_id: Uuid,
    /// On what.
    pub ad: &'a Ad,
    /// On which day.
    pub day: i32,
}

/// An ad that is shown now.
///
/// # Errors
/// When the database fails.
pub async fn offered(db: impl PgExecutor<'_>, id: &str, now: Timestamp) -> Result<Option<Ad>, sqlx::Error> {
    sqlx::query_as!(
        Ad,
        r#"select id, title, url, points, slots, state, starts_at as "starts_at: jiff_sqlx::Timestamp",
                  ends_at as "ends_at: jiff_sqlx::Timestamp"
             from rewards.ads
            where id = $1 and state = 1 and (starts_at is null or starts_at <= $2) and (ends_at is null or ends_at > $2)"#,
        id,
        now.to_sqlx() as _,
    )
    .fetch_optional(db)
    .await
}

/// Ads that are shown now, and which of them `user` has been rewarded for on `day`: those last, so that none is never seen. Else
/// by name.
///
/// # Errors
/// When the database fails.
pub async fn shown(
    db: impl PgExecutor<'_>,
    user: Uuid,
    day: i32,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<(Ad, bool)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select a.id, a.title, a.url, a.points, a.slots, a.state, a.starts_at as "starts_at: jiff_sqlx::Timestamp",
                  a.ends_at as "ends_at: jiff_sqlx::Timestamp", (c.token is not null) as "rewarded!"
             from rewards.ads a left join rewards.ad_clicks c on c.user_id = $1 and c.day = $2 and c.ad = a.id
            where a.state = 1 and (a.starts_at is null or a.starts_at <= $3) and (a.ends_at is null or a.ends_at > $3)
            order by c.token is not null, a.id limit $4"#,
        user,
        day,
        now.to_sqlx() as _,
        limit,
    )
    .fetch_all(db)
    .await?;
    let shown = rows.into_iter().map(|row| {
        let ad = Ad {
            id: row.id,
            title: row.title,
            url: row.url,
            points: row.points,
            slots: row.slots,
            state: row.state,
            starts_at: row.starts_at,
            ends_at: row.ends_at,
        };
        (ad, row.rewarded)
    });
    Ok(shown.collect())
}

/// Writes a click.
///
/// # Errors
/// `ad_clicks_pkey`, `ad_clicks_user_ad_day_key`; when the database fails.
pub async fn insert_click(connection: &mut PgConnection, click: &Click<'_>, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into rewards.ad_clicks (token, user_id, ad, day, points, slots, clicked_at) values ($1, $2, $3, $4, $5, $6, $7)",
        click.token,
        click.user_id,
        click.ad.id,
        click.day,
        click.ad.points,
        click.ad.slots,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds to the points of the day; none when it would be more than `cap`.
///
/// # Errors
/// When the database fails.
pub async fn add_points(
    connection: &mut PgConnection,
    click: &Click<'_>,
    cap: i64,
) -> Result<Option<i64>, sqlx::Error> {
    if click.ad.points > cap {
        return Ok(None);
    }
    sqlx::query_scalar!(
        "insert into rewards.ad_days as mine (user_id, day, points) values ($1, $2, $3)
         on conflict on constraint ad_days_pkey do update set points = mine.points + $3 where mine.points + $3 <= $4
         returning points",
        click.user_id,
        click.day,
        click.ad.points,
        cap,
    )
    .fetch_optional(connection)
    .await
}

/// Unlocks slots; how many the user has for the day.
///
/// # Errors
/// When the database fails.
pub async fn unlock(connection: &mut PgConnection, click: &Click<'_>) -> Result<i32, sqlx::Error> {
    if click.ad.slots == 0 {
        return unlocked(connection, click.user_id, click.day).await;
    }
    sqlx::query_scalar!(
        "insert into rewards.ad_unlocks as mine (user_id, day, slots) values ($1, $2, $3)
         on conflict on constraint ad_unlocks_pkey do update set slots = mine.slots + $3 returning slots",
        click.user_id,
        click.day,
        click.ad.slots,
    )
    .fetch_one(connection)
    .await
}

/// How many slots a user has unlocked for a day.
///
/// # Errors
/// When the database fails.
pub async fn unlocked(db: impl PgExecutor<'_>, user: Uuid, day: i32) -> Result<i32, sqlx::Error> {
    let found = sqlx::query_scalar!("select slots from rewards.ad_unlocks where user_id = $1 and day = $2", user, day)
        .fetch_optional(db)
        .await?;
    Ok(found.unwrap_or_default())
}

/// Puts an ad in, or changes it.
///
/// # Errors
/// When the database fails.
pub async fn put(connection: &mut PgConnection, ad: &Ad, by: &str, now: Timestamp) -> Result<Ad, sqlx::Error> {
    sqlx::query_as!(
        Ad,
        r#"insert into rewards.ads (id, title, url, points, slots, state, starts_at, ends_at, updated_at, updated_by)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
           on conflict on constraint ads_pkey do update
              set title = $2, url = $3, points = $4, slots = $5, state = $6, starts_at = $7, ends_at = $8, updated_at = $9,
                  updated_by = $10
           returning id, title, url, points, slots, state, starts_at as "starts_at: jiff_sqlx::Timestamp",
                     ends_at as "ends_at: jiff_sqlx::Timestamp""#,
        ad.id,
        ad.title,
        ad.url,
        ad.points,
        ad.slots,
        ad.state,
        ad.starts_at as _,
        ad.ends_at as _,
        now.to_sqlx() as _,
        by,
    )
    .fetch_one(connection)
    .await
}
