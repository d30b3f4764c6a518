//! `my.heard`: events of others that were counted.

use sqlx::PgConnection;
use uuid::Uuid;

/// Takes an event to be counted; `false` when it was.
///
/// # Errors
/// When the database fails.
pub async fn claim(
    connection: &mut PgConnection,
    source: &str,
    event_id: &str,
    user: Uuid,
) -> Result<bool, sqlx::Error> {
    let claimed = sqlx::query!(
        "insert into my.heard (source, event_id, user_id) values ($1, $2, $3) on conflict on constraint heard_pkey do nothing",
        source,
        event_id,
        user,
    )
    .execute(connection)
    .await?;
    Ok(claimed.rows_affected() == 1)
}
