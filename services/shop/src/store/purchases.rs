//! Reads of `shop.purchases`.

use coreloop_shop_api::v1::{Category, Product, PurchaseState};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::{order::Origin, purchase::Purchase, receipt::Receipt};

/// A row as it stands.
#[derive(Debug)]
pub(crate) struct Row {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) body_hash: Vec<u8>,
    pub(super) product: Vec<u8>,
    pub(super) state: i16,
    pub(super) price: i64,
    pub(super) gold: i64,
    pub(super) bonus: i64,
    pub(super) promo: String,
    pub(super) payment_handle: String,
    pub(super) device_id: String,
    pub(super) payment_id: String,
    pub(super) verdict: Option<i16>,
    pub(super) said_by: String,
    pub(super) granting: bool,
    pub(super) claw: Option<i64>,
    pub(super) reason: String,
    pub(super) detail: String,
    pub(super) balance: Option<i64>,
    pub(super) owed: i64,
    pub(super) hash_version: Option<i16>,
    pub(super) integrity_hash: Option<Vec<u8>>,
    pub(super) key_version: Option<i32>,
    pub(super) signature: Option<Vec<u8>>,
    pub(super) created_at: jiff_sqlx::Timestamp,
    pub(super) closed_at: Option<jiff_sqlx::Timestamp>,
    pub(super) tries: i32,
    pub(super) trace_id: String,
    pub(super) traceparent: String,
    pub(super) request_id: String,
}

fn state(number: i16) -> PurchaseState {
    PurchaseState::try_from(i32::from(number)).unwrap_or_default()
}

impl From<Row> for Purchase {
    fn from(row: Row) -> Self {
        let receipt = match (row.hash_version, row.integrity_hash, row.key_version, row.signature) {
            (Some(hash_version), Some(hash), Some(key_version), Some(signature)) => {
                Some(Receipt { hash_version, hash, key_version, signature })
            }
            _ => None,
        };
        Self {
            id: row.id,
            user: row.user_id,
            body_hash: row.body_hash,
            // What cannot be read is an empty product, which fits no receipt.
            product: Product::decode(row.product.as_slice()).unwrap_or_default(),
            state: state(row.state),
            price: row.price,
            gold: row.gold,
            bonus: row.bonus,
            promo: row.promo,
            payment_handle: row.payment_handle,
            device_id: row.device_id,
            payment_id: row.payment_id,
            verdict: row.verdict.map(state),
            said_by: row.said_by,
            granting: row.granting,
            claw: row.claw,
            reason: row.reason,
            detail: row.detail,
            balance: row.balance,
            owed: row.owed,
            receipt,
            created_at: row.created_at.to_jiff(),
            closed_at: row.closed_at.map(jiff_sqlx::Timestamp::to_jiff),
            tries: row.tries,
            origin: Origin { trace_id: row.trace_id, traceparent: row.traceparent, request_id: row.request_id },
        }
    }
}

/// Columns of a [`Row`], in a query that reads or returns `shop.purchases p`.
macro_rules! row {
    ($before:literal, $after:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            crate::store::purchases::Row,
            $before
                + r#" p.id, p.user_id, p.body_hash, p.product, p.state, p.price, p.gold, p.bonus, p.promo, p.payment_handle,
                p.device_id, p.payment_id, p.verdict, p.said_by, p.granting, p.claw, p.reason, p.detail, p.balance, p.owed,
                p.hash_version, p.integrity_hash, p.key_version, p.signature,
                p.created_at as "created_at: jiff_sqlx::Timestamp", p.closed_at as "closed_at: jiff_sqlx::Timestamp",
                p.tries, p.trace_id, p.traceparent, p.request_id "#
                + $after,
            $($argument),*
        )
    };
}
pub(crate) use row;

/// Purchases by their ids; those that are not there are left out.
///
/// # Errors
/// When the database fails.
pub async fn by_ids(db: impl PgExecutor<'_>, ids: &[Uuid]) -> Result<Vec<Purchase>, sqlx::Error> {
    let rows = row!("select", "from shop.purchases p where p.id = any ($1)", ids).fetch_all(db).await?;
    Ok(rows.into_iter().map(Purchase::from).collect())
}

