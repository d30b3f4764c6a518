//! `ops.runs`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

/// A run as it stands.
#[derive(Debug, Clone)]
pub struct Row {
    /// Id.
    pub id: Uuid,
    /// Job.
    pub job: String,
    /// On what.
    pub subject: String,
    /// `asked`, `running`, `done` or `failed`.
    pub state: String,
    /// Who asked.
    pub asked_by: String,
    /// When.
    pub asked_at: jiff_sqlx::Timestamp,
    /// When it was begun, the last time.
    pub started_at: Option<jiff_sqlx::Timestamp>,
    /// When it ended.
    pub ended_at: Option<jiff_sqlx::Timestamp>,
    /// How often it was begun.
    pub attempts: i32,
    /// Nothing was wrong; of one that is done.
    pub sound: Option<bool>,
    /// What was looked at: `[{"name", "value"}]`.
    pub counts: Value,
    /// What does not fit: `[{"what", "subject", "detail"}]`.
    pub findings: Value,
    /// Why it came to nothing.
    pub error: String,
}

/// Asks for a job, unless it waits or runs already.
///
/// # Errors
/// What Postgres says.
pub async fn ask(
    db: impl PgExecutor<'_>,
    id: Uuid,
    (job, subject): (&str, &str),
    asked_by: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into ops.runs (id, job, subject, state, asked_by, asked_at) values ($1, $2, $3, 'asked', $4, $5)
         on conflict (job, subject) where state in ('asked', 'running') do nothing",
        id,
        job,
        subject,
        asked_by,
        now.to_sqlx() as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The newest run of a job on each of `subjects`; those that never ran are left out.
///
/// # Errors
/// What Postgres says.
pub async fn newest(db: impl PgExecutor<'_>, job: &str, subjects: &[String]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select r.id, r.job, r.subject, r.state, r.asked_by, r.asked_at as "asked_at: jiff_sqlx::Timestamp",
                  r.started_at as "started_at: jiff_sqlx::Timestamp", r.ended_at as "ended_at: jiff_sqlx::Timestamp",
                  r.attempts, r.sound, r.counts, r.findings, r.error
             from unnest($2::text[]) as s(subject)
             join lateral (select * from ops.runs r where r.job = $1 and r.subject = s.subject
                            order by r.asked_at desc, r.id desc limit 1) r on true
            order by r.subject"#,
        job,
        subjects,
    )
    .fetch_all(db)
    .await
}

/// The newest run of a job on each of `subjects` that came to its end; others are left out.
///
/// # Errors
/// What Postgres says.
pub async fn last_ended(db: impl PgExecutor<'_>, job: &str, subjects: &[String]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select r.id, r.job, r.subject, r.state, r.asked_by, r.asked_at as "asked_at: jiff_sqlx::Timestamp",
                  r.started_at as "started_at: jiff_sqlx::Timestamp", r.ended_at as "ended_at: jiff_sqlx::Timestamp",
                  r.attempts, r.sound, r.counts, r.findings, r.error
             from unnest($2::text[]) as s(subject)
             join lateral (select * from ops.runs r
                            where r.job = $1 and r.subject = s.subject and r.state in ('done', 'failed')
                            order by r.asked_at desc, r.id desc limit 1) r on true
            order by r.subject"#,
        job,
        subjects,
    )
    .fetch_all(db)
    .await
}

/// Subjects that a job ever ran on.
///
/// # Errors
/// What Postgres says.
pub async fn subjects(db: impl PgExecutor<'_>, job: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!("select distinct subject from ops.runs where job = $1 order by subject", job)
        .fetch_all(db)
        .await
}

/// One run.
///
/// # Errors
/// What Postgres says.
pub async fn find(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select id, job, subject, state, asked_by, asked_at as "asked_at: jiff_sqlx::Timestamp",
                  started_at as "started_at: jiff_sqlx::Timestamp", ended_at as "ended_at: jiff_sqlx::Timestamp",
                  attempts, sound, counts, findings, error
             from ops.runs where id = $1"#,
        id,
    )
    .fetch_optional(db)
    .await
}

