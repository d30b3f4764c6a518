//! `my.preferences`: what users have set.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// What a user has set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Preferences {
    /// Others see what the user has recycled.
    pub public_figures: bool,
}

/// What a user has set; who has set nothing has the defaults.
///
/// # Errors
/// When the database fails.
pub async fn of(db: impl PgExecutor<'_>, user: Uuid) -> Result<Preferences, sqlx::Error> {
    let found = sqlx::query_as!(Preferences, "select public_figures from my.preferences where user_id = $1", user)
        .fetch_optional(db)
        .await?;
    Ok(found.unwrap_or_default())
}

/// Writes what a locked user has set.
///
/// # Errors
/// When the database fails.
pub async fn put(connection: &mut PgConnection, user: Uuid, set: Preferences) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into my.preferences (user_id, public_figures) values ($1, $2)
         on conflict on constraint preferences_pkey do update set public_figures = excluded.public_figures",
        user,
        set.public_figures,
    )
    .execute(connection)
    .await?;
    Ok(())
}
