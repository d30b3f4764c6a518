//! `my.follows`: who follows whom.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// Somebody in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// Who.
    pub user_id: Uuid,
    /// Shown name.
    pub nickname: String,
    /// Where people load the picture from.
    pub image_url: String,
    /// Since when.
    pub followed_at: Timestamp,
}

/// What others see of somebody's follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many follow them.
    pub followers: i64,
    /// How many they follow.
    pub following: i64,
    /// Who asks follows them.
    pub followed: bool,
}

/// Since when `follower` follows `followee`; none: they do not.
///
/// # Errors
/// When the database fails.
pub async fn since(db: impl PgExecutor<'_>, follower: Uuid, followee: Uuid) -> Result<Option<Timestamp>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        r#"select followed_at as "followed_at: jiff_sqlx::Timestamp" from my.follows where follower = $1 and followee = $2"#,
        follower,
        followee,
    )
    .fetch_optional(db)
    .await?;
    Ok(found.map(jiff_sqlx::Timestamp::to_jiff))
}

/// `follower`, who is locked and does not follow `followee`, follows them, unless they follow `most` already; `false` then.
///
/// # Errors
/// `follows_not_self`; when the database fails.
pub async fn insert(
    connection: &mut PgConnection,
    (follower, followee): (Uuid, Uuid),
    most: i64,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "insert into my.follows (follower, followee, followed_at)
         select $1, $2, $3 where (select count(*) from my.follows where follower = $1) < $4",
        follower,
        followee,
        now.to_sqlx() as _,
        most,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// `follower`, who is locked, does not follow `followee` any more; `false` when they did not.
///
/// # Errors
/// When the database fails.
pub async fn delete(connection: &mut PgConnection, follower: Uuid, followee: Uuid) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!("delete from my.follows where follower = $1 and followee = $2", follower, followee)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// How many follow `user` and are followed by them, and whether `caller` does.
///
/// # Errors
/// When the database fails.
pub async fn counts(db: impl PgExecutor<'_>, user: Uuid, caller: Option<Uuid>) -> Result<Counts, sqlx::Error> {
    sqlx::query_as!(
        Counts,
        r#"select (select count(*) from my.follows where followee = $1) as "followers!",
                  (select count(*) from my.follows where follower = $1) as "following!",
                  exists (select from my.follows where follower = $2 and followee = $1) as "followed!""#,
        user,
        caller,
    )
    .fetch_one(db)
    .await
}

/// At most `most` who follow `user`, newest first, behind who began at that time.
///
/// # Errors
/// When the database fails.
pub async fn followers(
    db: impl PgExecutor<'_>,
    user: Uuid,
    (at, id): (Timestamp, Uuid),
    most: i64,
) -> Result<Vec<Follow>, sqlx::Error> {
    sqlx::query_as!(
        Follow,
        r#"select f.follower as user_id, p.nickname, p.image_url, f.followed_at as "followed_at: jiff_sqlx::Timestamp"
             from my.follows f join my.profiles p on p.user_id = f.follower
            where f.followee = $1 and (f.followed_at, f.follower) < ($2, $3)
            order by f.followed_at desc, f.follower desc limit $4"#,
        user,
        at.to_sqlx() as _,
        id,
        most,
    )
    .fetch_all(db)
    .await
}

/// At most `most` whom `user` follows, newest first, behind whom they followed at that time.
///
/// # Errors
/// When the database fails.
pub async fn following(
    db: impl PgExecutor<'_>,
    user: Uuid,
    (at, id): (Timestamp, Uuid),
    most: i64,
) -> Result<Vec<Follow>, sqlx::Error> {
    sqlx::query_as!(
        Follow,
        r#"select f.followee as user_id, p.nickname, p.image_url, f.followed_at as "followed_at: jiff_sqlx::Timestamp"
             from my.follows f join my.profiles p on p.user_id = f.followee
            where f.follower = $1 and (f.followed_at, f.followee) < ($2, $3)
            order by f.followed_at desc, f.followee desc limit $4"#,
        user,
        at.to_sqlx() as _,
        id,
        most,
    )
    .fetch_all(db)
    .await
}
