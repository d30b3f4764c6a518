//! What the tables say of tasks, to be held against their histories; and of results, to be held against tasks.

use sqlx::PgExecutor;
use uuid::Uuid;

/// What is said of a task.
#[derive(Debug, Clone)]
pub struct Stated {
    /// Id.
    pub id: Uuid,
    /// Events of its history.
    pub version: i64,
    /// As the contract numbers it; 0: no result.
    pub category: i16,
    /// Whether it earns something.
    pub eligible: bool,
    /// Why it came to nothing, or could not be rewarded; empty: neither.
    pub reason: String,
}

/// Tasks after `after`, by id.
///
/// # Errors
/// When the database fails.
pub async fn page(db: impl PgExecutor<'_>, after: Uuid, most: i64) -> Result<Vec<Stated>, sqlx::Error> {
    sqlx::query_as!(
        Stated,
        r#"select id, version, category, reward_eligible as eligible,
                  case when state = 3 then failure when reward_status = 4 then reward_reason else '' end as "reason!"
             from scan.tasks where id > $1 order by id limit $2"#,
        after,
        most,
    )
    .fetch_all(db)
    .await
}

/// What is said of a task by now.
///
/// # Errors
/// When the database fails.
pub async fn find(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Stated>, sqlx::Error> {
    sqlx::query_as!(
        Stated,
        r#"select id, version, category, reward_eligible as eligible,
                  case when state = 3 then failure when reward_status = 4 then reward_reason else '' end as "reason!"
             from scan.tasks where id = $1"#,
        id,
    )
    .fetch_optional(db)
    .await
}

/// Users after `after` who have tasks or counts, by id.
///
/// # Errors
/// When the database fails.
pub async fn users(db: impl PgExecutor<'_>, after: Uuid, most: i64) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select user_id as "user_id!" from (
               (select distinct user_id from scan.tasks where user_id > $1 order by user_id limit $2)
               union (select distinct user_id from scan.daily where user_id > $1 order by user_id limit $2)) as few
            order by user_id limit $2"#,
        after,
        most,
    )
    .fetch_all(db)
    .await
}

/// A day of a category that is counted otherwise than it was.
#[derive(Debug, Clone)]
pub struct Uneven {
    /// Whose.
    pub user_id: Uuid,
    /// Day and category.
    pub what: String,
    /// What there is.
    pub there: String,
    /// What is counted.
    pub counted: String,
}

/// Counts of users that are not what their tasks come to: in one statement, so of one moment.
///
/// # Errors
/// When the database fails.
pub async fn uneven(db: impl PgExecutor<'_>, users: &[Uuid]) -> Result<Vec<Uneven>, sqlx::Error> {
    sqlx::query_as!(
        Uneven,
        r#"select user_id as "user_id!", format('category %s on %s', category, day) as "what!",
                  format('%s, %s recyclable', coalesce(tasks.total, 0), coalesce(tasks.recyclable, 0)) as "there!",
                  format('%s, %s recyclable', coalesce(counts.total, 0), coalesce(counts.recyclable, 0)) as "counted!"
             from (select user_id, day, category, count(*) as total, count(*) filter (where recyclable) as recyclable
                     from scan.tasks where state = 2 and user_id = any($1) group by user_id, day, category) as tasks
             full join (select user_id, day, category, total, recyclable
                          from scan.daily where user_id = any($1)) as counts using (user_id, day, category)
            where (tasks.total, tasks.recyclable) is distinct from (counts.total, counts.recyclable)
            order by user_id, day, category"#,
        users,
    )
    .fetch_all(db)
    .await
}
