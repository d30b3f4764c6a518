//! What a consumer has acted on (`<schema>.processed_events`) and what it could not (`<schema>.held_events`).

use std::sync::Arc;

use coreloop_planted::{self as planted, Bug};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{AssertSqlSafe, PgConnection, Row as _, types::Json};
use uuid::Uuid;

use super::envelope::Envelope;
use crate::{Event, metrics::Held};

#[derive(Debug, Clone)]
pub(crate) struct Statements {
    claim: Arc<str>,
    claim_held: Arc<str>,
    known: Arc<str>,
    note: Arc<str>,
    hold: Arc<str>,
    head: Arc<str>,
    bury: Arc<str>,
    release: Arc<str>,
    settle: Arc<str>,
    due: Arc<str>,
    count: Arc<str>,
    archive: Arc<str>,
    sweep: Arc<str>,
    began: Arc<str>,
    begin: Arc<str>,
}

impl Statements {
    pub(crate) fn of(schema: &str) -> Self {
        let held = format!("{schema}.held_events");
        let (claim, claim_held) = claims(schema);
        Self {
            claim: claim.into(),
            claim_held: claim_held.into(),
            known: format!(
                "select exists (select from {held} where consumer = $1 and key = $2 and state in ('retry', 'waiting')),
                     exists (select from {schema}.processed_events where idempotency_key = $3 and expires_at > $4)
                     or exists (select from {held} where consumer = $1 and id = $5 and state in ('dead', 'archived')
                                and topic not like 'cmd:%')"
            )
            .into(),
            note: format!("update {schema}.processed_events set result = $2 where idempotency_key = $1").into(),
            hold: format!(
                "insert into {held} (consumer, id, topic, key, envelope, payload, state, failures, reason, error, held_at, due_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
                 on conflict on constraint held_events_pkey do nothing"
            )
            .into(),
            head: format!("select topic, envelope, payload, failures, due_at {}", first_of_key(&held)).into(),
            bury: bury(&held).into(),
            release: format!("delete from {held} where consumer = $1 and id = $2").into(),
            settle: format!(
                "update {held} set state = $3, failures = $4, reason = $5, error = $6, held_at = $7, due_at = $8
                 where consumer = $1 and id = $2"
            )
            .into(),
            // A key is due when its head is: only the head is ever tried, whatever waits behind it has no time.
            due: format!(
                "select key, due_at from (
                     select distinct on (key) key, due_at from {held}
                     where consumer = $1 and state in ('retry', 'waiting') order by key, position) as heads
                 order by due_at limit $2"
            )
            .into(),
            count: format!(
                "select count(*) filter (where state in ('retry', 'waiting')), count(*) filter (where state = 'dead'),
                     count(*) filter (where state = 'archived')
                 from {held} where consumer = $1"
            )
            .into(),
            archive: format!(
                "update {held} set state = 'archived' where consumer = $1 and state = 'dead' and held_at < $2"
            )
            .into(),
            sweep: format!(
                "delete from {schema}.processed_events where idempotency_key in (
                     select idempotency_key from {schema}.processed_events where expires_at < $1
                     order by expires_at limit 1000)"
            )
            .into(),
            began: format!("select processed_at from {schema}.processed_events where idempotency_key = $1").into(),
            begin: format!(
                "insert into {schema}.processed_events (idempotency_key, domain, processed_at, expires_at)
                 values ($1, $2, $3, 'infinity') on conflict do nothing"
            )
            .into(),
        }
    }
}

/// The first that a key holds.
fn first_of_key(held: &str) -> String {
    format!("from {held} where consumer = $1 and key = $2 and state in ('retry', 'waiting') order by position limit 1")
}

/// Makes that a dead letter.
fn bury(held: &str) -> String {
    format!(
        "update {held} set state = 'dead', reason = 'UNREADABLE', error = $3, held_at = $4
         where (consumer, id) = (select consumer, id {})",
        first_of_key(held)
    )
}

