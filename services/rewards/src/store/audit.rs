//! `rewards.reward_audit`, and what is missing in it.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// A line of the audit.
#[derive(Debug, Clone)]
pub struct Line<'a> {
    /// The grant or redemption.
    pub subject: Uuid,
    /// What happened to it, in a word; each once.
    pub step: &'a str,
    /// Who did it.
    pub actor: &'a str,
    /// Whose it is.
    pub user: Uuid,
    /// What it was.
    pub detail: serde_json::Value,
}

/// Writes a line, in the transaction of what it tells of.
///
/// # Errors
/// When the step was written before; when the database fails.
pub async fn write(connection: &mut PgConnection, line: &Line<'_>, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into rewards.reward_audit (subject, step, actor, user_id, detail, created_at) values ($1, $2, $3, $4, $5, $6)",
        line.subject,
        line.step,
        line.actor,
        line.user,
        line.detail,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives the statements of this transaction as long as they need; the service's own are short.
///
/// # Errors
/// When the database fails.
pub async fn take_time(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("select set_config('statement_timeout', '60min', true)").fetch_one(connection).await?;
    Ok(())
}

/// Notes gaps that were none before, and answers them: a grant without the line of its state, a line without its grant, both
/// of those after `since`; a grant that was promised before `old` and is pending still.
///
/// # Errors
/// When the database fails.
pub async fn sweep_grants(
    db: impl PgExecutor<'_>,
    now: Timestamp,
    old: Timestamp,
    since: Timestamp,
) -> Result<Vec<(Uuid, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"with gaps as (
               select g.id as subject, 'grant_asked_unwritten' as what from rewards.grants g
                where g.created_at > $3
                  and not exists (select from rewards.reward_audit a where a.subject = g.id and a.step = 'asked')
               union all
               select g.id, 'grant_end_unwritten' from rewards.grants g
                where g.state in (2, 3) and g.created_at > $3 and not exists (
                      select from rewards.reward_audit a where a.subject = g.id
                         and a.step = case g.state when 2 then 'granted' else 'refused' end)
               union all
               select a.subject, 'grant_missing' from rewards.reward_audit a
                where a.created_at > $3 and a.detail ->> 'what' = 'grant' and a.step in ('granted', 'refused') and not exists (
                      select from rewards.grants g where g.id = a.subject
                         and g.state = case a.step when 'granted' then 2 else 3 end)
               union all
               select g.id, 'grant_pending' from rewards.grants g where g.state = 1 and g.created_at <= $2
           )
           insert into rewards.audit_gaps (subject, what, found_at)
           select distinct subject, what, $1::timestamptz from gaps
            where not exists (select from rewards.audit_gaps g
                               where g.subject = gaps.subject and g.what = gaps.what and g.gone_at is null) limit 1000
           on conflict on constraint audit_gaps_pkey do update set found_at = excluded.found_at, gone_at = null
           returning subject, what"#,
        now.to_sqlx() as _,
        old.to_sqlx() as _,
        since.to_sqlx() as _,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.subject, row.what)).collect())
}

/// As [`sweep_grants`], of redemptions.
///
/// # Errors
/// When the database fails.
pub async fn sweep_redemptions(
    db: impl PgExecutor<'_>,
    now: Timestamp,
    old: Timestamp,
    since: Timestamp,
) -> Result<Vec<(Uuid, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"with steps as (
               select r.id, r.created_at, r.state, unnest(case r.state
                   when 1 then array['requested'] when 2 then array['requested', 'paid']
                   when 3 then array['requested', 'paid', 'issued']
                   when 4 then array['requested', case when paid_at is null then 'cancelled' else 'paid' end, 'returning']
                   when 5 then array['requested', case when paid_at is null then 'cancelled' else 'paid' end, 'returning',
                                     'failed']
                   else array['requested', 'cancelled'] end) as step
                 from rewards.redemptions r where r.created_at > $3
           ), gaps as (
               select s.id as subject, 'redemption_' || s.step || '_unwritten' as what from steps s
                where not exists (select from rewards.reward_audit a where a.subject = s.id and a.step = s.step)
               union all
               select a.subject, 'redemption_missing' from rewards.reward_audit a
                where a.created_at > $3 and a.detail ->> 'what' = 'redemption' and a.step = 'requested'
                  and not exists (select from rewards.redemptions r where r.id = a.subject)
               union all
               select r.id, 'redemption_pending' from rewards.redemptions r where r.state in (1, 2, 4) and r.created_at <= $2
           )
           insert into rewards.audit_gaps (subject, what, found_at)
           select distinct subject, what, $1::timestamptz from gaps
            where not exists (select from rewards.audit_gaps g
                               where g.subject = gaps.subject and g.what = gaps.what and g.gone_at is null) limit 1000
           on conflict on constraint audit_gaps_pkey do update set found_at = excluded.found_at, gone_at = null
           returning subject, what"#,
        now.to_sqlx() as _,
        old.to_sqlx() as _,
        since.to_sqlx() as _,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.subject, row.what)).collect())
}

/// Notes of gaps that they are none any more: what was pending has ended, what was missing is there.
///
/// # Errors
/// When the database fails.
pub async fn mend(db: impl PgExecutor<'_>, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"update rewards.audit_gaps a set gone_at = $1
            where a.gone_at is null and not case
                when a.what = 'grant_asked_unwritten' then
                    exists (select from rewards.grants g where g.id = a.subject)
                    and not exists (select from rewards.reward_audit l where l.subject = a.subject and l.step = 'asked')
                when a.what = 'grant_end_unwritten' then exists (
                    select from rewards.grants g where g.id = a.subject and g.state in (2, 3) and not exists (
                        select from rewards.reward_audit l where l.subject = g.id
                           and l.step = case g.state when 2 then 'granted' else 'refused' end))
                when a.what = 'grant_missing' then exists (
                    select from rewards.reward_audit l
                     where l.subject = a.subject and l.step in ('granted', 'refused') and not exists (
                           select from rewards.grants g where g.id = l.subject
                              and g.state = case l.step when 'granted' then 2 else 3 end))
                when a.what = 'grant_pending' then
                    exists (select from rewards.grants g where g.id = a.subject and g.state = 1)
                when a.what = 'redemption_missing' then
                    not exists (select from rewards.redemptions r where r.id = a.subject)
                when a.what = 'redemption_pending' then
                    exists (select from rewards.redemptions r where r.id = a.subject and r.state in (1, 2, 4))
                else not exists (
                    select from rewards.reward_audit l where l.subject = a.subject
                       and l.step = substring(a.what from '^redemption_(.*)_unwritten$'))
            end"#,
        now.to_sqlx() as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How many gaps there are.
///
/// # Errors
/// When the database fails.
pub async fn gaps(db: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from rewards.audit_gaps where gone_at is null"#)
        .fetch_one(db)
        .await
}