/// Purchases that are over and have a receipt, after an id, in the order of their ids.
///
/// # Errors
/// When the database fails.
pub async fn with_receipt(db: impl PgExecutor<'_>, after: Uuid, limit: i64) -> Result<Vec<Purchase>, sqlx::Error> {
    let rows = row!(
        "select",
        "from shop.purchases p where p.id > $1 and p.state in (3, 4) order by p.id limit $2",
        after,
        limit
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Purchase::from).collect())
}

/// How many conversions wait for the payment service.
///
/// # Errors
/// When the database fails.
pub async fn pending(db: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from shop.purchases where next_at is not null and category = 1"#)
        .fetch_one(db)
        .await
}

/// Takes open purchases of a category that nobody looks after, for as long as `until`; oldest first. Their `tries` tell whoever
/// had them before that they are another's now.
///
/// # Errors
/// When the database fails.
pub async fn claim(
    db: impl PgExecutor<'_>,
    category: Category,
    now: Timestamp,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<Purchase>, sqlx::Error> {
    let rows = row!(
        "update shop.purchases p set next_at = $2, tries = p.tries + 1
          where p.id in (select id from shop.purchases where next_at <= $1 and category = $4 order by next_at limit $3
                            for update skip locked)
      returning",
        "",
        now.to_sqlx() as _,
        until.to_sqlx() as _,
        limit,
        i16::try_from(i32::from(category)).unwrap_or_default()
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Purchase::from).collect())
}

/// Gives an open purchase into other hands at `at`, where it would be later and nobody else has taken it up.
///
/// # Errors
/// When the database fails.
pub async fn release(db: impl PgExecutor<'_>, id: Uuid, tries: i32, at: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update shop.purchases set next_at = $3 where id = $1 and tries = $2 and next_at > $3",
        id,
        tries,
        at.to_sqlx() as _
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Leaves an open purchase alone until `at`, where it would be taken up before and nobody else has.
///
/// # Errors
/// When the database fails.
pub async fn postpone(db: impl PgExecutor<'_>, id: Uuid, tries: i32, at: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update shop.purchases set next_at = $3 where id = $1 and tries = $2 and next_at < $3",
        id,
        tries,
        at.to_sqlx() as _
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A conversion that the payment service confirmed.
#[derive(Debug)]
pub struct Given {
    /// The purchase.
    pub id: Uuid,
    /// What the payment service calls it.
    pub payment_id: String,
    /// When it was over.
    pub closed_at: jiff_sqlx::Timestamp,
}

/// Conversions that the payment service confirmed and that were over after a time and id, in that order, and not after `until`. What an
/// operator has settled is none of them.
///
/// # Errors
/// When the database fails.
pub async fn given(
    db: impl PgExecutor<'_>,
    (at, after): (Timestamp, Uuid),
    until: Timestamp,
    limit: i64,
) -> Result<Vec<Given>, sqlx::Error> {
    sqlx::query_as!(
        Given,
        r#"select id, payment_id, closed_at as "closed_at!: jiff_sqlx::Timestamp" from shop.purchases
            where category = 1 and state = 3 and (closed_at, id) > ($1, $2) and closed_at <= $3 and payment_id <> ''
              and said_by <> 'operator'
            order by closed_at, id limit $4"#,
        at.to_sqlx() as _,
        after,
        until.to_sqlx() as _,
        limit
    )
    .fetch_all(db)
    .await
}

/// Purchases of which something is owed, of one user or of all, newest first, before a time and id.
///
/// # Errors
/// When the database fails.
pub async fn owed(
    db: impl PgExecutor<'_>,
    user: Option<Uuid>,
    before: Option<(Timestamp, Uuid)>,
    limit: i64,
) -> Result<Vec<Purchase>, sqlx::Error> {
    let (at, id) = before.unzip();
    let rows = row!(
        "select",
        "from shop.purchases p
          where p.owed > 0 and ($1::uuid is null or p.user_id = $1)
            and ($2::timestamptz is null or (p.closed_at, p.id) < ($2, $3))
          order by p.closed_at desc, p.id desc limit $4",
        user,
        at.map(|at| at.to_sqlx()) as _,
        id,
        limit
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(Purchase::from).collect())
}
