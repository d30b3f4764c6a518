//! What administrators changed.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// A change.
#[derive(Debug)]
pub struct Change<'a> {
    /// `product`, `promo`, `settlement`.
    pub what: &'a str,
    /// Which.
    pub subject: &'a str,
    /// Who.
    pub by: Uuid,
    /// Why, in their words; empty where nobody asks.
    pub reason: &'a str,
    /// What was there; none of what is new.
    pub before: Option<Value>,
    /// What is there.
    pub after: Value,
}

/// Writes a change down, in its transaction; `false` where nothing changed.
///
/// # Errors
/// When the database fails.
pub async fn note(conn: &mut PgConnection, change: &Change<'_>, now: Timestamp) -> Result<bool, sqlx::Error> {
    if change.before.as_ref() == Some(&change.after) {
        return Ok(false);
    }
    sqlx::query!(
        "insert into shop.changes (what, subject, changed_by, reason, before, after, changed_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
        change.what,
        change.subject,
        change.by,
        change.reason,
        change.before,
        change.after,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(true)
}
