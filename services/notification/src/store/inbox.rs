//! `notification.inbox`: what people were told.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::text::Params;

/// A notification.
#[derive(Debug, Clone)]
pub struct Told {
    /// Id.
    pub id: Uuid,
    /// As the contract numbers it.
    pub kind: i16,
    /// Which text.
    pub template: String,
    /// What is filled in.
    pub params: Value,
    /// When.
    pub created_at: jiff_sqlx::Timestamp,
    /// When it was read.
    pub read_at: Option<jiff_sqlx::Timestamp>,
}

impl Told {
    /// What is filled in; nothing where it is none.
    #[must_use]
    pub fn params(&self) -> Params {
        params(&self.params)
    }
}

/// What is filled in, as it is kept.
#[must_use]
pub fn params(kept: &Value) -> Params {
    serde_json::from_value(kept.clone()).unwrap_or_default()
}

/// A notification that is made.
#[derive(Debug, Clone, Copy)]
pub struct New<'a> {
    /// Id.
    pub id: Uuid,
    /// Whose.
    pub user: Uuid,
    /// As the contract numbers it.
    pub kind: i16,
    /// Which text.
    pub template: &'a str,
    /// What is filled in.
    pub params: &'a Params,
    /// The event that it tells of.
    pub source: Uuid,
    /// When.
    pub now: Timestamp,
}

/// Writes one; `false` when the event was told before.
///
/// # Errors
/// When the database fails.
pub async fn insert(connection: &mut PgConnection, new: &New<'_>) -> Result<bool, sqlx::Error> {
    let written = sqlx::query!(
        "insert into notification.inbox (id, user_id, kind, template, params, source_event_id, created_at)
         values ($1, $2, $3, $4, $5, $6, $7) on conflict on constraint inbox_source_key do nothing",
        new.id,
        new.user,
        new.kind,
        new.template,
        serde_json::json!(new.params),
        new.source,
        new.now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Those of a user, the newest first, after a place among them.
///
/// # Errors
/// When the database fails.
pub async fn of_user(
    db: impl PgExecutor<'_>,
    user: Uuid,
    unread: bool,
    (before, most): (Option<(Timestamp, Uuid)>, i64),
) -> Result<Vec<Told>, sqlx::Error> {
    let (at, id) = before.map_or((None, None), |(at, id)| (Some(at.to_sqlx()), Some(id)));
    if unread {
        return sqlx::query_as!(
            Told,
            r#"select id, kind, template, params, created_at as "created_at: jiff_sqlx::Timestamp",
                      read_at as "read_at: jiff_sqlx::Timestamp"
                 from notification.inbox
                where user_id = $1 and read_at is null
                  and ($2::timestamptz is null or (created_at, id) < ($2::timestamptz, $3::uuid))
                order by created_at desc, id desc limit $4"#,
            user,
            at as _,
            id,
            most,
        )
        .fetch_all(db)
        .await;
    }
    sqlx::query_as!(
        Told,
        r#"select id, kind, template, params, created_at as "created_at: jiff_sqlx::Timestamp",
                  read_at as "read_at: jiff_sqlx::Timestamp"
             from notification.inbox
            where user_id = $1 and ($2::timestamptz is null or (created_at, id) < ($2::timestamptz, $3::uuid))
            order by created_at desc, id desc limit $4"#,
        user,
        at as _,
        id,
        most,
    )
    .fetch_all(db)
    .await
}

/// How many a user has not read.
///
/// # Errors
/// When the database fails.
pub async fn unread(db: impl PgExecutor<'_>, user: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from notification.inbox where user_id = $1 and read_at is null"#,
        user,
    )
    .fetch_one(db)
    .await
}

/// When a notification of a user was read; none where it is not, or they have no such.
///
/// # Errors
/// When the database fails.
pub async fn read_at(db: impl PgExecutor<'_>, user: Uuid, id: Uuid) -> Result<Option<Timestamp>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        r#"select read_at as "read_at: jiff_sqlx::Timestamp" from notification.inbox where id = $1 and user_id = $2"#,
        id,
        user,
    );
    Ok(found.fetch_optional(db).await?.flatten().map(|at| at.to_jiff()))
}

/// Marks one of a user, whose row is locked, as read; `false` when it is, or is none of theirs.
///
/// # Errors
/// When the database fails.
pub async fn mark(connection: &mut PgConnection, user: Uuid, id: Uuid, now: Timestamp) -> Result<bool, sqlx::Error> {
    let marked = sqlx::query!(
        "update notification.inbox set read_at = $3 where id = $1 and user_id = $2 and read_at is null",
        id,
        user,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(marked.rows_affected() == 1)
}

/// Marks the oldest of a user, whose row is locked, that came until a time as read.
///
/// # Errors
/// When the database fails.
pub async fn mark_some(
    connection: &mut PgConnection,
    user: Uuid,
    (until, now): (Timestamp, Timestamp),
    most: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "update notification.inbox set read_at = $3 where id in (
             select id from notification.inbox where user_id = $1 and read_at is null and created_at <= $2
              order by created_at, id limit $4)
         returning id",
        user,
        until.to_sqlx() as _,
        now.to_sqlx() as _,
        most,
    )
    .fetch_all(connection)
    .await
}

/// Removes some that are as old as that, with their pushes; how many.
///
/// # Errors
/// When the database fails.
pub async fn forget_old(db: impl PgExecutor<'_>, old: Timestamp, most: i64) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query!(
        "delete from notification.inbox where id in (
             select id from notification.inbox where created_at < $1 order by created_at limit $2 for update skip locked)",
        old.to_sqlx() as _,
        most,
    )
    .execute(db)
    .await?;
    Ok(gone.rows_affected())
}
