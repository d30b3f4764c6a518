//! What the inbox says, to be held against the histories.

use sqlx::PgExecutor;
use uuid::Uuid;

/// What is said of one.
#[derive(Debug, Clone)]
pub struct Stated {
    /// Id.
    pub id: Uuid,
    /// As the contract numbers it.
    pub kind: i16,
    /// It is read.
    pub is_read: bool,
}

/// Notifications after `after`, by id.
///
/// # Errors
/// When the database fails.
pub async fn page(db: impl PgExecutor<'_>, after: Uuid, most: i64) -> Result<Vec<Stated>, sqlx::Error> {
    sqlx::query_as!(
        Stated,
        r#"select id, kind, read_at is not null as "is_read!" from notification.inbox where id > $1 order by id limit $2"#,
        after,
        most,
    )
    .fetch_all(db)
    .await
}
