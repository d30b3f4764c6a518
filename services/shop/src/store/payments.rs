//! What becomes of the payment of a conversion. Each statement changes only what is still so, and answers the purchase as it
//! then stands; nothing, where it is not so any more.

use coreloop_shop_api::v1::PurchaseState;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::purchases::row;
use crate::purchase::Purchase;

fn number(state: PurchaseState) -> i16 {
    i16::try_from(i32::from(state)).unwrap_or_default()
}

/// The payment service has it and has not decided; it is looked after again at `next_at`.
///
/// # Errors
/// When the database fails.
pub async fn pending(
    db: impl PgExecutor<'_>,
    purchase: &Purchase,
    payment_id: &str,
    next_at: Timestamp,
) -> Result<Option<Purchase>, sqlx::Error> {
    let row = row!(
        "update shop.purchases p set state = 2, payment_id = $2, next_at = $3
          where p.id = $1 and p.state < 3 and p.verdict is null and p.tries = $4 returning",
        "",
        purchase.id,
        payment_id,
        next_at.to_sqlx() as _,
        purchase.tries
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(Purchase::from))
}

/// What was decided, and by whom: the first word counts, unless another takes it back. `payment_id` may be empty where it is known
/// already.
#[derive(Debug, Clone, Copy)]
pub struct Verdict<'a> {
    /// What had been decided before: nothing, or CONFIRMED, which this takes back.
    pub before: Option<PurchaseState>,
    /// CONFIRMED, VOIDED or FAILED.
    pub state: PurchaseState,
    /// `answer`, `webhook`, `poll`: the payment service; `operator`.
    pub said_by: &'a str,
    /// What the payment service calls it.
    pub payment_id: &'a str,
    /// Why: a constant of ours.
    pub reason: &'a str,
    /// What goes with it.
    pub detail: &'a str,
    /// When whoever decided gives it into other hands.
    pub next_at: Timestamp,
}

/// Writes what was decided, of this payment and no other. Whoever decides has taken the purchase up. What was ended as given and is
/// taken back is opened again, and whoever looks after it takes back what was given. What an operator has settled stays so.
///
/// # Errors
/// When the database fails.
pub async fn decide(db: impl PgExecutor<'_>, id: Uuid, verdict: &Verdict<'_>) -> Result<Option<Purchase>, sqlx::Error> {
    let row = row!(
        "update shop.purchases p
            set state = least(p.state, 2), verdict = $2, said_by = $3,
                payment_id = case when $4 = '' then p.payment_id else $4 end, reason = $5, detail = $6, next_at = $7,
                tries = p.tries + 1, granting = p.granting or p.verdict is not null, balance = null, closed_at = null,
                hash_version = null, integrity_hash = null, key_version = null, signature = null
          where p.id = $1 and p.category = 1 and p.state <= 3 and p.verdict is not distinct from $8
            and p.said_by <> 'operator' and ($4 = '' or p.payment_id in ('', $4)) returning",
        "",
        id,
        number(verdict.state),
        verdict.said_by,
        verdict.payment_id,
        verdict.reason,
        verdict.detail,
        verdict.next_at.to_sqlx() as _,
        verdict.before.map(number)
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(Purchase::from))
}

/// It was paid for and cannot be given: nobody ends it as given any more, and it is paid back. Another may have given it all
/// the same, so that is looked for.
///
/// # Errors
/// When the database fails.
pub async fn overrule(
    db: impl PgExecutor<'_>,
    purchase: &Purchase,
    reason: &str,
) -> Result<Option<Purchase>, sqlx::Error> {
    let row = row!(
        "update shop.purchases p set verdict = 5, said_by = 'wallet', reason = $3, detail = '', granting = true
          where p.id = $1 and p.state < 3 and p.verdict = 3 and p.tries = $2 returning",
        "",
        purchase.id,
        purchase.tries,
        reason
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(Purchase::from))
}

/// GOLD is about to be given before the payment is decided.
///
/// # Errors
/// When the database fails.
pub async fn granting(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Purchase>, sqlx::Error> {
    let row = row!(
        "update shop.purchases p set granting = true where p.id = $1 and p.state = 2 and p.verdict is null returning",
        "",
        id
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(Purchase::from))
}

/// So much is about to be taken back, where not all is there.
///
/// # Errors
/// When the database fails.
pub async fn claw(
    db: impl PgExecutor<'_>,
    purchase: &Purchase,
    before: Option<i64>,
    amount: i64,
) -> Result<Option<Purchase>, sqlx::Error> {
    let row = row!(
        "update shop.purchases p set claw = $3
          where p.id = $1 and p.state < 3 and p.claw is not distinct from $2 and p.tries = $4 returning",
        "",
        purchase.id,
        before,
        amount,
        purchase.tries
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(Purchase::from))
}

/// Locks a purchase until the transaction ends: what ends it just now has ended it, and what comes after waits.
///
/// # Errors
/// When the database fails.
pub async fn lock(conn: &mut PgConnection, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(r#"select 1 as "locked!" from shop.purchases where id = $1 for update"#, id)
        .fetch_optional(conn)
        .await?;
    Ok(())
}

/// Forgets some of the webhooks that came before a time; answers how many.
///
/// # Errors
/// When the database fails.
pub async fn forget(db: impl PgExecutor<'_>, before: Timestamp, limit: i64) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query!(
        "delete from shop.webhooks where event_id in (
             select event_id from shop.webhooks where received_at < $1 order by received_at limit $2)",
        before.to_sqlx() as _,
        limit,
    )
    .execute(db)
    .await?;
    Ok(gone.rows_affected())
}

/// Notes a webhook; false when it came before.
///
/// # Errors
/// When the database fails.
pub async fn heard(
    conn: &mut PgConnection,
    event_id: &str,
    purchase: Uuid,
    status: &str,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query!(
        "insert into shop.webhooks (event_id, purchase_id, status, received_at) values ($1, $2, $3, $4)
         on conflict on constraint webhooks_pkey do nothing",
        event_id,
        purchase,
        status,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(inserted.rows_affected() == 1)
}