/// Runs, newest first, before the one that was asked for at a time under an id.
///
/// # Errors
/// What Postgres says.
pub async fn page(
    db: impl PgExecutor<'_>,
    (job, subject): (Option<&str>, Option<&str>),
    before: Option<(Timestamp, Uuid)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let (at, id) = before.unwrap_or((Timestamp::MAX, Uuid::max()));
    sqlx::query_as!(
        Row,
        r#"select id, job, subject, state, asked_by, asked_at as "asked_at: jiff_sqlx::Timestamp",
                  started_at as "started_at: jiff_sqlx::Timestamp", ended_at as "ended_at: jiff_sqlx::Timestamp",
                  attempts, sound, counts, findings, error
             from ops.runs
            where ($1::text is null or job = $1) and ($2::text is null or subject = $2) and (asked_at, id) < ($3, $4)
            order by asked_at desc, id desc limit $5"#,
        job as _,
        subject as _,
        at.to_sqlx() as _,
        id,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Runs that wait for their turn, the oldest first.
///
/// # Errors
/// What Postgres says.
pub async fn asked(db: impl PgExecutor<'_>) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select id, job, subject, state, asked_by, asked_at as "asked_at: jiff_sqlx::Timestamp",
                  started_at as "started_at: jiff_sqlx::Timestamp", ended_at as "ended_at: jiff_sqlx::Timestamp",
                  attempts, sound, counts, findings, error
             from ops.runs where state = 'asked' order by asked_at, id"#,
    )
    .fetch_all(db)
    .await
}

/// There are runs that wait, or that run somewhere.
///
/// # Errors
/// What Postgres says.
pub async fn open(db: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select exists (select from ops.runs where state in ('asked', 'running')) as "open!""#)
        .fetch_one(db)
        .await
}

/// What runs is nobody's any more: it waits again, or has failed when it was begun `most` times. For whoever holds the
/// lease.
///
/// # Errors
/// What Postgres says.
pub async fn orphaned(db: impl PgExecutor<'_>, most: i32, now: Timestamp) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "update ops.runs
            set state = case when attempts >= $1 then 'failed' else 'asked' end,
                ended_at = case when attempts >= $1 then $2::timestamptz end,
                error = case when attempts >= $1 then 'the process that ran it died each time' else '' end
          where state = 'running'",
        most,
        now.to_sqlx() as _,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Begins a run; answers which beginning it is, none when it does not wait any more.
///
/// # Errors
/// What Postgres says.
pub async fn start(db: impl PgExecutor<'_>, id: Uuid, now: Timestamp) -> Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar!(
        "update ops.runs set state = 'running', started_at = $2, attempts = attempts + 1
          where id = $1 and state = 'asked' returning attempts",
        id,
        now.to_sqlx() as _,
    )
    .fetch_optional(db)
    .await
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Nothing was wrong; none: it came to nothing.
    pub sound: Option<bool>,
    /// What was looked at.
    pub counts: Value,
    /// What does not fit.
    pub findings: Value,
    /// Why it came to nothing.
    pub error: String,
    /// The end of the audit, when it was that which was looked at.
    pub mark: Option<super::audits::Mark>,
}

/// Ends the run that was begun as `attempt`; false when it is not that one's any more.
///
/// # Errors
/// What Postgres says.
pub async fn end(
    db: impl PgExecutor<'_>,
    (id, attempt): (Uuid, i32),
    ended: &Ended,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update ops.runs
            set state = case when $3::boolean is null then 'failed' else 'done' end, ended_at = $4, sound = $3,
                counts = $5, findings = $6, error = $7, audit_seq = $8, audit_hash = $9
          where id = $1 and attempts = $2 and state = 'running'",
        id,
        attempt,
        ended.sound as _,
        now.to_sqlx() as _,
        ended.counts,
        ended.findings,
        ended.error,
        ended.mark.as_ref().map(|(seq, _)| *seq) as _,
        ended.mark.as_ref().map(|(_, hash)| hash.as_slice()) as _,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}
