//! `my.badges`: what was earned.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// A badge that somebody has.
#[derive(Debug, Clone)]
pub struct Had {
    /// Which.
    pub code: String,
    /// Since when.
    pub earned_at: Timestamp,
}

/// Gives a locked user those of these that they do not have; answers which, in their order.
///
/// # Errors
/// When the database fails.
pub async fn give(
    connection: &mut PgConnection,
    user: Uuid,
    codes: &[&str],
    now: Timestamp,
) -> Result<Vec<String>, sqlx::Error> {
    let codes: Vec<String> = codes.iter().map(|code| (*code).to_owned()).collect();
    let given = sqlx::query_scalar!(
        "insert into my.badges (user_id, code, earned_at) select $1, code, $3 from unnest($2::text[]) as due(code)
         on conflict on constraint badges_pkey do nothing returning code",
        user,
        &codes,
        now.to_sqlx() as _,
    )
    .fetch_all(connection)
    .await?;
    Ok(codes.into_iter().filter(|code| given.contains(code)).collect())
}

/// What a user has.
///
/// # Errors
/// When the database fails.
pub async fn of(db: impl PgExecutor<'_>, user: Uuid) -> Result<Vec<Had>, sqlx::Error> {
    sqlx::query_as!(
        Had,
        r#"select code, earned_at as "earned_at: jiff_sqlx::Timestamp" from my.badges where user_id = $1"#,
        user,
    )
    .fetch_all(db)
    .await
}