/// Claims an event: the first where it is delivered, the second where it is the head of those that are held. One that is a
/// dead letter waits for those who look after it, however often it is delivered; a command is sent again on purpose.
fn claims(schema: &str) -> (String, String) {
    let insert = format!(
        "insert into {schema}.processed_events as mine (idempotency_key, domain, processed_at, expires_at)
             select $1, $2, $3, $4"
    );
    let known = "on conflict (idempotency_key) do update
             set processed_at = excluded.processed_at, expires_at = excluded.expires_at
             where mine.expires_at <= excluded.processed_at returning 1";
    let delivered = format!(
        "with ahead as materialized (select exists (
             select from {schema}.held_events where consumer = $5 and key = $6 and state in ('retry', 'waiting')) as waits,
             exists (
             select from {schema}.held_events where consumer = $5 and id = $7 and state in ('dead', 'archived')
                 and topic not like 'cmd:%') as dead),
         claimed as ({insert} from ahead where not waits and not dead {known})
         select waits and not dead, exists (select from claimed) from ahead"
    );
    (delivered, format!("with claimed as ({insert} {known}) select false, exists (select from claimed)"))
}

/// Whether an event may be handled now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It may, in this transaction if it was claimed in one.
    Mine,
    /// It has had its effect.
    Done,
    /// One of its key before it waits to be tried again.
    Behind,
}

/// Claims an event in the transaction that handles it; a second claim waits for the first to end. With `held`, it is the
/// head of those that wait.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    sql: &Statements,
    (consumer, event, held): (&str, &Event, bool),
    now: Timestamp,
    expires: Timestamp,
) -> Result<Claim, sqlx::Error> {
    let statement = if held { &sql.claim_held } else { &sql.claim };
    let mut query = sqlx::query(AssertSqlSafe(Arc::clone(statement)))
        .bind(format!("{consumer}:{}", event.id))
        .bind(domain(consumer))
        .bind(now.to_sqlx())
        .bind(expires.to_sqlx());
    if !held {
        query = query.bind(consumer).bind(&event.key).bind(event.id);
    }
    let row = query.fetch_one(connection).await?;
    Ok(match (row.try_get(0)?, row.try_get(1)?) {
        (true, _) => Claim::Behind,
        (false, true) => Claim::Mine,
        (false, false) if planted::on(Bug::NoInbox) || planted::on(Bug::ToldTwice) => Claim::Mine,
        (false, false) => Claim::Done,
    })
}

fn domain(consumer: &str) -> &str {
    consumer.split('.').next().unwrap_or_default()
}

/// What stands for the beginning of a consumer among what it acted on. No event has such an id.
fn beginning(consumer: &str) -> String {
    format!("{consumer}:began")
}

/// When a consumer that heard only what was new began to.
pub(crate) async fn began(
    connection: &mut PgConnection,
    sql: &Statements,
    consumer: &str,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let at: Option<jiff_sqlx::Timestamp> = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&sql.began)))
        .bind(beginning(consumer))
        .fetch_optional(connection)
        .await?;
    Ok(at.map(jiff_sqlx::Timestamp::to_jiff))
}

/// Notes that a consumer begins, unless it did.
pub(crate) async fn begin(
    connection: &mut PgConnection,
    sql: &Statements,
    consumer: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(Arc::clone(&sql.begin)))
        .bind(beginning(consumer))
        .bind(domain(consumer))
        .bind(now.to_sqlx())
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether an event may be handled, without a claim: what is seen may be over by the time of one.
pub(crate) async fn look(
    connection: &mut PgConnection,
    sql: &Statements,
    (consumer, event, held): (&str, &Event, bool),
    now: Timestamp,
) -> Result<Claim, sqlx::Error> {
    let row = sqlx::query(AssertSqlSafe(Arc::clone(&sql.known)))
        .bind(consumer)
        .bind(&event.key)
        .bind(format!("{consumer}:{}", event.id))
        .bind(now.to_sqlx())
        .bind(event.id)
        .fetch_one(connection)
        .await?;
    let (waits, known): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    Ok(match (known, waits && !held) {
        (true, _) => Claim::Done,
        (_, true) => Claim::Behind,
        _ => Claim::Mine,
    })
}

/// Notes what a command that was claimed has come to.
pub(crate) async fn note(
    connection: &mut PgConnection,
    sql: &Statements,
    (consumer, event): (&str, &Event),
    result: &serde_json::Value,
) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(Arc::clone(&sql.note)))
        .bind(format!("{consumer}:{}", event.id))
        .bind(result)
        .execute(connection)
        .await?;
    Ok(())
}

/// What is known of an event that is held.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) state: &'static str,
    pub(crate) failures: u32,
    pub(crate) reason: String,
    pub(crate) error: String,
    pub(crate) now: Timestamp,
    pub(crate) due: Timestamp,
}

