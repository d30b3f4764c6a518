//! `shop.receipt_keys`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};

/// A key, without the secret.
#[derive(Debug)]
pub struct Row {
    /// Which.
    pub version: i32,
    /// Salt.
    pub salt: Vec<u8>,
    /// `next`, `active`, `retired`.
    pub state: String,
}

/// All of them.
///
/// # Errors
/// When the database fails.
pub async fn all(db: impl PgExecutor<'_>) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(Row, "select version, salt, state from shop.receipt_keys order by version").fetch_all(db).await
}

/// Makes the first two, unless another did.
///
/// # Errors
/// When the database fails.
pub async fn first(db: impl PgExecutor<'_>, salts: [&[u8]; 2], now: Timestamp) -> Result<(), sqlx::Error> {
    let [active, next] = salts;
    sqlx::query!(
        "insert into shop.receipt_keys (version, salt, state, created_at, activated_at)
         values (1, $1, 'active', $3, $3), (2, $2, 'next', $3, null)
         on conflict do nothing",
        active,
        next,
        now.to_sqlx() as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Lets the next key sign where the active one signs since before `before`, and makes another next one; answers whether it
/// did.
///
/// # Errors
/// When the database fails.
pub async fn rotate(
    conn: &mut PgConnection,
    before: Timestamp,
    salt: &[u8],
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let retired = sqlx::query!(
        "update shop.receipt_keys set state = 'retired' where state = 'active' and activated_at < $1",
        before.to_sqlx() as _,
    )
    .execute(&mut *conn)
    .await?;
    if retired.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "update shop.receipt_keys set state = 'active', activated_at = $1 where state = 'next'",
        now.to_sqlx() as _,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into shop.receipt_keys (version, salt, state, created_at)
         select max(version) + 1, $1, 'next', $2 from shop.receipt_keys",
        salt,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(true)
}
