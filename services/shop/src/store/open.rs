//! A batch of purchases that begin: what limits them, locked and read in one trip, and what is written down, in one more.

use coreloop_shop_api::v1::{FraudRule, PromoKind};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::counts;
use crate::{
    Error,
    decide::{Known, Loaded, Promo, Stock, Terms},
    facts::Fact,
    fraud::{Seen, Watch},
    order::Order,
    purchase::Purchase,
};

/// What a batch is about; the lists of what is locked are sorted and without repeats.
#[derive(Debug, Default)]
pub struct Needs {
    /// Ids of the orders.
    pub ids: Vec<Uuid>,
    /// Products whose stock is to be locked.
    pub stocked: Vec<String>,
    /// Users and products that are limited for each.
    pub held: Vec<(Uuid, String)>,
    /// Users and promo codes.
    pub used: Vec<(Uuid, String)>,
    /// Who buys, of each order.
    pub buyers: Vec<Uuid>,
    /// From which installation, of each order.
    pub devices: Vec<String>,
    /// Paid with what, of each order.
    pub handles: Vec<String>,
    /// Of which category, of each order.
    pub categories: Vec<i16>,
}

/// Locks what limits the orders, in the order that the migration says, and reads it.
///
/// # Errors
/// When the database fails.
pub async fn load(conn: &mut PgConnection, needs: &Needs, now: Timestamp) -> Result<Loaded, Error> {
    let (holders, held): (Vec<Uuid>, Vec<String>) = needs.held.iter().cloned().unzip();
    let (users, codes): (Vec<Uuid>, Vec<String>) = needs.used.iter().cloned().unzip();
    let rows = sqlx::query!(
        r#"select what as "what!", id, name, numbers, bytes, words 
             from shop.open($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"#,
        &needs.ids,
        &needs.stocked,
        &holders,
        &held,
        &users,
        &codes,
        &needs.buyers,
        &needs.devices,
        &needs.handles,
        &needs.categories,
        now.to_sqlx() as _,
    )
    .fetch_all(conn)
    .await?;
    let mut loaded = Loaded::default();
    for row in rows {
        let (id, name) = (row.id.unwrap_or_default(), row.name.unwrap_or_default());
        let numbers = row.numbers.unwrap_or_default();
        match (row.what.as_str(), numbers.as_slice()) {
            ("purchase", _) => {
                loaded.purchases.insert(id, Known { body_hash: row.bytes.unwrap_or_default() });
            }
            ("stock", [total, taken]) => {
                loaded.stock.insert(name, Stock { total: *total, taken: *taken });
            }
            ("holding", [taken]) => {
                loaded.holdings.insert((id, name), *taken);
            }
            ("promo", [kind, value, max_uses, per_user, used, from, to]) => {
                let kind = if *kind == 1 { PromoKind::Percent } else { PromoKind::Bonus };
                let (value, max_uses, per_user, used) = (*value, *max_uses, *per_user, *used);
                let products = row.words.unwrap_or_default();
                let promo = Promo { kind, value, max_uses, per_user, used, from: *from, to: *to, products };
                loaded.promos.insert(name, promo);
            }
            ("use", [used]) => {
                loaded.uses.insert((id, name), *used);
            }
            (what, numbers) => watched(&mut loaded.watch, what, id, name, numbers, row.words.unwrap_or_default())?,
        }
    }
    Ok(loaded)
}

/// A row of what is watched for fraud.
fn watched(
    watch: &mut Watch,
    what: &str,
    id: Uuid,
    name: String,
    numbers: &[i64],
    words: Vec<String>,
) -> Result<(), Error> {
    match (what, numbers) {
        ("rule", [category, kind, subject, window_secs, most, mode]) => {
            let small = |number: &i64| i32::try_from(*number).unwrap_or_default();
            watch.rules.push(FraudRule {
                rule_id: name,
                category: small(category),
                kind: small(kind),
                subject: small(subject),
                window_secs: small(window_secs),
                most: small(most),
                mode: small(mode),
            });
        }
        ("seen", [count]) => {
            let mut words = words.into_iter();
            let subject = words.next().unwrap_or_default();
            watch.seen.insert((name, subject), Seen { count: *count, handles: words.collect() });
        }
        ("excused", _) => {
            watch.excused.insert(id);
        }
        _ => return Err(Error::Corrupt("an unknown row of shop.open")),
    }
    Ok(())
}

/// An order that may be, what it is sold for, and the purchase that it becomes.
pub type Opened<'a> = (&'a Order, Terms, Purchase);

pub(super) fn column<V>(rows: &[Opened<'_>], value: impl FnMut(&Opened<'_>) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}

