//! `auth.login_audits`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::{Error, audit::Audit};

/// Stores records; one that is stored already stays as it is. Those of a person who has withdrawn name no address and no
/// device: a record may have waited in the queue while they did.
///
/// # Errors
/// When the database fails.
pub async fn insert(db: impl PgExecutor<'_>, audits: &[Audit]) -> Result<(), Error> {
    if audits.is_empty() {
        return Ok(());
    }
    let text = |of: fn(&Audit) -> &str| audits.iter().map(|audit| of(audit).to_owned()).collect::<Vec<String>>();
    let ids: Vec<Uuid> = audits.iter().map(|audit| audit.id).collect();
    let users: Vec<Option<Uuid>> = audits.iter().map(|audit| audit.user_id.map(|id| id.0)).collect();
    let tokens: Vec<Option<Uuid>> = audits.iter().map(|audit| audit.jti.map(|id| id.0)).collect();
    let times: Vec<jiff_sqlx::Timestamp> = audits.iter().map(|audit| audit.occurred_at.to_sqlx()).collect();
    sqlx::query!(
        r#"insert into auth.login_audits (id, user_id, method, provider, jti, ip, user_agent, outcome, occurred_at)
           select t.id, t.user_id, t.method, t.provider, t.jti,
                  case when u.status = 'withdrawn' then '' else t.ip end,
                  case when u.status = 'withdrawn' then '' else t.user_agent end, t.outcome, t.occurred_at
             from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::timestamptz[])
                    as t(id, user_id, method, provider, jti, ip, user_agent, outcome, occurred_at)
             left join auth.users u on u.id = t.user_id
           on conflict (id) do nothing"#,
        &ids,
        &users as _,
        &text(|audit| &audit.method),
        &text(|audit| &audit.provider),
        &tokens as _,
        &text(|audit| &audit.ip),
        &text(|audit| &audit.user_agent),
        &text(|audit| &audit.outcome),
        times as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Masks records of people who have withdrawn since `since`; answers how many. [`insert`] does not see a withdrawal that
/// commits while it runs, nor does the withdrawal see its records; taking the account's lock would close that gap too, but
/// then a sign-in would wait for the audit of another.
///
/// # Errors
/// When the database fails.
pub async fn mask_withdrawn(db: impl PgExecutor<'_>, since: Timestamp) -> Result<u64, Error> {
    let done = sqlx::query!(
        r#"update auth.login_audits a set ip = '', user_agent = ''
             from auth.users u
            where u.withdrawn_at >= $1 and a.user_id = u.id and (a.ip <> '' or a.user_agent <> '')"#,
        since.to_sqlx() as _,
    );
    Ok(done.execute(db).await?.rows_affected())
}
