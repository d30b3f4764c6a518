//! `shop.receipt_mismatches`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgExecutor;
use uuid::Uuid;

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
