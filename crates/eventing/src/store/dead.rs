//! Dead letters, for those who look after them.

use std::sync::Arc;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde::Deserialize;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::{
    Encoding, Event, Topic,
    dead::{DeadLetter, Depth, Filter},
};

#[derive(Debug, Clone)]
pub(crate) struct Statements {
    kept: Arc<str>,
    list: Arc<str>,
    depths: Arc<str>,
    reprocess: Arc<str>,
    discard: Arc<str>,
}

impl Statements {
    pub(crate) fn of(schema: &str) -> Self {
        let chosen = format!(
            "select consumer, id from {schema}.held_events
             where consumer = $1 and state in ('dead', 'archived') and ($2::text is null or reason = $2)
               and ($3::uuid is null or id = $3) and position > $5
             order by position limit $4 for update skip locked"
        );
        Self {
            kept: format!("select to_regclass('{schema}.held_events') is not null").into(),
            list: format!(
                "select id, topic, key, state = 'archived', failures, reason, error, held_at, envelope::text,
                        case when $6 then payload else '' end, position
                 from {schema}.held_events
                 where consumer = $1 and state in ('dead', 'archived') and ($2::text is null or reason = $2)
                   and ($3::uuid is null or id = $3) and position > $5
                 order by position limit $4"
            )
            .into(),
            depths: format!(
                "select consumer, count(*) filter (where state = 'dead'), count(*) filter (where state = 'archived'),
                        count(*) filter (where state in ('retry', 'waiting')),
                        min(held_at) filter (where state in ('dead', 'archived'))
                 from {schema}.held_events group by consumer order by consumer"
            )
            .into(),
            reprocess: format!(
                "update {schema}.held_events as held set state = 'retry', failures = 0, held_at = $6, due_at = $6
                 from ({chosen}) as chosen where held.consumer = chosen.consumer and held.id = chosen.id"
            )
            .into(),
            // An event that is delivered again stays discarded; no broker keeps it for a year.
            discard: format!(
                "with gone as (
                     delete from {schema}.held_events as held using ({chosen}) as chosen
                     where held.consumer = chosen.consumer and held.id = chosen.id
                     returning held.consumer, held.id, held.topic),
                 known as (
                     insert into {schema}.processed_events (idempotency_key, domain, processed_at, result, expires_at)
                     select consumer || ':' || id, split_part(consumer, '.', 1), $6::timestamptz, '{{\"discarded\": true}}',
                            $6::timestamptz + interval '366 days'
                     from gone where topic not like 'cmd:%' on conflict do nothing)
                 select count(*) from gone"
            )
            .into(),
        }
    }
}

/// How a payload that is kept is written.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    version: u32,
    encoding: Encoding,
}

pub(crate) async fn list(
    connection: &mut PgConnection,
    sql: &Statements,
    filter: &Filter,
    whole: bool,
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let rows = sqlx::query(AssertSqlSafe(Arc::clone(&sql.list)))
        .bind(&filter.consumer)
        .bind(&filter.reason)
        .bind(filter.id)
        .bind(i64::from(filter.count))
        .bind(filter.after)
        .bind(whole)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let held_at: jiff_sqlx::Timestamp = row.try_get(7)?;
            let (topic, envelope): (String, String) = (row.try_get(1)?, row.try_get(8)?);
            let written: Written = serde_json::from_str(&envelope).unwrap_or_default();
            let payload = Event::shown(&Topic::kept(topic.clone()), written.version, written.encoding, row.try_get(9)?);
            Ok(DeadLetter {
                id: row.try_get(0)?,
                topic,
                key: row.try_get(2)?,
                archived: row.try_get(3)?,
                failures: row.try_get::<i32, _>(4)?.cast_unsigned(),
                reason: row.try_get(5)?,
                error: row.try_get(6)?,
                died_at: held_at.to_jiff(),
                envelope,
                payload,
                position: row.try_get(10)?,
            })
        })
        .collect()
}

pub(crate) async fn kept(connection: &mut PgConnection, sql: &Statements) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(AssertSqlSafe(Arc::clone(&sql.kept))).fetch_one(connection).await
}

pub(crate) async fn depths(connection: &mut PgConnection, sql: &Statements) -> Result<Vec<Depth>, sqlx::Error> {
    let rows = sqlx::query(AssertSqlSafe(Arc::clone(&sql.depths))).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let oldest_at: Option<jiff_sqlx::Timestamp> = row.try_get(4)?;
            Ok(Depth {
                consumer: row.try_get(0)?,
                dead: row.try_get(1)?,
                archived: row.try_get(2)?,
                waiting: row.try_get(3)?,
                oldest_at: oldest_at.map(|at| at.to_jiff()),
            })
        })
        .collect()
}

pub(crate) async fn reprocess(
    connection: &mut PgConnection,
    sql: &Statements,
    filter: &Filter,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(AssertSqlSafe(Arc::clone(&sql.reprocess)))
        .bind(&filter.consumer)
        .bind(&filter.reason)
        .bind(filter.id)
        .bind(i64::from(filter.count))
        .bind(filter.after)
        .bind(now.to_sqlx())
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

pub(crate) async fn discard(
    connection: &mut PgConnection,
    sql: &Statements,
    filter: &Filter,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let gone: i64 = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&sql.discard)))
        .bind(&filter.consumer)
        .bind(&filter.reason)
        .bind(filter.id)
        .bind(i64::from(filter.count))
        .bind(filter.after)
        .bind(now.to_sqlx())
        .fetch_one(connection)
        .await?;
    Ok(gone.cast_unsigned())
}
