//! `auth.login_audits`.

use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::{Error, audit::Audit};

/// Stores records; one that is stored already stays as it is.
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
           select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::timestamptz[])
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
