//! What others may see of `auth.users`.

use coreloop_core::UserId;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::Error;

/// What others may see of an account.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Whose.
    pub id: Uuid,
    /// Shown name.
    pub nickname: String,
    /// Profile image; empty when there is none.
    pub profile_image_url: String,
    /// When the account was made.
    pub created_at: Timestamp,
    /// Number of the change by which both were set; 0: they are as at sign-up.
    pub profile_version: i64,
}

/// Those of `ids` that there are and that were not closed.
///
/// # Errors
/// When the database fails.
pub async fn find_all(db: impl PgExecutor<'_>, ids: &[Uuid]) -> Result<Vec<Profile>, Error> {
    Ok(sqlx::query_as!(
        Profile,
        r#"select id, nickname, profile_image_url, created_at as "created_at: jiff_sqlx::Timestamp", profile_version
             from auth.users where id = any($1) and status <> 'withdrawn'"#,
        ids,
    )
    .fetch_all(db)
    .await?)
}

/// Sets name and image of a living account that is locked; `false` when it knows this change, or a newer one.
///
/// # Errors
/// When the database fails.
pub async fn set(
    conn: &mut PgConnection,
    user: UserId,
    (nickname, image_url): (&str, &str),
    version: i64,
    now: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update auth.users set nickname = $2, profile_image_url = $3, profile_version = $4, updated_at = $5
          where id = $1 and status <> 'withdrawn' and profile_version < $4",
        user.0,
        nickname,
        image_url,
        version,
        now.to_sqlx() as _,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}
