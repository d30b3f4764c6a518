//! Reads of everything, to recompute it.

use std::collections::HashMap;

use coreloop_ops_api::integrity::Finding;
use coreloop_shop_api::v1::Effect;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::purchases::row;
use crate::purchase::Purchase;

/// What was done for purchases.
pub type Effects = HashMap<Uuid, Effect>;

/// Gives the statements of this transaction as long as they need; the service's own are short.
///
/// # Errors
/// When the database fails.
pub async fn take_time(conn: &mut PgConnection, minutes: u32) -> Result<(), sqlx::Error> {
    sqlx::query!("select set_config('statement_timeout', $1, true)", format!("{minutes}min")).fetch_one(conn).await?;
    Ok(())
}

/// Counts that do not fit: pieces, places and promo codes that are taken, against the purchases that took them and did not
/// give them back; effects of what is not confirmed.
///
/// # Errors
/// When the database fails.
pub async fn sums(db: impl PgExecutor<'_>) -> Result<Vec<Finding>, sqlx::Error> {
    sqlx::query_as!(
        Finding,
        r#"
        with live as materialized (
            select user_id, product_id, promo, took_stock, took_holding from shop.purchases
             where state < 4 and (took_stock or took_holding or promo <> '')
        )
        select 'stock' as "what!", s.product_id as "subject!",
               format('%s of %s are taken, and %s purchases have one', s.taken, s.total, coalesce(l.n, 0)) as "detail!"
          from shop.stock s
          left join (select product_id, count(*) as n from live where took_stock group by product_id) l using (product_id)
         where s.taken <> coalesce(l.n, 0) or s.taken > s.total
        union all
        select 'holding', user_id || '/' || product_id,
               format('%s places are taken, and %s purchases have one', coalesce(h.taken, 0), coalesce(l.n, 0))
          from shop.holdings h
          full join (select user_id, product_id, count(*) as n from live where took_holding group by user_id, product_id) l
                    using (user_id, product_id)
         where coalesce(h.taken, 0) <> coalesce(l.n, 0)
        union all
        select 'promo', code, format('%s uses are taken, and %s purchases have one', p.used, coalesce(l.n, 0))
          from shop.promos p
          left join (select promo as code, count(*) as n from live where promo <> '' group by promo) l using (code)
         where p.used <> coalesce(l.n, 0)
        union all
        select 'promo_use', user_id || '/' || code,
               format('%s uses are taken, and %s purchases have one', coalesce(u.used, 0), coalesce(l.n, 0))
          from shop.promo_uses u
          full join (select user_id, promo as code, count(*) as n from live where promo <> '' group by user_id, promo) l
                    using (user_id, code)
         where coalesce(u.used, 0) <> coalesce(l.n, 0)
        union all
        select 'effect', e.purchase_id::text, 'something was done for what is not confirmed'
          from shop.effects e left join shop.purchases p on p.id = e.purchase_id where p.state is distinct from 3
        limit 100
        "#
    )
    .fetch_all(db)
    .await
}

/// Purchases that are over, after an id, in the order of their ids.
///
/// # Errors
/// When the database fails.
pub async fn over(db: impl PgExecutor<'_>, after: Uuid, limit: i64) -> Result<Vec<Purchase>, sqlx::Error> {
    let rows =
        row!("select", "from shop.purchases p where p.id > $1 and p.state > 2 order by p.id limit $2", after, limit)
            .fetch_all(db)
            .await?;
    Ok(rows.into_iter().map(Purchase::from).collect())
}

/// What was done for purchases; those for which nothing was are left out.
///
/// # Errors
/// When the database fails.
pub async fn effects(db: impl PgExecutor<'_>, ids: &[Uuid]) -> Result<Effects, sqlx::Error> {
    let rows = sqlx::query!(
        "select purchase_id, code, amount, duration_secs from shop.effects where purchase_id = any ($1)",
        ids
    )
    .fetch_all(db)
    .await?;
    let effect = |code, amount, duration_secs| Effect { code, amount, duration_secs };
    Ok(rows.into_iter().map(|row| (row.purchase_id, effect(row.code, row.amount, row.duration_secs))).collect())
}
