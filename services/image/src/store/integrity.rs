//! What the rows say of images, to be held against their histories.

use sqlx::PgExecutor;
use uuid::Uuid;

/// What is said of one.
#[derive(Debug, Clone)]
pub struct Stated {
    /// Id.
    pub id: Uuid,
    /// Where storage has it.
    pub object_key: String,
    /// It is there, and not to be removed.
    pub there: bool,
}

/// Images after `after`, by id.
///
/// # Errors
/// When the database fails.
pub async fn page(db: impl PgExecutor<'_>, after: Uuid, most: i64) -> Result<Vec<Stated>, sqlx::Error> {
    sqlx::query_as!(
        Stated,
        r#"select id, object_key, state = 1 as "there!" from image.images where id > $1 order by id limit $2"#,
        after,
        most,
    )
    .fetch_all(db)
    .await
}

/// Whether an image is there by now, and not to be removed.
///
/// # Errors
/// When the database fails.
pub async fn is_there(db: impl PgExecutor<'_>, id: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select exists (select from image.images where id = $1 and state = 1) as "there!""#, id)
        .fetch_one(db)
        .await
}
