//! `ops.audits`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::audit::Act;

/// Adds a row; the database links it to the one before.
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

/// Adds the row of an act that was done elsewhere; `false` when it is there, for it may be told of long after the inbox has
/// forgotten it.
///
/// # Errors
/// `audits_ended_once` when it is told of twice at the same time; else what Postgres says.
pub async fn hear(
    db: impl PgExecutor<'_>,
    id: Uuid,
    act: &Act,
    detail: &serde_json::Value,
    at: Timestamp,
) -> Result<bool, sqlx::Error> {
    // No `on conflict`: the trigger that links the row has moved the end of the chain before that is looked at.
    let heard = sqlx::query!(
        "insert into ops.audits (id, act, step, actor, action, subject, detail, request_id, trace_id, created_at)
         select $1::uuid, $2::uuid, 'done', $3::text, $4::text, $5::text, $6::jsonb, $7::text, $8::text, $9::timestamptz
          where not exists (select from ops.audits where act = $2 and step <> 'asked')",
        id,
        act.id,
        act.actor,
        act.action,
        act.subject,
        detail,
        act.request_id,
        act.trace_id,
        at.to_sqlx() as _,
    )
    .execute(db)
    .await?;
    Ok(heard.rows_affected() == 1)
}

/// A row as it stands.
#[derive(Debug, Clone)]
pub struct Row {
    /// Place in the chain.
    pub seq: i64,
    /// Id.
    pub id: Uuid,
    /// The act.
    pub act: Uuid,
    /// `asked`, `done` or `failed`.
    pub step: String,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// On what.
    pub subject: String,
    /// How, or what came of it: JSON as Postgres writes it.
    pub detail: String,
    /// Request that asked.
    pub request_id: String,
    /// Its trace.
    pub trace_id: String,
    /// When.
    pub created_at: jiff_sqlx::Timestamp,
    /// Hash.
    pub hash: Vec<u8>,
}

/// What is searched for; what is none does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Who.
    pub actor: Option<String>,
    /// What.
    pub action: Option<String>,
    /// On what.
    pub subject: Option<String>,
    /// `asked`, `done` or `failed`.
    pub step: Option<String>,
    /// The act.
    pub act: Option<Uuid>,
    /// Request that asked.
    pub request_id: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// Rows that are wanted, newest first, before the one numbered `before`.
///
/// # Errors
/// What Postgres says.
pub async fn search(
    db: impl PgExecutor<'_>,
    wanted: &Wanted,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select seq, id, act, step, actor, action, subject, detail::text as "detail!", request_id, trace_id,
                  created_at as "created_at: jiff_sqlx::Timestamp", hash
             from ops.audits
            where ($1::text is null or actor = $1) and ($2::text is null or action = $2)
              and ($3::text is null or subject = $3) and ($4::text is null or step = $4)
              and ($5::uuid is null or act = $5) and ($6::text is null or request_id = $6)
              and ($7::timestamptz is null or created_at >= $7) and ($8::timestamptz is null or created_at < $8)
              and seq < $9
            order by seq desc limit $10"#,
        wanted.actor.as_deref() as _,
        wanted.action.as_deref() as _,
        wanted.subject.as_deref() as _,
        wanted.step.as_deref() as _,
        wanted.act as _,
        wanted.request_id.as_deref() as _,
        wanted.from.map(|at| at.to_sqlx()) as _,
        wanted.until.map(|at| at.to_sqlx()) as _,
        before.unwrap_or(i64::MAX),
        limit,
    )
    .fetch_all(db)
    .await
}

/// Rows after the one numbered `after`, oldest first.
///
/// # Errors
/// What Postgres says.
pub async fn following(db: impl PgExecutor<'_>, after: i64, limit: i64) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select seq, id, act, step, actor, action, subject, detail::text as "detail!", request_id, trace_id,
                  created_at as "created_at: jiff_sqlx::Timestamp", hash
             from ops.audits where seq > $1 order by seq limit $2"#,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Number and hash of a row of the audit.
pub type Mark = (i64, Vec<u8>);

/// The end of the chain, as it says itself.
///
/// # Errors
/// What Postgres says.
pub async fn head(db: impl PgExecutor<'_>) -> Result<Mark, sqlx::Error> {
    let row = sqlx::query!("select seq, hash from ops.audit_head").fetch_one(db).await?;
    Ok((row.seq, row.hash))
}

/// Ends of the chain that earlier checks noted, the latest last.
///
/// # Errors
/// What Postgres says.
pub async fn marks(db: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Mark>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select audit_seq as "seq!", audit_hash as "hash!" from ops.runs
            where audit_seq is not null and audit_hash is not null order by audit_seq desc limit $1"#,
        limit
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().rev().map(|row| (row.seq, row.hash)).collect())
}

/// Acts since a time: asked of ops, or done elsewhere.
///
/// # Errors
/// What Postgres says.
pub async fn acts_since(db: impl PgExecutor<'_>, since: Timestamp) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(distinct act) as "count!" from ops.audits where created_at >= $1"#,
        since.to_sqlx() as _
    )
    .fetch_one(db)
    .await
}
