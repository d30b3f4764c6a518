//! What administrators change and read of accounts.

use coreloop_access::Roles;
use coreloop_core::UserId;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::Error;

/// Sets the roles of an account. Lock it first.
///
/// # Errors
/// When the database fails.
pub async fn set_roles(conn: &mut PgConnection, user: UserId, roles: Roles, now: Timestamp) -> Result<(), Error> {
    let names: Vec<String> = roles.iter().map(|role| role.as_str().to_owned()).collect();
    sqlx::query!("update auth.users set roles = $2, updated_at = $3 where id = $1", user.0, &names, now.to_sqlx() as _)
        .execute(conn)
        .await?;
    Ok(())
}

/// Sets the status of an account that is not closed. Lock it first.
///
/// # Errors
/// When the database fails.
pub async fn set_status(conn: &mut PgConnection, user: UserId, status: &str, now: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        "update auth.users set status = $2, updated_at = $3 where id = $1 and status <> 'withdrawn'",
        user.0,
        status,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One try to sign in.
#[derive(Debug, Clone)]
pub struct Audited {
    /// Id.
    pub id: Uuid,
    /// User; none when the account is unknown.
    pub user_id: Option<Uuid>,
    /// How.
    pub method: String,
    /// Provider of a social sign-in.
    pub provider: String,
    /// Token that was issued.
    pub jti: Option<Uuid>,
    /// Address of the client.
    pub ip: String,
    /// User agent of the client.
    pub user_agent: String,
    /// `ok` or the reason of the refusal.
    pub outcome: String,
    /// When.
    pub occurred_at: Timestamp,
}

/// The sign-in audit, newest first, of one user or of all, after `before`.
///
/// # Errors
/// When the database fails.
pub async fn audits(
    db: impl PgExecutor<'_>,
    user: Option<UserId>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Audited>, Error> {
    Ok(sqlx::query_as!(
        Audited,
        r#"select id, user_id, method, provider, jti, ip, user_agent, outcome,
                  occurred_at as "occurred_at: jiff_sqlx::Timestamp"
             from auth.login_audits
            where ($1::uuid is null or user_id = $1) and ($2::uuid is null or id < $2)
            order by id desc limit $3"#,
        user.map(|user| user.0),
        before,
        limit,
    )
    .fetch_all(db)
    .await?)
}
