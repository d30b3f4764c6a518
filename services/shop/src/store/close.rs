//! A batch of purchases that end.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::{Error, facts::Fact, purchase::Purchase};

/// A purchase that ends, with what there is to tell of it: one fact, or two.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The purchase.
    pub purchase: &'a Purchase,
    /// Its place among those whose facts are told together.
    pub place: i32,
    /// Told first.
    pub fact: Fact,
    /// Told after it.
    pub second: Option<Fact>,
}

fn column<V>(rows: &[Ended<'_>], mut value: impl FnMut(&Purchase) -> V) -> Vec<V> {
    rows.iter().map(|row| value(row.purchase)).collect()
}

fn first<V>(rows: &[Ended<'_>], value: impl FnMut(&Fact) -> V) -> Vec<V> {
    rows.iter().map(|row| &row.fact).map(value).collect()
}

fn second<V>(rows: &[Ended<'_>], mut value: impl FnMut(&Fact) -> V) -> Vec<Option<V>> {
    rows.iter().map(|row| row.second.as_ref().map(&mut value)).collect()
}

/// Locks what purchases give back when they end for nothing, in the order of those that begin.
///
/// # Errors
/// When the database fails.
pub async fn lock(db: impl PgExecutor<'_>, ids: &[Uuid]) -> Result<(), Error> {
    sqlx::query!(r#"select 1 as "done!" from shop.back($1)"#, ids).fetch_all(db).await?;
    Ok(())
}

/// Gives back what purchases took that ended for nothing, in the transaction that ended them: one statement, which few need.
///
/// # Errors
/// When the database fails.
pub async fn give_back(db: impl PgExecutor<'_>, ids: &[Uuid]) -> Result<(), Error> {
    sqlx::query!(
        r#"
        with back as (
            select * from shop.purchases where id = any ($1)
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
        )
        update shop.promo_uses u set used = u.used - b.n
          from (select user_id, promo, count(*) as n from back where promo <> '' group by user_id, promo) b
         where u.user_id = b.user_id and u.code = b.promo
        "#,
        ids,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Ends what of `ended` is open, with what its item does and its events: one statement. They are in the order of their ids, in
/// which they are locked, none of them twice. Answers what it ended; the rest had been ended before, or was
/// taken up by another, whose word counts: a payment that was refused to one may have been taken for the next. What has been paid
/// for is ended by whoever knows it.
///
/// # Errors
/// When the database fails.
#[expect(clippy::too_many_lines, reason = "one statement, and the columns it takes")]
pub async fn write(db: impl PgExecutor<'_>, ended: &[Ended<'_>], now: Timestamp) -> Result<HashSet<Uuid>, Error> {
    let receipt = |row: &Purchase| row.receipt.clone();
    let rows = sqlx::query_scalar!(
        r#"
        with closed as (
            update shop.purchases p
               set state = v.state, reason = v.reason, detail = v.detail, balance = v.balance, owed = v.owed,
                   payment_id = v.payment_id, said_by = v.said_by, hash_version = v.hash_version,
                   integrity_hash = v.integrity_hash, key_version = v.key_version, signature = v.signature,
                   closed_at = v.closed_at, next_at = null
              from unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[],
                          $8::text[], $9::smallint[], $10::bytea[], $11::integer[], $12::bytea[], $13::timestamptz[],
                          $14::integer[], $15::text[], $16::bigint[], $17::bigint[], $18::uuid[], $19::text[], $20::jsonb[],
                          $21::uuid[], $22::text[], $23::jsonb[], $25::integer[])
                   as v(id, state, reason, detail, balance, owed, payment_id, said_by, hash_version, integrity_hash,
                        key_version, signature, closed_at, tries, effect, amount, secs, fact, type, payload,
                        second, second_type, second_payload, place)
             where p.id = v.id and p.state < 3
               and (p.tries = v.tries or v.state = 3 and coalesce(p.verdict, 3) = 3)
         returning p.id, p.user_id, p.state, p.trace_id, p.traceparent, p.request_id, v.effect, v.amount, v.secs, v.fact, v.type,
                   v.payload, v.second, v.second_type, v.second_payload, v.place
        ), effect as (
            insert into shop.effects (purchase_id, user_id, code, amount, duration_secs, applied_at)
            select id, user_id, effect, amount, secs, $24 from closed where state = 3 and effect is not null
            on conflict on constraint effects_pkey do nothing
        ), fact as (
            insert into shop.outbox
                (id, aggregatetype, aggregateid, type, payload, version, trace_id, traceparent, request_id, created_at)
            select f.id, 'shop', c.user_id::text, f.type, f.payload, 1, c.trace_id, c.traceparent, c.request_id, $24
              from closed c
             cross join lateral (values (c.fact, c.type, c.payload, 1), (c.second, c.second_type, c.second_payload, 2))
                        as f(id, type, payload, nth)
             where f.id is not null
             order by c.place, f.nth
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
        &column(ended, |row| row.tries),
        &column(ended, |row| row.effect().map(|effect| effect.code.clone())) as &[Option<String>],
        &column(ended, |row| row.effect().map(|effect| effect.amount)) as &[Option<i64>],
        &column(ended, |row| row.effect().map(|effect| effect.duration_secs)) as &[Option<i64>],
        &first(ended, |fact| fact.id),
        &first(ended, |fact| fact.event.to_owned()),
        &first(ended, |fact| fact.payload.clone()) as &[Value],
        &second(ended, |fact| fact.id) as &[Option<Uuid>],
        &second(ended, |fact| fact.event.to_owned()) as &[Option<String>],
        &second(ended, |fact| fact.payload.clone()) as &[Option<Value>],
        now.to_sqlx() as jiff_sqlx::Timestamp,
        &ended.iter().map(|row| row.place).collect::<Vec<_>>(),
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().collect())
}
