//! `scan.tasks`: a task from its beginning to its end.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::{origin::Origin, verdict::Verdict};

/// How far a task is, as the contract numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[repr(i16)]
pub enum State {
    /// It waits, or somebody is at it.
    Queued = 1,
    /// It has a result.
    Completed = 2,
    /// It came to nothing.
    Failed = 3,
}

/// What a result earns, as the contract numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[repr(i16)]
pub enum Reward {
    /// There is no result.
    Open = 0,
    /// Nothing.
    Nothing = 1,
    /// It is to be rewarded.
    Pending = 2,
    /// It was rewarded.
    Granted = 3,
    /// It could not be rewarded.
    Failed = 4,
}

/// A task.
#[derive(Debug, Clone)]
pub struct Task {
    /// Id.
    pub id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// The image; none where it was given by an address.
    pub image_id: Option<Uuid>,
    /// The address; may be a secret.
    pub image_url: String,
    /// What storage calls the content; empty: not known.
    pub etag: String,
    /// What the user says of it.
    pub user_input: String,
    /// How far it is.
    pub state: State,
    /// Events of its history.
    pub version: i64,
    /// As the contract numbers it; 0: no result.
    pub category: i16,
    /// More closely.
    pub sub_category: String,
    /// 0 to 1.
    pub confidence: f64,
    /// How it is to be thrown away.
    pub guidance: String,
    /// Whether it can be recycled.
    pub recyclable: bool,
    /// Whether it earns something.
    pub reward_eligible: bool,
    /// What it has earned.
    pub reward_status: Reward,
    /// Why it earns nothing.
    pub reward_reason: String,
    /// Why it came to nothing.
    pub failure: String,
    /// The day on which it came, in UTC.
    pub day: jiff_sqlx::Date,
    /// When it came.
    pub created_at: jiff_sqlx::Timestamp,
    /// When it came to its end.
    pub done_at: Option<jiff_sqlx::Timestamp>,
    /// Trace of the call that it came by.
    pub traceparent: String,
    /// Its request.
    pub request_id: String,
}

impl Task {
    /// Where it came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin { traceparent: self.traceparent.clone(), request_id: self.request_id.clone() }
    }
}

/// A task that begins.
#[derive(Debug, Clone)]
pub struct New {
    /// Id.
    pub id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// The image; none where it is given by an address.
    pub image_id: Option<Uuid>,
    /// The address.
    pub image_url: String,
    /// What storage calls the content; empty: not known.
    pub etag: String,
    /// What the user says of it.
    pub user_input: String,
    /// Key of the request; none where the image names it.
    pub key: Option<String>,
    /// The day on which it came, in UTC.
    pub day: Date,
    /// When it came.
    pub created_at: Timestamp,
}

/// Writes one, `sent` or waiting; `false` when the image or the key is known.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    connection: &mut PgConnection,
    new: &New,
    sent: Option<Timestamp>,
    origin: &Origin,
) -> Result<bool, sqlx::Error> {
    let written = sqlx::query!(
        "insert into scan.tasks (id, user_id, image_id, image_url, etag, user_input, key, state, day, created_at, sent_at,
                                 traceparent, request_id)
         values ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9, $10, $11, $12) on conflict do nothing",
        new.id,
        new.user_id,
        new.image_id,
        new.image_url,
        new.etag,
        new.user_input,
        new.key,
        new.day.to_sqlx() as _,
        new.created_at.to_sqlx() as _,
        sent.map(|at| at.to_sqlx()) as _,
        origin.traceparent,
        origin.request_id,
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// A task.
///
/// # Errors
/// When the database fails.
pub async fn by_id(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Task>, sqlx::Error> {
    sqlx::query_as!(
        Task,
        r#"select id, user_id, image_id, image_url, etag, user_input, state as "state: State", version, category, sub_category,
                  confidence, guidance, recyclable, reward_eligible, reward_status as "reward_status: Reward", reward_reason,
                  failure, day as "day: jiff_sqlx::Date", created_at as "created_at: jiff_sqlx::Timestamp",
                  done_at as "done_at: jiff_sqlx::Timestamp", traceparent, request_id
             from scan.tasks where id = $1"#,
        id,
    )
    .fetch_optional(db)
    .await
}

/// The task of an image.
///
/// # Errors
/// When the database fails.
pub async fn of_image(db: impl PgExecutor<'_>, image: Uuid) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!("select id from scan.tasks where image_id = $1", image).fetch_optional(db).await
}

/// The task that a user asked for under a key.
///
/// # Errors
/// When the database fails.
pub async fn of_key(db: impl PgExecutor<'_>, user: Uuid, key: &str) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!("select id from scan.tasks where user_id = $1 and key = $2", user, key).fetch_optional(db).await
}

/// Which tasks of a user.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// From this day on.
    pub from: Option<Date>,
    /// To this day, and with it.
    pub to: Option<Date>,
    /// Of this category, as the contract numbers it.
    pub category: Option<i16>,
    /// Before this one.
    pub before: Option<(Timestamp, Uuid)>,
}

