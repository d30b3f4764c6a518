//! `ops.audits`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::audit::Act;

/// Adds a row.
///
/// # Errors
/// What Postgres says.
pub async fn insert(
    db: impl PgExecutor<'_>,
    id: Uuid,
    act: &Act,
    step: &str,
    detail: &serde_json::Value,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into ops.audits (id, act, step, actor, action, subject, detail, request_id, trace_id, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        id,
        act.id,
        step,
        act.actor,
        act.action,
        act.subject,
        detail,
        act.request_id,
        act.trace_id,
        now.to_sqlx() as _,
    )
    .execute(db)
    .await?;
    Ok(())
}
