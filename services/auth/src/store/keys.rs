//! `auth.signing_keys`.

use coreloop_access::token::{Algorithm, Purpose};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use crate::Error;

/// A stored key.
#[derive(Debug, Clone)]
pub struct Row {
    /// Name.
    pub kid: String,
    /// `user`, `admin` or `internal`.
    pub purpose: String,
    /// `RS256`, `ES256` or `EdDSA`.
    pub alg: String,
    /// `next`, `active` or `retired`.
    pub state: String,
    /// PKCS#8, sealed.
    pub private_key: Vec<u8>,
    /// The public half.
    pub public_jwk: Value,
    /// When it was made, and so published.
    pub created_at: Timestamp,
    /// When it began to sign.
    pub activated_at: Option<jiff_sqlx::Timestamp>,
}

/// A key to be stored.
#[derive(Debug)]
pub struct NewKey<'a> {
    /// Name.
    pub kid: &'a str,
    /// What it may sign.
    pub purpose: Purpose,
    /// Algorithm.
    pub alg: Algorithm,
    /// PKCS#8, sealed.
    pub private_key: &'a [u8],
    /// The public half.
    pub public_jwk: Value,
}

/// Makes everybody else who makes or rotates keys wait to the end of the transaction.
///
/// # Errors
/// When the database fails.
pub async fn lock(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('auth.signing_keys', 0))").fetch_one(conn).await?;
    Ok(())
}

/// Keys that sign or verify, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list(db: impl PgExecutor<'_>, now: Timestamp) -> Result<Vec<Row>, Error> {
    Ok(sqlx::query_as!(
        Row,
        r#"select kid, purpose, alg, state, private_key, public_jwk, created_at as "created_at: jiff_sqlx::Timestamp",
                  activated_at as "activated_at: jiff_sqlx::Timestamp"
             from auth.signing_keys where state <> 'retired' or expires_at > $1 order by created_at, kid"#,
        now.to_sqlx() as _,
    )
    .fetch_all(db)
    .await?)
}

/// Stores a key as `next`, or as `active` where a purpose has none.
///
/// # Errors
/// When the database fails; by constraint when there is one in that state.
pub async fn insert(conn: &mut PgConnection, new: &NewKey<'_>, active: bool, now: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        r#"insert into auth.signing_keys (kid, purpose, alg, state, private_key, public_jwk, created_at, activated_at)
           values ($1, $2, $3, case when $7 then 'active' else 'next' end, $4, $5, $6, case when $7 then $6::timestamptz end)"#,
        new.kid,
        new.purpose.as_str(),
        new.alg.as_str(),
        new.private_key,
        new.public_jwk,
        now.to_sqlx() as _,
        active,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The active keys retire, verifying to `expires_at`; the next ones become active.
///
/// # Errors
/// When the database fails.
pub async fn promote(conn: &mut PgConnection, expires_at: Timestamp, now: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        r#"update auth.signing_keys set state = 'retired', retired_at = $1, expires_at = $2 where state = 'active'"#,
        now.to_sqlx() as _,
        expires_at.to_sqlx() as _,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "update auth.signing_keys set state = 'active', activated_at = $1 where state = 'next'",
        now.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Drops keys that verify nothing any more.
///
/// # Errors
/// When the database fails.
pub async fn sweep(db: impl PgExecutor<'_>, now: Timestamp) -> Result<u64, Error> {
    Ok(sqlx::query!("delete from auth.signing_keys where state = 'retired' and expires_at < $1", now.to_sqlx() as _)
        .execute(db)
        .await?
        .rows_affected())
}
