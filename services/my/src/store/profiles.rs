//! `my.profiles`: what others see of users.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// A profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Whose.
    pub user_id: Uuid,
    /// Shown name.
    pub nickname: String,
    /// What they say of themselves.
    pub bio: String,
    /// The picture, an own upload; none: it is not of the image service.
    pub image_id: Option<Uuid>,
    /// Where people load it from; empty: there is none.
    pub image_url: String,
    /// When the account was made.
    pub joined_at: Timestamp,
    /// How often it was changed.
    pub version: i64,
}

/// The profile of a user, where it is known.
///
/// # Errors
/// When the database fails.
pub async fn find(db: impl PgExecutor<'_>, user: Uuid) -> Result<Option<Profile>, sqlx::Error> {
    sqlx::query_as!(
        Profile,
        r#"select user_id, nickname, bio, image_id, image_url, joined_at as "joined_at: jiff_sqlx::Timestamp", version
             from my.profiles where user_id = $1"#,
        user,
    )
    .fetch_optional(db)
    .await
}

/// Writes the profile of a locked user of whom none is known, as auth knows it; one that is stays.
///
/// # Errors
/// When the database fails.
pub async fn insert(connection: &mut PgConnection, profile: &Profile, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into my.profiles (user_id, nickname, bio, image_id, image_url, joined_at, version, told, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $7, $8) on conflict on constraint profiles_pkey do nothing",
        profile.user_id,
        profile.nickname,
        profile.bio,
        profile.image_id,
        profile.image_url,
        profile.joined_at.to_sqlx() as _,
        profile.version,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes what the profile of a locked user says now.
///
/// # Errors
/// When the database fails.
pub async fn put(connection: &mut PgConnection, profile: &Profile, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update my.profiles set nickname = $2, bio = $3, image_id = $4, image_url = $5, version = $6, updated_at = $7
          where user_id = $1",
        profile.user_id,
        profile.nickname,
        profile.bio,
        profile.image_id,
        profile.image_url,
        profile.version,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that auth knows a change of a profile; of one that is gone nothing.
///
/// # Errors
/// When the database fails.
pub async fn told(db: impl PgExecutor<'_>, user: Uuid, version: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("update my.profiles set told = greatest(told, $2) where user_id = $1", user, version)
        .execute(db)
        .await?;
    Ok(())
}

/// At most `most` profiles that were changed before a time and that auth does not know as they are, with when they were; the oldest
/// first, after one.
///
/// # Errors
/// When the database fails.
pub async fn untold(
    db: impl PgExecutor<'_>,
    before: Timestamp,
    (after, id): (Timestamp, Uuid),
    most: i64,
) -> Result<Vec<(Profile, Timestamp)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select user_id, nickname, bio, image_id, image_url, joined_at as "joined_at: jiff_sqlx::Timestamp", version,
                  updated_at as "updated_at: jiff_sqlx::Timestamp"
             from my.profiles
            where told < version and updated_at < $1 and (updated_at, user_id) > ($2, $3)
            order by updated_at, user_id limit $4"#,
        before.to_sqlx() as _,
        after.to_sqlx() as _,
        id,
        most,
    )
    .fetch_all(db)
    .await?;
    let read = rows.into_iter().map(|row| {
        let profile = Profile {
            user_id: row.user_id,
            nickname: row.nickname,
            bio: row.bio,
            image_id: row.image_id,
            image_url: row.image_url,
            joined_at: row.joined_at.to_jiff(),
            version: row.version,
        };
        (profile, row.updated_at.to_jiff())
    });
    Ok(read.collect())
}
