//! `shop.receipts_before`: receipts of purchases that were opened again, and `shop.receipt_mismatches`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::receipt::Receipt;

/// Keeps the receipt that a purchase was handed out with, where it has one that an operator's word does not hold and that is of this
/// payment. Its row is locked before ([`super::payments::lock`]): it may be ending just now.
///
/// # Errors
/// When the database fails.
pub async fn keep(db: impl PgExecutor<'_>, purchase: Uuid, payment_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into shop.receipts_before (purchase_id, hash_version, integrity_hash, key_version, signature, issued_at)
         select id, hash_version, integrity_hash, key_version, signature, closed_at
           from shop.purchases
          where id = $1 and state = 3 and verdict = 3 and said_by <> 'operator' and payment_id in ('', $2)
         on conflict on constraint receipts_before_pkey do nothing",
        purchase,
        payment_id,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The receipt that a purchase was handed out with before it was opened again, and when.
///
/// # Errors
/// When the database fails.
pub async fn before(db: impl PgExecutor<'_>, purchase: Uuid) -> Result<Option<(Receipt, Timestamp)>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select hash_version, integrity_hash, key_version, signature, issued_at as "issued_at: jiff_sqlx::Timestamp"
             from shop.receipts_before where purchase_id = $1"#,
        purchase,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| {
        let (hash_version, key_version) = (row.hash_version, row.key_version);
        let receipt = Receipt { hash_version, hash: row.integrity_hash, key_version, signature: row.signature };
        (receipt, row.issued_at.to_jiff())
    }))
}

/// Notes that a receipt does not fit; false where that is known.
///
/// # Errors
/// When the database fails.
pub async fn mismatch(db: impl PgExecutor<'_>, purchase: Uuid, now: Timestamp) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query!(
        "insert into shop.receipt_mismatches as known (purchase_id, found_at) values ($1, $2)
         on conflict on constraint receipt_mismatches_pkey do update set found_at = excluded.found_at, gone_at = null
          where known.gone_at is not null",
        purchase,
        now.to_sqlx() as _
    )
    .execute(db)
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// Notes that receipts fit, of which it was noted that they do not.
///
/// # Errors
/// When the database fails.
pub async fn mended(db: impl PgExecutor<'_>, purchases: &[Uuid], now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update shop.receipt_mismatches set gone_at = $2 where purchase_id = any ($1) and gone_at is null",
        purchases,
        now.to_sqlx() as _
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How many receipts did not fit when they were last looked at.
///
/// # Errors
/// When the database fails.
pub async fn mismatched(db: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from shop.receipt_mismatches where gone_at is null"#)
        .fetch_one(db)
        .await
}
