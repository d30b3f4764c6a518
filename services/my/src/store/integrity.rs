//! What the tables say of users, to be held against their histories.

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
    /// As [`crate::person::Person`] is written.
    pub person: Value,
}

/// Users after `after`, by id.
///
/// # Errors
/// When the database fails.
pub async fn page(db: impl PgExecutor<'_>, after: Uuid, most: i64) -> Result<Vec<Stated>, sqlx::Error> {
    sqlx::query_as!(
        Stated,
        r#"select p.user_id, p.version, jsonb_build_object(
                  'total', jsonb_build_object('scans', p.scans, 'recycled', p.recycled, 'tree_milli', p.tree_milli,
                                              'water_ml', p.water_ml, 'co2_g', p.co2_g),
                  'days', coalesce((select jsonb_object_agg(f.day::text, jsonb_build_object(
                                       'scans', f.scans, 'recycled', f.recycled, 'tree_milli', f.tree_milli,
                                       'water_ml', f.water_ml, 'co2_g', f.co2_g))
                                      from my.footprints f where f.user_id = p.user_id), '{}'),
                  'categories', coalesce((select jsonb_object_agg(c.category, c.scans)
                                            from my.categories c where c.user_id = p.user_id), '{}'),
                  'streak', coalesce((select jsonb_build_object('run', s.run, 'last_day', s.last_day, 'longest', s.longest)
                                        from my.streaks s where s.user_id = p.user_id),
                                     '{"run": 0, "last_day": null, "longest": 0}'),
                  'owned', p.owned, 'owned_version', p.owned_version,
                  'badges', coalesce((select jsonb_object_agg(b.code, (extract(epoch from b.earned_at) * 1000000)::bigint)
                                        from my.badges b where b.user_id = p.user_id), '{}'),
                  'closed', p.closed) as "person!"
             from my.people p where p.user_id > $1 order by p.user_id limit $2"#,
        after,
        most,
    )
    .fetch_all(db)
    .await
}
