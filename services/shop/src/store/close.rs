//! A batch of purchases that end.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::{Error, facts::Fact, purchase::Purchase};

fn column<V>(rows: &[Box<Purchase>], value: impl FnMut(&Purchase) -> V) -> Vec<V> {
    let mut value = value;
    rows.iter().map(|row| value(row)).collect()
}

/// Locks what purchases give back when they end for nothing, in the order of those that begin.
///
/// # Errors
/// When the database fails.
pub async fn lock(db: impl PgExecutor<'_>, ids: &[Uuid]) -> Result<(), Error> {
    sqlx::query!(r#"select 1 as "done!" from shop.back($1)"#, ids).fetch_all(db).await?;
    Ok(())
}

/// Ends what of `ended` is open, with what its item does, what it gives back and its events: one statement. Answers what it
/// ended; the rest had been ended before, or was taken up by another, whose word counts: what was refused to one may have been
/// done for the next. What has been paid for is ended by whoever knows it.
///
/// # Errors
/// When the database fails.
#[expect(clippy::too_many_lines, reason = "one statement, and the columns it takes")]
pub async fn write(
    db: impl PgExecutor<'_>,
    ended: &[Box<Purchase>],
    facts: &[Fact],
    now: Timestamp,
) -> Result<HashSet<Uuid>, Error> {
    let receipt = |row: &Purchase| row.receipt.clone();
    let effects: Vec<_> = ended.iter().filter_map(|row| Some((row, row.effect()?))).collect();
    let rows = sqlx::query_scalar!(
        r#"
        with closed as (
            update shop.purchases p
               set state = v.state, reason = v.reason, detail = v.detail, balance = v.balance, owed = v.owed,
                   payment_id = v.payment_id, said_by = v.said_by, hash_version = v.hash_version,
                   integrity_hash = v.integrity_hash, key_version = v.key_version, signature = v.signature,
                   closed_at = v.closed_at, next_at = null
              from (select distinct on (id) *
                      from unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[],
                                  $8::text[], $9::smallint[], $10::bytea[], $11::integer[], $12::bytea[], $13::timestamptz[],
                                  $27::integer[])
                           with ordinality
                           as t(id, state, reason, detail, balance, owed, payment_id, said_by, hash_version, integrity_hash,
                                key_version, signature, closed_at, tries, ord)
                     order by id, ord) v
             where p.id = v.id and p.state < 3
               and (p.tries = v.tries or v.state = 3 and coalesce(p.verdict, 3) = 3)
         returning p.id, p.user_id, p.product_id, p.promo, p.state, p.took_stock, p.took_holding
        ), back as (
            select * from closed where state in (4, 5)
        ), stock as (
            update shop.stock s set taken = greatest(s.taken - b.n, 0)
              from (select product_id, count(*) as n from back where took_stock group by product_id) b
             where s.product_id = b.product_id
        ), holding as (
            update shop.holdings h set taken = greatest(h.taken - b.n, 0)
              from (select user_id, product_id, count(*) as n from back where took_holding group by user_id, product_id) b
             where h.user_id = b.user_id and h.product_id = b.product_id
        ), promo as (
            update shop.promos p set used = p.used - b.n
              from (select promo, count(*) as n from back where promo <> '' group by promo) b where p.code = b.promo
        ), promo_use as (
            update shop.promo_uses u set used = u.used - b.n
              from (select user_id, promo, count(*) as n from back where promo <> '' group by user_id, promo) b
             where u.user_id = b.user_id and u.code = b.promo
        ), effect as (
            insert into shop.effects (purchase_id, user_id, code, amount, duration_secs, applied_at)
            select c.id, c.user_id, e.code, e.amount, e.duration_secs, $26
              from unnest($14::uuid[], $15::text[], $16::bigint[], $17::bigint[]) as e(id, code, amount, duration_secs)
              join closed c on c.id = e.id and c.state = 3
            on conflict on constraint effects_pkey do nothing
        ), fact as (
            insert into shop.outbox
                (id, aggregatetype, aggregateid, type, payload, version, trace_id, traceparent, request_id, created_at)
            select f.id, 'shop', f.key, f.type, f.payload, 1, f.trace_id, f.traceparent, f.request_id, $26
              from (select distinct on (id) *
                      from unnest($18::uuid[], $19::uuid[], $20::text[], $21::text[], $22::jsonb[], $23::text[], $24::text[],
                                  $25::text[]) with ordinality
                           as t(id, purchase, key, type, payload, trace_id, traceparent, request_id, ord)
                     order by id, ord) f
              join closed c on c.id = f.purchase
             order by f.ord
        )
        select id as "id!" from closed
        "#,
        &column(ended, |row| row.id),
        &column(ended, |row| i16::try_from(i32::from(row.state)).unwrap_or_default()),
        &column(ended, |row| row.reason.clone()),
        &column(ended, |row| row.detail.clone()),
        &column(ended, |row| row.balance) as &[Option<i64>],
        &column(ended, |row| row.owed),
        &column(ended, |row| row.payment_id.clone()),
        &column(ended, |row| row.said_by.clone()),
        &column(ended, |row| receipt(row).map(|it| it.hash_version)) as &[Option<i16>],
        &column(ended, |row| receipt(row).map(|it| it.hash)) as &[Option<Vec<u8>>],
        &column(ended, |row| receipt(row).map(|it| it.key_version)) as &[Option<i32>],
        &column(ended, |row| receipt(row).map(|it| it.signature)) as &[Option<Vec<u8>>],
        &column(ended, |row| row.closed_at.unwrap_or(now).to_sqlx()) as &[jiff_sqlx::Timestamp],
        &effects.iter().map(|(row, _)| row.id).collect::<Vec<_>>(),
        &effects.iter().map(|(_, effect)| effect.code.clone()).collect::<Vec<_>>(),
        &effects.iter().map(|(_, effect)| effect.amount).collect::<Vec<_>>(),
        &effects.iter().map(|(_, effect)| effect.duration_secs).collect::<Vec<_>>(),
        &facts.iter().map(|fact| fact.id).collect::<Vec<_>>(),
        &facts.iter().map(|fact| fact.purchase).collect::<Vec<_>>(),
        &facts.iter().map(|fact| fact.user.clone()).collect::<Vec<_>>(),
        &facts.iter().map(|fact| fact.event.to_owned()).collect::<Vec<_>>(),
        &facts.iter().map(|fact| fact.payload.clone()).collect::<Vec<_>>() as &[Value],
        &facts.iter().map(|fact| fact.origin.trace_id.clone()).collect::<Vec<_>>(),
        &facts.iter().map(|fact| fact.origin.traceparent.clone()).collect::<Vec<_>>(),
        &facts.iter().map(|fact| fact.origin.request_id.clone()).collect::<Vec<_>>(),
        now.to_sqlx() as jiff_sqlx::Timestamp,
        &column(ended, |row| row.tries),
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().collect())
}
