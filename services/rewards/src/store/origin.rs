//! Where redemptions came from.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::origin::Origin;

/// Where a redemption came from; nothing of one that is not there.
///
/// # Errors
/// When the database fails.
pub async fn of(db: impl PgExecutor<'_>, id: Uuid) -> Result<Origin, sqlx::Error> {
    let found = sqlx::query_as!(Origin, "select traceparent, request_id from rewards.redemptions where id = $1", id)
        .fetch_optional(db)
        .await?;
    Ok(found.unwrap_or_default())
}
