//! Codes of `rewards.redemptions` under a key of before.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::vault::Sealed;

/// Codes that another key than this one has sealed, after an id, in the order of their redemptions' ids.
///
/// # Errors
/// When the database fails.
pub async fn otherwise(
    db: impl PgExecutor<'_>,
    key: &str,
    after: Uuid,
    limit: i64,
) -> Result<Vec<(Uuid, Sealed)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select id, code_sealed as "bytes!", code_key from rewards.redemptions
            where code_sealed is not null and code_key <> $1 and id > $2 order by id limit $3"#,
        key,
        after,
        limit,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, Sealed { bytes: row.bytes, key: row.code_key })).collect())
}

/// Puts a code in that another key has sealed, in the place of the same code under a key before.
///
/// # Errors
/// When the database fails.
pub async fn reseal(db: impl PgExecutor<'_>, id: Uuid, before: &str, sealed: &Sealed) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update rewards.redemptions set code_sealed = $3, code_key = $4 where id = $1 and code_key = $2",
        id,
        before,
        sealed.bytes,
        sealed.key,
    )
    .execute(db)
    .await?;
    Ok(())
}
