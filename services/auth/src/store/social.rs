//! `auth.social_accounts`.

use coreloop_core::UserId;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};

use crate::{Error, social::profile::Identity};

/// A linked social account.
#[derive(Debug, Clone)]
pub struct Link {
    /// Account it is linked to.
    pub user_id: UserId,
    /// Provider.
    pub provider: String,
    /// Address the provider told; empty when it told none.
    pub email: String,
    /// When it was linked.
    pub linked_at: Timestamp,
}

/// What a finished sign-in stands on until it becomes a session. Compared as it was then and is now, by rows and not by
/// clocks: replicas need not agree on the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Standing {
    /// Since when the identity is linked to the account.
    pub linked_at: Timestamp,
    /// When the account's password was set last; none when it has none.
    pub password_set_at: Option<Timestamp>,
}

/// What a sign-in of `user` by an identity stands on; none when the identity is not linked to them. Lock the account first.
///
/// # Errors
/// When the database fails.
pub async fn standing(
    conn: &mut PgConnection,
    user: UserId,
    provider: &str,
    id: &str,
) -> Result<Option<Standing>, Error> {
    let row = sqlx::query!(
        r#"select s.linked_at as "linked_at: jiff_sqlx::Timestamp", c.changed_at as "changed_at?: jiff_sqlx::Timestamp"
             from auth.social_accounts s left join auth.credentials c on c.user_id = s.user_id
            where s.provider = $1 and s.provider_user_id = $2 and s.user_id = $3"#,
        provider,
        id,
        user.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Standing {
        linked_at: row.linked_at.to_jiff(),
        password_set_at: row.changed_at.map(jiff_sqlx::Timestamp::to_jiff),
    }))
}

/// The account that an identity at a provider belongs to.
///
/// # Errors
/// When the database fails.
pub async fn owner(db: impl PgExecutor<'_>, provider: &str, id: &str) -> Result<Option<UserId>, Error> {
    let owner = sqlx::query_scalar!(
        "select user_id from auth.social_accounts where provider = $1 and provider_user_id = $2",
        provider,
        id,
    );
    Ok(owner.fetch_optional(db).await?.map(UserId))
}

/// One link.
///
/// # Errors
/// When the database fails.
pub async fn find(db: impl PgExecutor<'_>, provider: &str, id: &str) -> Result<Option<Link>, Error> {
    Ok(sqlx::query_as!(
        Link,
        r#"select user_id, provider, email, linked_at as "linked_at: jiff_sqlx::Timestamp"
             from auth.social_accounts where provider = $1 and provider_user_id = $2"#,
        provider,
        id,
    )
    .fetch_optional(db)
    .await?)
}

/// The links of an account, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn of_user(db: impl PgExecutor<'_>, user: UserId) -> Result<Vec<Link>, Error> {
    Ok(sqlx::query_as!(
        Link,
        r#"select user_id, provider, email, linked_at as "linked_at: jiff_sqlx::Timestamp"
             from auth.social_accounts where user_id = $1 order by linked_at, provider, provider_user_id"#,
        user.0,
    )
    .fetch_all(db)
    .await?)
}

/// Links an identity; `false` when it is linked already, to whomever.
///
/// # Errors
/// When the database fails.
pub async fn link(
    conn: &mut PgConnection,
    user: UserId,
    provider: &str,
    identity: &Identity,
    now: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        r#"insert into auth.social_accounts (provider, provider_user_id, user_id, email, email_verified, linked_at)
           values ($1, $2, $3, $4, $5, $6)
           on conflict (provider, provider_user_id) do nothing"#,
        provider,
        identity.provider_user_id,
        user.0,
        identity.email.as_deref().unwrap_or_default(),
        identity.email_verified,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes a sign-in and what the provider tells now; `false` when the identity is not, or no longer, linked to `user`. Lock the
/// account first: the link then stays until the transaction ends.
///
/// # Errors
/// When the database fails.
pub async fn used(
    conn: &mut PgConnection,
    user: UserId,
    provider: &str,
    identity: &Identity,
    now: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        r#"update auth.social_accounts set last_used_at = $3, email = $4, email_verified = $5
            where provider = $1 and provider_user_id = $2 and user_id = $6"#,
        provider,
        identity.provider_user_id,
        now.to_sqlx() as _,
        identity.email.as_deref().unwrap_or_default(),
        identity.email_verified,
        user.0,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes an account's links at a provider and answers how many there were. Lock the account first.
///
/// # Errors
/// When the database fails.
pub async fn unlink(conn: &mut PgConnection, user: UserId, provider: &str) -> Result<u64, Error> {
    let done = sqlx::query!("delete from auth.social_accounts where user_id = $1 and provider = $2", user.0, provider);
    Ok(done.execute(conn).await?.rows_affected())
}

/// Removes the links that do not carry the proven address `email`. Lock the account first.
///
/// # Errors
/// When the database fails.
pub async fn unlink_strangers(conn: &mut PgConnection, user: UserId, email: &str) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from auth.social_accounts where user_id = $1 and not (email_verified and email = $2)",
        user.0,
        email,
    );
    Ok(done.execute(conn).await?.rows_affected())
}

/// How many ways an account can sign in: its password and its links.
///
/// # Errors
/// When the database fails.
pub async fn methods(db: impl PgExecutor<'_>, user: UserId) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"select (select count(*) from auth.credentials where user_id = $1)
                + (select count(*) from auth.social_accounts where user_id = $1) as "count!""#,
        user.0,
    )
    .fetch_one(db)
    .await?)
}
