//! Promo codes.

use coreloop_shop_api::v1::Promo;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use crate::time;

/// A code, as changes of it are told of; locked.
///
/// # Errors
/// When the database fails.
pub async fn seen(conn: &mut PgConnection, code: &str) -> Result<Option<Value>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select to_jsonb(p) - 'updated_at' - 'used' as "seen!" from shop.promos p where p.code = $1 for update of p"#,
        code
    )
    .fetch_optional(conn)
    .await
}

/// Makes a code, or changes it; answers how often it was used and may be. It is never allowed fewer uses than it had.
///
/// # Errors
/// When the database fails.
pub async fn upsert(db: impl PgExecutor<'_>, promo: &Promo, now: Timestamp) -> Result<(i64, i64), sqlx::Error> {
    let at = |time: Option<&prost_types::Timestamp>| time.map(|at| time::read(at).to_sqlx());
    let row = sqlx::query!(
        "insert into shop.promos as mine (code, kind, value, products, max_uses, per_user, starts_at, ends_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict on constraint promos_pkey do update set
             kind = excluded.kind, value = excluded.value, products = excluded.products, per_user = excluded.per_user,
             max_uses = case when excluded.max_uses = 0 then 0 else greatest(excluded.max_uses, mine.used) end,
             starts_at = excluded.starts_at, ends_at = excluded.ends_at, updated_at = excluded.updated_at
         returning used, max_uses",
        promo.code,
        i16::try_from(promo.kind).unwrap_or_default(),
        promo.value,
        &promo.product_ids,
        i64::from(promo.max_uses),
        i64::from(promo.per_user),
        at(promo.starts_at.as_ref()) as _,
        at(promo.ends_at.as_ref()) as _,
        now.to_sqlx() as _,
    )
    .fetch_one(db)
    .await?;
    Ok((row.used, row.max_uses))
}