/// Tasks of a user, newest first.
///
/// # Errors
/// When the database fails.
pub async fn of_user(
    db: impl PgExecutor<'_>,
    user: Uuid,
    wanted: &Wanted,
    most: i64,
) -> Result<Vec<Task>, sqlx::Error> {
    let (at, id) = wanted.before.unzip();
    sqlx::query_as!(
        Task,
        r#"select id, user_id, image_id, image_url, etag, user_input, state as "state: State", version, category, sub_category,
                  confidence, guidance, recyclable, reward_eligible, reward_status as "reward_status: Reward", reward_reason,
                  failure, day as "day: jiff_sqlx::Date", created_at as "created_at: jiff_sqlx::Timestamp",
                  done_at as "done_at: jiff_sqlx::Timestamp", traceparent, request_id
             from scan.tasks
            where user_id = $1 and ($2::date is null or day >= $2) and ($3::date is null or day <= $3)
              and ($4::smallint is null or category = $4)
              and ($5::timestamptz is null or (created_at, id) < ($5, $6))
            order by created_at desc, id desc limit $7"#,
        user,
        wanted.from.map(|day| day.to_sqlx()) as _,
        wanted.to.map(|day| day.to_sqlx()) as _,
        wanted.category,
        at.map(|at| at.to_sqlx()) as _,
        id,
        most,
    )
    .fetch_all(db)
    .await
}

/// Locks a task until the transaction ends; none when there is none.
///
/// # Errors
/// When the database fails.
pub async fn lock(connection: &mut PgConnection, id: Uuid) -> Result<Option<Task>, sqlx::Error> {
    let locked = sqlx::query_scalar!("select id from scan.tasks where id = $1 for update", id);
    // Read after the lock: what whoever held it before has written is seen.
    match locked.fetch_optional(&mut *connection).await? {
        Some(id) => by_id(connection, id).await,
        None => Ok(None),
    }
}

/// Writes the result of a task that is locked, and why it earns nothing (none: it does).
///
/// # Errors
/// When the database fails.
pub async fn complete(
    connection: &mut PgConnection,
    id: Uuid,
    verdict: &Verdict,
    unearned: Option<&str>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let reward = if unearned.is_none() { Reward::Pending } else { Reward::Nothing };
    sqlx::query!(
        "update scan.tasks
            set state = 2, version = version + 1, category = $2, sub_category = $3, confidence = $4, guidance = $5,
                recyclable = $6, reward_eligible = $7, reward_status = $8, reward_reason = $9, failure = '', done_at = $10,
                leased_until = null
          where id = $1",
        id,
        verdict.category,
        verdict.sub_category,
        verdict.confidence,
        verdict.guidance,
        verdict.recyclable,
        unearned.is_none(),
        reward as i16,
        unearned.unwrap_or_default(),
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes why a task that is locked came to nothing.
///
/// # Errors
/// When the database fails.
pub async fn fail(connection: &mut PgConnection, id: Uuid, reason: &str, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update scan.tasks set state = 3, version = version + 1, failure = $2, done_at = $3, leased_until = null where id = $1",
        id,
        reason,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes what became of what a task that is locked had earned, and how many events its history has more.
///
/// # Errors
/// When the database fails.
pub async fn reward(
    connection: &mut PgConnection,
    id: Uuid,
    status: Reward,
    reason: &str,
    events: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update scan.tasks set reward_status = $2, reward_reason = $3, version = version + $4 where id = $1",
        id,
        status as i16,
        reason,
        events,
    )
    .execute(connection)
    .await?;
    Ok(())
}
