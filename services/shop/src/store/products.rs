//! The catalogue.

use coreloop_shop_api::v1::{Effect, Product};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use crate::time;

#[derive(Debug)]
struct Row {
    id: String,
    category: i16,
    name: String,
    price: i64,
    gold: i64,
    bonus: i64,
    effect: String,
    effect_amount: i64,
    effect_secs: i64,
    limit_once: bool,
    per_user_limit: i32,
    starts_at: Option<jiff_sqlx::Timestamp>,
    ends_at: Option<jiff_sqlx::Timestamp>,
    active: bool,
    stock: Option<i64>,
}

impl From<Row> for Product {
    fn from(row: Row) -> Self {
        let effect = Effect { code: row.effect, amount: row.effect_amount, duration_secs: row.effect_secs };
        Self {
            product_id: row.id,
            category: row.category.into(),
            name: row.name,
            price: row.price,
            gold: row.gold,
            bonus: row.bonus,
            effect: (!effect.code.is_empty()).then_some(effect),
            limit_once: row.limit_once,
            per_user_limit: row.per_user_limit,
            stock: row.stock,
            starts_at: row.starts_at.map(|at| time::proto(at.to_jiff())),
            ends_at: row.ends_at.map(|at| time::proto(at.to_jiff())),
            active: row.active,
        }
    }
}

/// All products, sold or not, by category and price.
///
/// # Errors
/// When the database fails.
pub async fn all(db: impl PgExecutor<'_>) -> Result<Vec<Product>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select p.id, p.category, p.name, p.price, p.gold, p.bonus, p.effect, p.effect_amount, p.effect_secs, p.limit_once,
                  p.per_user_limit, p.starts_at as "starts_at: jiff_sqlx::Timestamp",
                  p.ends_at as "ends_at: jiff_sqlx::Timestamp", p.active,
                  (select s.total from shop.stock s where s.product_id = p.id and s.limited) as stock
             from shop.products p
            order by p.category, p.price, p.id"#
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Product::from).collect())
}

/// Products by their ids.
///
/// # Errors
/// When the database fails.
pub async fn by_ids(db: impl PgExecutor<'_>, ids: &[String]) -> Result<Vec<Product>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select p.id, p.category, p.name, p.price, p.gold, p.bonus, p.effect, p.effect_amount, p.effect_secs, p.limit_once,
                  p.per_user_limit, p.starts_at as "starts_at: jiff_sqlx::Timestamp",
                  p.ends_at as "ends_at: jiff_sqlx::Timestamp", p.active,
                  (select s.total from shop.stock s where s.product_id = p.id and s.limited) as stock
             from shop.products p
            where p.id = any ($1)"#,
        ids
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Product::from).collect())
}

/// Pieces that are left of limited packages.
///
/// # Errors
/// When the database fails.
pub async fn left(db: impl PgExecutor<'_>) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select product_id, total - taken as "left!" from shop.stock where limited order by product_id"#
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.product_id, row.left)).collect())
}

/// A product with its stock, as changes of it are told of; locked.
///
/// # Errors
/// When the database fails.
pub async fn seen(conn: &mut PgConnection, id: &str) -> Result<Option<Value>, sqlx::Error> {
    let row = sqlx::query_scalar!(
        r#"select to_jsonb(p) - 'updated_at'
                  || jsonb_build_object('stock', (select s.total from shop.stock s where s.product_id = p.id and s.limited))
                  as "seen!"
             from shop.products p where p.id = $1 for update of p"#,
        id
    );
    row.fetch_optional(conn).await
}

/// Puts a product into the catalogue, or changes it. Its stock is never less than what was taken of it: what was promised
/// stays so, also while it is not limited.
///
/// # Errors
/// When the database fails, or refuses what no product is.
pub async fn upsert(conn: &mut PgConnection, product: &Product, now: Timestamp) -> Result<(), sqlx::Error> {
    let effect = product.effect.clone().unwrap_or_default();
    let at = |time: Option<&prost_types::Timestamp>| time.map(|at| time::read(at).to_sqlx());
    sqlx::query!(
        "insert into shop.products (id, category, name, price, gold, bonus, effect, effect_amount, effect_secs, limit_once,
                                    per_user_limit, starts_at, ends_at, active, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
         on conflict on constraint products_pkey do update set
             category = excluded.category, name = excluded.name, price = excluded.price, gold = excluded.gold,
             bonus = excluded.bonus, effect = excluded.effect, effect_amount = excluded.effect_amount,
             effect_secs = excluded.effect_secs, limit_once = excluded.limit_once,
             per_user_limit = excluded.per_user_limit, starts_at = excluded.starts_at, ends_at = excluded.ends_at,
             active = excluded.active, updated_at = excluded.updated_at",
        product.product_id,
        i16::try_from(product.category).unwrap_or_default(),
        product.name,
        product.price,
        product.gold,
        product.bonus,
        effect.code,
        effect.amount,
        effect.duration_secs,
        product.limit_once,
        product.per_user_limit,
        at(product.starts_at.as_ref()) as _,
        at(product.ends_at.as_ref()) as _,
        product.active,
        now.to_sqlx() as _,
    )
    .execute(&mut *conn)
    .await?;
    match product.stock {
        Some(total) => {
            sqlx::query!(
                "insert into shop.stock as mine (product_id, total) values ($1, $2)
             on conflict on constraint stock_pkey do update set total = greatest(excluded.total, mine.taken), limited = true",
                product.product_id,
                total
            )
            .execute(conn)
            .await?
        }
        None => {
            sqlx::query!("update shop.stock set limited = false where product_id = $1", product.product_id)
                .execute(conn)
                .await?
        }
    };
    Ok(())
}
