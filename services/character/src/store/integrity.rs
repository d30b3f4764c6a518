//! What the tables say of collections, to be held against their histories.

use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

/// What the tables say of one.
#[derive(Debug, Clone)]
pub struct Stated {
    /// Whose.
    pub user_id: Uuid,
    /// Number of the last event.
    pub version: i64,
    /// How many are owned.
    pub owned: i32,
    /// The account was closed.
    pub closed: bool,
    /// What is owned, by code: level, source, times in microseconds.
    pub pieces: Value,
}

/// Collections after `after`, by user.
///
/// # Errors
/// When the database fails.
pub async fn page(db: impl PgExecutor<'_>, after: Uuid, most: i64) -> Result<Vec<Stated>, sqlx::Error> {
    sqlx::query_as!(
        Stated,
        r#"select s.user_id, s.version, s.owned, s.closed,
                  coalesce((select jsonb_object_agg(o.code, jsonb_build_object(
                                'level', o.level, 'source', o.source,
                                'acquired_at', (extract(epoch from o.acquired_at) * 1000000)::bigint,
                                'expires_at', (extract(epoch from o.expires_at) * 1000000)::bigint))
                              from character.ownership o where o.user_id = s.user_id), '{}') as "pieces!"
             from character.collections s where s.user_id > $1 order by s.user_id limit $2"#,
        after,
        most,
    )
    .fetch_all(db)
    .await
}