/// Keeps an event, and answers true; one that is kept already stays as it is.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    sql: &Statements,
    consumer: &str,
    event: &Event,
    standing: &Standing,
) -> Result<bool, sqlx::Error> {
    let kept = sqlx::query(AssertSqlSafe(Arc::clone(&sql.hold)))
        .bind(consumer)
        .bind(event.id)
        .bind(event.topic.as_str())
        .bind(&event.key)
        .bind(Json(Envelope::of(event)))
        .bind(event.payload.as_ref())
        .bind(standing.state)
        .bind(standing.failures.cast_signed())
        .bind(&standing.reason)
        .bind(&standing.error)
        .bind(standing.now.to_sqlx())
        .bind(standing.due.to_sqlx())
        .execute(connection)
        .await?;
    Ok(kept.rows_affected() > 0)
}

/// The first of a key that is held and not dead: the event, its failures, and when it is due.
pub(crate) async fn head(
    connection: &mut PgConnection,
    sql: &Statements,
    consumer: &str,
    key: &str,
) -> Result<Option<(Event, u32, Timestamp)>, sqlx::Error> {
    let row =
        sqlx::query(AssertSqlSafe(Arc::clone(&sql.head))).bind(consumer).bind(key).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let Json(envelope): Json<Envelope> = row.try_get(1)?;
    let due: jiff_sqlx::Timestamp = row.try_get(4)?;
    let event = envelope.event(row.try_get(0)?, key, row.try_get(2)?);
    Ok(Some((event, row.try_get::<i32, _>(3)?.cast_unsigned(), due.to_jiff())))
}

/// Makes the first of a key a dead letter, which cannot be read.
pub(crate) async fn bury_first(
    connection: &mut PgConnection,
    sql: &Statements,
    (consumer, key): (&str, &str),
    error: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(Arc::clone(&sql.bury)))
        .bind(consumer)
        .bind(key)
        .bind(error)
        .bind(now.to_sqlx())
        .execute(connection)
        .await?;
    Ok(())
}

/// Lets go of an event that was handled.
pub(crate) async fn release(
    connection: &mut PgConnection,
    sql: &Statements,
    consumer: &str,
    id: Uuid,
) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(Arc::clone(&sql.release))).bind(consumer).bind(id).execute(connection).await?;
    Ok(())
}

/// Notes one more failure of an event that is held.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    sql: &Statements,
    consumer: &str,
    id: Uuid,
    standing: &Standing,
) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(Arc::clone(&sql.settle)))
        .bind(consumer)
        .bind(id)
        .bind(standing.state)
        .bind(standing.failures.cast_signed())
        .bind(&standing.reason)
        .bind(&standing.error)
        .bind(standing.now.to_sqlx())
        .bind(standing.due.to_sqlx())
        .execute(connection)
        .await?;
    Ok(())
}

/// Keys that hold events, with the time when each is due, the earliest first.
pub(crate) async fn due(
    connection: &mut PgConnection,
    sql: &Statements,
    consumer: &str,
    most: i64,
) -> Result<Vec<(String, Timestamp)>, sqlx::Error> {
    let rows = sqlx::query(AssertSqlSafe(Arc::clone(&sql.due))).bind(consumer).bind(most).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let due: jiff_sqlx::Timestamp = row.try_get(1)?;
            Ok((row.try_get(0)?, due.to_jiff()))
        })
        .collect()
}

/// How many events are held.
pub(crate) async fn count(
    connection: &mut PgConnection,
    sql: &Statements,
    consumer: &str,
) -> Result<Held, sqlx::Error> {
    let row = sqlx::query(AssertSqlSafe(Arc::clone(&sql.count))).bind(consumer).fetch_one(connection).await?;
    Ok(Held { alive: row.try_get(0)?, dead: row.try_get(1)?, archived: row.try_get(2)? })
}

/// Forgets what was acted on so long ago that nobody delivers it again, a thousand at a time; answers how many.
pub(crate) async fn sweep(connection: &mut PgConnection, sql: &Statements, now: Timestamp) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(AssertSqlSafe(Arc::clone(&sql.sweep))).bind(now.to_sqlx()).execute(connection).await?;
    Ok(done.rows_affected())
}

/// Moves dead letters of before `before` to the archive.
pub(crate) async fn archive(
    connection: &mut PgConnection,
    sql: &Statements,
    consumer: &str,
    before: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(Arc::clone(&sql.archive)))
        .bind(consumer)
        .bind(before.to_sqlx())
        .execute(connection)
        .await?;
    Ok(())
}
