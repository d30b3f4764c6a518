//! Items that nothing limits: written down by one statement, which is its own transaction.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::open::{Opened, column};
use crate::{Error, facts::Fact};

/// Writes items down with their events, but for those whose key is known, and for all as long as a rule against fraud is about
/// items; answers which it wrote. Rows go in by their ids: of two replicas that write the same keys one waits for the other. What takes a piece, a place or a code is not for this: it needs locks.
///
/// # Errors
/// When the database fails.
pub async fn write(
    db: impl PgExecutor<'_>,
    opened: &[Opened<'_>],
    facts: &[Fact],
    now: Timestamp,
    next_at: Timestamp,
) -> Result<HashSet<Uuid>, Error> {
    let rows = sqlx::query_scalar!(
        r#"
        with opened as (
            insert into shop.purchases
                (id, user_id, product_id, key, body_hash, product, category, state, price, payment_handle, device_id,
                 created_at, next_at, trace_id, traceparent, request_id)
            select id, user_id, product_id, key, body_hash, product, 2, 1, price, payment_handle, device_id, $15, $16,
                   trace_id, traceparent, request_id
              from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::bigint[],
                          $8::text[], $9::text[], $10::text[], $11::text[], $12::text[])
                   as t(id, user_id, product_id, key, body_hash, product, price, payment_handle, device_id, trace_id,
                        traceparent, request_id)
             where not exists (select from shop.fraud_rules r where r.mode > 1 and r.category = 2)
             order by id
            on conflict on constraint purchases_pkey do nothing
            returning id, user_id, trace_id, traceparent, request_id
        ), fact as (
            insert into shop.outbox
                (id, aggregatetype, aggregateid, type, payload, version, trace_id, traceparent, request_id, created_at)
            select f.fact, 'shop', o.user_id::text, 'purchase_requested', f.payload, 1, o.trace_id, o.traceparent,
                   o.request_id, $15
              from unnest($1::uuid[], $13::uuid[], $14::jsonb[]) with ordinality as f(id, fact, payload, ord)
              join opened o on o.id = f.id
             order by f.ord
        )
        select id as "id!" from opened
        "#,
        &column(opened, |(order, ..)| order.id),
        &column(opened, |(order, ..)| order.user.0),
        &column(opened, |(order, ..)| order.product.product_id.clone()),
        &column(opened, |(order, ..)| order.asked.key.clone()),
        &column(opened, |(order, ..)| order.body_hash.to_vec()),
        &column(opened, |(order, ..)| order.product.encode_to_vec()),
        &column(opened, |(_, terms, _)| terms.price),
        &column(opened, |(order, ..)| order.asked.payment_handle.clone()),
        &column(opened, |(order, ..)| order.asked.device_id.clone()),
        &column(opened, |(order, ..)| order.origin.trace_id.clone()),
        &column(opened, |(order, ..)| order.origin.traceparent.clone()),
        &column(opened, |(order, ..)| order.origin.request_id.clone()),
        &facts.iter().map(|fact| fact.id).collect::<Vec<_>>(),
        &facts.iter().map(|fact| fact.payload.clone()).collect::<Vec<_>>() as &[Value],
        now.to_sqlx() as jiff_sqlx::Timestamp,
        next_at.to_sqlx() as jiff_sqlx::Timestamp,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().collect())
}