/// Writes purchases down with what they take and their events: one statement. Rows go in by their ids: of two replicas that write the
/// same keys one waits for the other.
///
/// # Errors
/// When the database fails; when another replica was first with a key.
#[expect(clippy::too_many_lines, reason = "one statement, and the columns it takes")]
pub async fn write(
    conn: &mut PgConnection,
    opened: &[Opened<'_>],
    facts: &[Fact],
    now: Timestamp,
    next_at: Timestamp,
) -> Result<(), Error> {
    let of = |takes: fn(&Terms) -> bool| opened.iter().filter(move |(_, terms, _)| takes(terms));
    let (stocked, stock) = counts(of(|terms| terms.took_stock).map(|(order, ..)| order.product.product_id.clone()));
    let (holdings, held) =
        counts(of(|terms| terms.took_holding).map(|(order, ..)| (order.user.0, order.product.product_id.clone())));
    let (holders, held_products): (Vec<Uuid>, Vec<String>) = holdings.into_iter().unzip();
    let promos = || opened.iter().filter(|(order, ..)| !order.asked.promo.is_empty());
    let (codes, used) = counts(promos().map(|(order, ..)| order.asked.promo.clone()));
    let (uses, times) = counts(promos().map(|(order, ..)| (order.user.0, order.asked.promo.clone())));
    let (users, user_codes): (Vec<Uuid>, Vec<String>) = uses.into_iter().unzip();
    sqlx::query!(
        r#"
        with opened as (
            insert into shop.purchases
                (id, user_id, product_id, key, body_hash, product, category, state, price, gold, bonus, promo, took_stock,
                 took_holding, payment_handle, device_id, created_at, next_at, trace_id, traceparent, request_id)
            select id, user_id, product_id, key, body_hash, product, category, 1, price, gold, bonus, promo, took_stock,
                   took_holding, payment_handle, device_id, $33, $34, trace_id, traceparent, request_id
              from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::smallint[],
                          $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::boolean[], $13::boolean[],
                          $14::text[], $15::text[], $16::text[], $17::text[], $18::text[])
                   as t(id, user_id, product_id, key, body_hash, product, category, price, gold, bonus, promo, took_stock,
                        took_holding, payment_handle, device_id, trace_id, traceparent, request_id)
             order by id
        ), stock as (
            update shop.stock s set taken = s.taken + v.n
              from unnest($19::text[], $20::bigint[]) as v(product_id, n) where s.product_id = v.product_id
        ), holding as (
            update shop.holdings h set taken = h.taken + v.n
              from unnest($21::uuid[], $22::text[], $23::bigint[]) as v(user_id, product_id, n)
             where h.user_id = v.user_id and h.product_id = v.product_id
        ), promo as (
            update shop.promos p set used = p.used + v.n
              from unnest($24::text[], $25::bigint[]) as v(code, n) where p.code = v.code
        ), promo_use as (
            update shop.promo_uses u set used = u.used + v.n
              from unnest($26::uuid[], $27::text[], $28::bigint[]) as v(user_id, code, n)
             where u.user_id = v.user_id and u.code = v.code
        )
        insert into shop.outbox
            (id, aggregatetype, aggregateid, type, payload, version, trace_id, traceparent, request_id, created_at)
        select id, 'shop', key, type, payload, 1, trace_id, traceparent, request_id, $33
          from unnest($29::uuid[], $30::text[], $31::text[], $32::jsonb[], $16::text[], $17::text[], $18::text[])
               with ordinality as t(id, key, type, payload, trace_id, traceparent, request_id, ord)
         order by ord
        "#,
        &column(opened, |(order, ..)| order.id),
        &column(opened, |(order, ..)| order.user.0),
        &column(opened, |(order, ..)| order.product.product_id.clone()),
        &column(opened, |(order, ..)| order.asked.key.clone()),
        &column(opened, |(order, ..)| order.body_hash.to_vec()),
        &column(opened, |(order, ..)| order.product.encode_to_vec()),
        &column(opened, |(order, ..)| i16::try_from(order.product.category).unwrap_or_default()),
        &column(opened, |(_, terms, _)| terms.price),
        &column(opened, |(_, terms, _)| terms.gold),
        &column(opened, |(_, terms, _)| terms.bonus),
        &column(opened, |(order, ..)| order.asked.promo.clone()),
        &column(opened, |(_, terms, _)| terms.took_stock),
        &column(opened, |(_, terms, _)| terms.took_holding),
        &column(opened, |(order, ..)| order.asked.payment_handle.clone()),
        &column(opened, |(order, ..)| order.asked.device_id.clone()),
        &column(opened, |(order, ..)| order.origin.trace_id.clone()),
        &column(opened, |(order, ..)| order.origin.traceparent.clone()),
        &column(opened, |(order, ..)| order.origin.request_id.clone()),
        &stocked,
        &stock,
        &holders,
        &held_products,
        &held,
        &codes,
        &used,
        &users,
        &user_codes,
        &times,
        &facts.iter().map(|fact| fact.id).collect::<Vec<_>>(),
        &facts.iter().map(|fact| fact.user.clone()).collect::<Vec<_>>(),
        &facts.iter().map(|fact| fact.event.to_owned()).collect::<Vec<_>>(),
        &facts.iter().map(|fact| fact.payload.clone()).collect::<Vec<_>>() as &[Value],
        now.to_sqlx() as jiff_sqlx::Timestamp,
        next_at.to_sqlx() as jiff_sqlx::Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}
