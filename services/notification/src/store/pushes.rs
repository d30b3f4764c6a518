//! `notification.pushes`: what is to be pushed to which device, and what became of it.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::{origin::Origin, vault::Sealed};

/// How far a push is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[repr(i16)]
pub enum State {
    /// It waits until it is due.
    Waits = 1,
    /// It is a command.
    Sent = 2,
    /// The gateway has it.
    Taken = 3,
    /// It was given up.
    GivenUp = 4,
    /// It is not to be pushed any more.
    Dropped = 5,
}

/// A push that is made.
#[derive(Debug, Clone, Copy)]
pub struct New<'a> {
    /// Id.
    pub id: Uuid,
    /// What is pushed.
    pub notification: Uuid,
    /// To which device.
    pub device: Uuid,
    /// Whose it is.
    pub user: Uuid,
    /// Idempotency key of its command.
    pub key: Uuid,
    /// It waits until then; none: it is sent now.
    pub due: Option<Timestamp>,
    /// Where it comes from.
    pub origin: &'a Origin,
    /// When.
    pub now: Timestamp,
}

/// A push with what is needed to send it.
#[derive(Debug, Clone)]
pub struct Ready {
    /// To which device.
    pub device_id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// How far it is.
    pub state: State,
    /// Idempotency key of its command.
    pub command_key: Uuid,
    /// Its notification.
    pub notification_id: Uuid,
    /// As the contract numbers it.
    pub kind: i16,
    /// Which text.
    pub template: String,
    /// What is filled in.
    pub params: Value,
    /// It was read.
    pub is_read: bool,
    token_hash: Option<Vec<u8>>,
    token_sealed: Option<Vec<u8>>,
    token_key: Option<String>,
}

impl Ready {
    /// The token of the device and its hash; none when the device is gone, or is somebody else's.
    #[must_use]
    pub fn token(&self) -> Option<(Sealed, &[u8])> {
        let (bytes, key) = (self.token_sealed.clone()?, self.token_key.clone()?);
        Some((Sealed { bytes, key }, self.token_hash.as_deref()?))
    }
}

/// A push that is to be sent now.
#[derive(Debug, Clone)]
pub struct Due {
    /// Which.
    pub id: Uuid,
    /// To which device.
    pub device_id: Uuid,
    /// Idempotency key of the command before.
    pub command_key: Uuid,
    /// Trace of what it comes of.
    pub traceparent: String,
    /// Its request.
    pub request_id: String,
}

impl Due {
    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin { traceparent: self.traceparent.clone(), request_id: self.request_id.clone() }
    }
}

/// Writes one.
///
/// # Errors
/// When the database fails.
pub async fn insert(connection: &mut PgConnection, new: &New<'_>) -> Result<(), sqlx::Error> {
    let (state, sent) = if new.due.is_some() { (State::Waits, None) } else { (State::Sent, Some(new.now)) };
    sqlx::query!(
        "insert into notification.pushes (id, notification_id, device_id, user_id, state, command_key, due_at, sent_at,
                                          traceparent, request_id, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        new.id,
        new.notification,
        new.device,
        new.user,
        state as i16,
        new.key,
        new.due.map(|at| at.to_sqlx()) as _,
        sent.map(|at| at.to_sqlx()) as _,
        new.origin.traceparent,
        new.origin.request_id,
        new.now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A push, with what is needed to send it.
///
/// # Errors
/// When the database fails.
pub async fn ready(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Ready>, sqlx::Error> {
    sqlx::query_as!(
        Ready,
        r#"select p.device_id, p.user_id, p.state as "state: State", p.command_key, p.notification_id, n.kind, n.template,
                  n.params, n.read_at is not null as "is_read!", d.token_hash as "token_hash?",
                  d.token_sealed as "token_sealed?", d.token_key as "token_key?"
             from notification.pushes p
             join notification.inbox n on n.id = p.notification_id
             left join notification.devices d on d.id = p.device_id and d.user_id = p.user_id
            where p.id = $1"#,
        id,
    )
    .fetch_optional(db)
    .await
}

/// Writes that the gateway has a push; `false` when its command is another's by now, or it is over.
///
/// # Errors
/// When the database fails.
pub async fn taken(
    connection: &mut PgConnection,
    (id, key): (Uuid, Uuid),
    name: &str,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let ended = sqlx::query!(
        "update notification.pushes set state = 3, message_name = $3, outcome = '', ended_at = $4
          where id = $1 and command_key = $2 and state in (2, 4)",
        id,
        key,
        name,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// Writes that a push is given up, or not to be pushed; `false` when its command is another's by now, or it is over.
///
/// # Errors
/// When the database fails.
pub async fn end(
    connection: &mut PgConnection,
    (id, key): (Uuid, Uuid),
    (state, outcome): (State, &str),
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let ended = sqlx::query!(
        "update notification.pushes set state = $3, outcome = $4, ended_at = $5
          where id = $1 and command_key = $2 and state in (2, 4)",
        id,
        key,
        state as i16,
        outcome,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// Lets a push wait; `false` when its command is another's by now, or it is over.
///
/// # Errors
/// When the database fails.
pub async fn wait(connection: &mut PgConnection, (id, key): (Uuid, Uuid), due: Timestamp) -> Result<bool, sqlx::Error> {
    let waits = sqlx::query!(
        "update notification.pushes set state = 1, due_at = $3, ended_at = null, outcome = ''
          where id = $1 and command_key = $2 and state in (2, 4)",
        id,
        key,
        due.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(waits.rows_affected() == 1)
}

/// What of a user waits is due now: their quiet hours are others.
///
/// # Errors
/// When the database fails.
pub async fn hurry(connection: &mut PgConnection, user: Uuid, now: Timestamp) -> Result<(), sqlx::Error> {
    let hurried = sqlx::query!(
        "update notification.pushes set due_at = $2 where user_id = $1 and state = 1",
        user,
        now.to_sqlx() as _,
    );
    hurried.execute(connection).await?;
    Ok(())
}

/// How many commands are on their way, counted up to `most`.
///
/// # Errors
/// When the database fails.
pub async fn on_their_way(db: impl PgExecutor<'_>, most: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from (select 1 from notification.pushes where state = 2 limit $1) as few"#,
        most,
    )
    .fetch_one(db)
    .await
}

/// The oldest that are due and that nobody has, locked until the transaction ends.
///
/// # Errors
/// When the database fails.
pub async fn due(connection: &mut PgConnection, now: Timestamp, most: i64) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as!(
        Due,
        "select id, device_id, command_key, traceparent, request_id from notification.pushes
          where state = 1 and due_at <= $1 order by due_at limit $2 for update skip locked",
        now.to_sqlx() as _,
        most,
    )
    .fetch_all(connection)
    .await
}

/// The oldest that were sent at `lost` or before and are not over, locked until the transaction ends.
///
/// # Errors
/// When the database fails.
pub async fn lost(connection: &mut PgConnection, lost: Timestamp, most: i64) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as!(
        Due,
        "select id, device_id, command_key, traceparent, request_id from notification.pushes
          where state = 2 and sent_at <= $1 order by sent_at limit $2 for update skip locked",
        lost.to_sqlx() as _,
        most,
    )
    .fetch_all(connection)
    .await
}

/// Writes that a push that is locked is a command of this key.
///
/// # Errors
/// When the database fails.
pub async fn send(connection: &mut PgConnection, id: Uuid, key: Uuid, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update notification.pushes set state = 2, command_key = $2, due_at = null, sent_at = $3 where id = $1",
        id,
        key,
        now.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}
