//! `character.changes`, which a trigger writes.

use serde_json::Value;
use sqlx::PgConnection;

/// What a change found and what it left.
#[derive(Debug, Clone)]
pub struct Change {
    /// What was there; none of what is new.
    pub before: Option<Value>,
    /// What is there.
    pub after: Value,
}

/// The newest change of a thing: that of this transaction, which has changed and so locked it.
///
/// # Errors
/// When the database fails, or nothing was changed.
pub async fn newest(connection: &mut PgConnection, what: &str, subject: &str) -> Result<Change, sqlx::Error> {
    sqlx::query_as!(
        Change,
        "select before, after from character.changes where what = $1 and subject = $2 order by seq desc limit 1",
        what,
        subject,
    )
    .fetch_one(connection)
    .await
}
