//! Tasks that wait: which are sent as commands, and which a worker outside of the mesh is given.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::origin::Origin;

/// A task that is sent now.
#[derive(Debug, Clone)]
pub struct Due {
    /// Which.
    pub id: Uuid,
    /// Trace of the call that it came by.
    pub traceparent: String,
    /// Its request.
    pub request_id: String,
}

impl Due {
    /// Where it came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin { traceparent: self.traceparent.clone(), request_id: self.request_id.clone() }
    }
}

/// How many commands are on their way, counted up to `most`.
///
/// # Errors
/// When the database fails.
pub async fn on_their_way(db: impl PgExecutor<'_>, most: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from (
               select 1 from scan.tasks where state = 1 and sent_at is not null limit $1) as few"#,
        most,
    )
    .fetch_one(db)
    .await
}

/// How many tasks have not ended, counted up to `most`.
///
/// # Errors
/// When the database fails.
pub async fn open(db: impl PgExecutor<'_>, most: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from (
               (select 1 from scan.tasks where state = 1 and sent_at is null limit $1)
               union all
               (select 1 from scan.tasks where state = 1 and sent_at is not null limit $1)) as few"#,
        most,
    )
    .fetch_one(db)
    .await
}

/// Takes the oldest tasks that wait and that nobody has, to be sent.
///
/// # Errors
/// When the database fails.
pub async fn take(connection: &mut PgConnection, now: Timestamp, most: i64) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as!(
        Due,
        "update scan.tasks set sent_at = $1 where id in (
             select id from scan.tasks
              where state = 1 and sent_at is null and (leased_until is null or leased_until <= $1)
              order by created_at limit $2 for update skip locked)
         returning id, traceparent, request_id",
        now.to_sqlx() as _,
        most,
    )
    .fetch_all(connection)
    .await
}

/// Takes tasks that were sent at `lost` or before and have not ended, to be sent again.
///
/// # Errors
/// When the database fails.
pub async fn take_lost(
    connection: &mut PgConnection,
    now: Timestamp,
    lost: Timestamp,
    most: i64,
) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as!(
        Due,
        "update scan.tasks set sent_at = $1 where id in (
             select id from scan.tasks where state = 1 and sent_at <= $2
              order by sent_at limit $3 for update skip locked)
         returning id, traceparent, request_id",
        now.to_sqlx() as _,
        lost.to_sqlx() as _,
        most,
    )
    .fetch_all(connection)
    .await
}

/// Lets tasks that were sent at `lost` or before and have not ended wait for whoever asks.
///
/// # Errors
/// When the database fails.
pub async fn give_back_lost(db: impl PgExecutor<'_>, lost: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!("update scan.tasks set sent_at = null where state = 1 and sent_at <= $1", lost.to_sqlx() as _)
        .execute(db)
        .await?;
    Ok(())
}

/// Leases the oldest tasks that wait and that nobody has: replicas and workers take different ones. None that was leased as often as
/// `pulls`.
///
/// # Errors
/// When the database fails.
pub async fn lease(
    db: impl PgExecutor<'_>,
    (now, until): (Timestamp, Timestamp),
    pulls: i32,
    most: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "update scan.tasks set leased_until = $2, pulls = pulls + 1 where id in (
             select id from scan.tasks
              where state = 1 and sent_at is null and (leased_until is null or leased_until <= $1) and pulls < $3
              order by created_at limit $4 for update skip locked)
         returning id",
        now.to_sqlx() as _,
        until.to_sqlx() as _,
        pulls,
        most,
    )
    .fetch_all(db)
    .await
}

/// Ends the lease of a task that nobody was told of, unless somebody else has it by now.
///
/// # Errors
/// When the database fails.
pub async fn release(db: impl PgExecutor<'_>, id: Uuid, until: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update scan.tasks set leased_until = null, pulls = pulls - 1 where id = $1 and state = 1 and leased_until = $2",
        id,
        until.to_sqlx() as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Tasks that were leased as often as `pulls` and came to nothing each time.
///
/// # Errors
/// When the database fails.
pub async fn given_up(
    db: impl PgExecutor<'_>,
    now: Timestamp,
    pulls: i32,
    most: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from scan.tasks where state = 1 and sent_at is null and pulls >= $2 and leased_until <= $1
          order by created_at limit $3",
        now.to_sqlx() as _,
        pulls,
        most,
    )
    .fetch_all(db)
    .await
}
