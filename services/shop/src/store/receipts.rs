//! `shop.receipts_before`: receipts of purchases that were opened again, and `shop.receipt_mismatches`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::receipt::Receipt;

/// Keeps the receipt that a purchase was handed out with, where it has one that an operator's word does not hold.
///
/// # Errors
/// When the database fails.
pub async fn keep(db: impl PgExecutor<'_>, purchase: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into shop.receipts_before (purchase_id, hash_version, integrity_hash, key_version, signature, issued_at)
         select id, hash_version, integrity_hash, key_version, signature, closed_at
           from shop.purchases where id = $1 and state = 3 and said_by <> 'operator'
         on conflict on constraint receipts_before_pkey do nothing",
        purchase,
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

/// Notes that a receipt does not fit; false where that was known.
///
/// # Errors
/// When the database fails.
pub async fn mismatch(db: impl PgExecutor<'_>, purchase: Uuid, now: Timestamp) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query!(
        "insert into shop.receipt_mismatches (purchase_id, found_at) values ($1, $2)
         on conflict on constraint receipt_mismatches_pkey do nothing",
        purchase,
        now.to_sqlx() as _
    )
    .execute(db)
    .await?;
    Ok(noted.rows_affected() == 1)
}
