//! `rewards.inventory`.

use coreloop_rewards_api::v1::RewardsReason;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};

use crate::Error;

/// Something that can be had for points.
#[derive(Debug, Clone)]
pub struct Article {
    /// Name.
    pub sku: String,
    /// As it is shown.
    pub title: String,
    /// More about it.
    pub description: String,
    /// As the vendor names it.
    pub vendor_sku: String,
    /// Points.
    pub price: i64,
    /// What is left.
    pub stock: i64,
    /// Whether it is offered, as the contract numbers it.
    pub state: i16,
    /// From when.
    pub starts_at: Option<jiff_sqlx::Timestamp>,
    /// Until when.
    pub ends_at: Option<jiff_sqlx::Timestamp>,
}

/// A piece that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Points.
    pub price: i64,
    /// As the vendor names it.
    pub vendor_sku: String,
}

/// Sets a piece aside. Locks the article: the last one is had once.
///
/// # Errors
/// Why there is none to be had; when the database fails.
pub async fn take(connection: &mut PgConnection, sku: &str, now: Timestamp) -> Result<Piece, Error> {
    let taken = sqlx::query_as!(
        Piece,
        "update rewards.inventory set stock = stock - 1
          where sku = $1 and state = 1 and stock > 0 and (starts_at is null or starts_at <= $2)
            and (ends_at is null or ends_at > $2)
         returning price, vendor_sku",
        sku,
        now.to_sqlx() as _,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(piece) = taken {
        return Ok(piece);
    }
    let offered = sqlx::query_scalar!(
        r#"select (state = 1 and (starts_at is null or starts_at <= $2) and (ends_at is null or ends_at > $2)) as "offered!"
             from rewards.inventory where sku = $1"#,
        sku,
        now.to_sqlx() as _,
    )
    .fetch_optional(connection)
    .await?;
    Err(match offered {
        None => RewardsReason::RewardNotFound.into(),
        Some(false) => RewardsReason::RewardUnavailable.into(),
        Some(true) => RewardsReason::SoldOut.into(),
    })
}

/// Puts a piece back.
///
/// # Errors
/// When the database fails.
pub async fn give_back(connection: &mut PgConnection, sku: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("update rewards.inventory set stock = stock + 1 where sku = $1", sku).execute(connection).await?;
    Ok(())
}

/// Puts an article in, or changes it; `stock` none leaves what is there.
///
/// # Errors
/// When the database fails.
pub async fn put(
    connection: &mut PgConnection,
    article: &Article,
    stock: Option<i64>,
    by: &str,
    now: Timestamp,
) -> Result<Article, sqlx::Error> {
    sqlx::query_as!(
        Article,
        r#"insert into rewards.inventory as mine (sku, title, description, vendor_sku, price, stock, state, starts_at, ends_at,
                                                  updated_at, updated_by)
           values ($1, $2, $3, $4, $5, coalesce($6::bigint, 0), $7, $8, $9, $10, $11)
           on conflict on constraint inventory_pkey do update
              set title = $2, description = $3, vendor_sku = $4, price = $5, stock = coalesce($6::bigint, mine.stock), state = $7,
                  starts_at = $8, ends_at = $9, updated_at = $10, updated_by = $11
           returning sku, title, description, vendor_sku, price, stock, state,
                     starts_at as "starts_at: jiff_sqlx::Timestamp", ends_at as "ends_at: jiff_sqlx::Timestamp""#,
        article.sku,
        article.title,
        article.description,
        article.vendor_sku,
        article.price,
        stock,
        article.state,
        article.starts_at as _,
        article.ends_at as _,
        now.to_sqlx() as _,
        by,
    )
    .fetch_one(connection)
    .await
}

/// Changes whether an article is offered; none when there is no such article.
///
/// # Errors
/// When the database fails.
pub async fn set_state(
    connection: &mut PgConnection,
    sku: &str,
    state: i16,
    by: &str,
    now: Timestamp,
) -> Result<Option<Article>, sqlx::Error> {
    sqlx::query_as!(
        Article,
        r#"update rewards.inventory set state = $2, updated_at = $3, updated_by = $4 where sku = $1
           returning sku, title, description, vendor_sku, price, stock, state,
                     starts_at as "starts_at: jiff_sqlx::Timestamp", ends_at as "ends_at: jiff_sqlx::Timestamp""#,
        sku,
        state,
        now.to_sqlx() as _,
        by,
    )
    .fetch_optional(connection)
    .await
}

/// What is offered now, after `after`, by name.
///
/// # Errors
/// When the database fails.
pub async fn offered(
    db: impl PgExecutor<'_>,
    now: Timestamp,
    after: &str,
    limit: i64,
) -> Result<Vec<Article>, sqlx::Error> {
    sqlx::query_as!(
        Article,
        r#"select sku, title, description, vendor_sku, price, stock, state,
                  starts_at as "starts_at: jiff_sqlx::Timestamp", ends_at as "ends_at: jiff_sqlx::Timestamp"
             from rewards.inventory
            where state = 1 and (starts_at is null or starts_at <= $1) and (ends_at is null or ends_at > $1) and sku > $2
            order by sku limit $3"#,
        now.to_sqlx() as _,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}
