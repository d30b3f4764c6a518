//! Reads of everything that has come to an end, to recompute it.

use coreloop_ops_api::integrity::Finding;
use sqlx::PgExecutor;
use uuid::Uuid;

/// A grant or redemption that has come to an end, and what must have moved for it.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Id.
    pub id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// In which currency, as the wallet numbers it.
    pub currency: i16,
    /// By how much the user's account has changed in all.
    pub due: i64,
    /// Posting that it names.
    pub first: Option<Uuid>,
    /// The other one that it names.
    pub second: Option<Uuid>,
}

/// Redemptions that have come to an end, after an id, in the order of their ids.
///
/// # Errors
/// When the database fails.
pub async fn redemptions(db: impl PgExecutor<'_>, after: Uuid, limit: i64) -> Result<Vec<Ended>, sqlx::Error> {
    sqlx::query_as!(
        Ended,
        r#"select id, user_id, 2::smallint as "currency!", case state when 3 then -price else 0 end as "due!",
                  spent as first, returned as second
             from rewards.redemptions where state in (3, 5, 6) and id > $1 order by id limit $2"#,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Grants of gold and points that have come to an end, after an id, in the order of their ids.
///
/// # Errors
/// When the database fails.
pub async fn grants(db: impl PgExecutor<'_>, after: Uuid, limit: i64) -> Result<Vec<Ended>, sqlx::Error> {
    sqlx::query_as!(
        Ended,
        r#"select id, user_id, kind as currency, case state when 2 then amount else 0 end as "due!", posting as first,
                  null::uuid as second
             from rewards.grants where state in (2, 3) and kind in (1, 2) and id > $1 order by id limit $2"#,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Campaigns that have not given what they say.
///
/// # Errors
/// When the database fails.
pub async fn campaigns(db: impl PgExecutor<'_>) -> Result<Vec<Finding>, sqlx::Error> {
    sqlx::query_as!(
        Finding,
        r#"select 'campaign' as "what!", c.id as "subject!",
                  format('%s are said to be given, and there are %s grants', c.granted, coalesce(g.n, 0)) as "detail!"
             from rewards.campaigns c
             left join (select campaign as id, count(*) as n from rewards.grants where state <> 3 group by campaign) g using (id)
            where c.granted <> coalesce(g.n, 0) limit 100"#
    )
    .fetch_all(db)
    .await
}
