//! Reads of `wallet.postings`, which never change.

use std::collections::HashMap;

use sqlx::PgExecutor;
use uuid::Uuid;

/// The answers of postings; those that are not there are left out.
///
/// # Errors
/// When the database fails.
pub async fn answers(db: impl PgExecutor<'_>, ids: &[Uuid]) -> Result<HashMap<Uuid, Vec<u8>>, sqlx::Error> {
    let rows = sqlx::query!("select id, answer from wallet.postings where id = any ($1)", ids).fetch_all(db).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.answer)).collect())
}
