//! The statements. The schema is the domain's own, so they are put together once, from checked names.

use std::sync::Arc;

use futures::{StreamExt as _, stream::BoxStream};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::{AssertSqlSafe, PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use crate::history::{Snapshot, Stored, Written};

#[derive(Debug, Clone)]
pub(crate) struct Statements {
    /// Name of the constraint that decides who was first.
    pub(crate) sequence_key: Arc<str>,
    load: Arc<str>,
    insert: Arc<str>,
    version_at: Arc<str>,
    number_of: Arc<str>,
    page: Arc<str>,
    everything: Arc<str>,
    snapshots: Option<Snapshots>,
}

#[derive(Debug, Clone)]
struct Snapshots {
    insert: Arc<str>,
    all: Arc<str>,
}

/// Which aggregate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) kind: &'static str,
    pub(crate) id: Uuid,
}

impl Statements {
    /// For `<schema>.<events>`, and `<schema>.snapshots` when there is such a table; names have been checked.
    pub(crate) fn of(schema: &str, events: &str, snapshots: bool) -> Self {
        let table = format!("{schema}.{events}");
        let taken = format!("{schema}.snapshots");
        let of_one = "aggregate_type = $1 and aggregate_id = $2";
        let columns = "sequence_number, event_id, event_type, payload, metadata->>'version' as version";
        let newest = match snapshots {
            true => format!(
                "select sequence_number, event_id, state from {taken}
                 where {of_one} and schema_number = $3 and sequence_number <= $4
                 order by sequence_number desc limit 1"
            ),
            false => "select null::bigint as sequence_number, null::uuid as event_id, null::jsonb as state
                      where $3::integer is null"
                .to_owned(),
        };
        Self {
            sequence_key: format!("{events}_sequence_key").into(),
            // One statement is one look: no event comes between the snapshot and those that follow it.
            load: format!(
                "with newest as materialized ({newest})
                 select sequence_number, event_id, null::text as event_type, state as payload, null::text as version
                 from newest
                 union all
                 select {columns} from {table} where {of_one} and sequence_number <= $4
                    and sequence_number > coalesce((select sequence_number from newest), 0)
                 order by sequence_number"
            )
            .into(),
            // Behind the event that the writer has seen last, which never changes and never goes away; whether another
            // is there already, the unique constraint says.
            insert: format!(
                "insert into {table}
                     (event_id, aggregate_type, aggregate_id, sequence_number, event_type, payload, metadata, created_at)
                 select id, $1, $2, $3 + place, kind, payload::jsonb,
                        $9::jsonb || jsonb_build_object('version', version), greatest($10, last.created_at)
                 from (select created_at from {table}
                       where {of_one} and sequence_number = $3 and ($4::uuid is null or event_id = $4)
                       union all select null where $3 = 0) as last,
                      unnest($5::uuid[], $6::text[], $7::integer[], $8::text[]) with ordinality
                      as given(id, kind, version, payload, place)
                 order by place"
            )
            .into(),
            version_at: format!(
                "select sequence_number from {table} where {of_one} and created_at <= $3
                 order by sequence_number desc limit 1"
            )
            .into(),
            number_of: format!("select sequence_number from {table} where {of_one} and event_id = $3").into(),
            page: format!(
                "select {columns}, created_at, coalesce(metadata->>'trace_id', ''), coalesce(metadata->>'request_id', '')
                 from {table} where {of_one} and sequence_number > $3 order by sequence_number limit $4"
            )
            .into(),
            everything: format!(
                "select {columns}, created_at, coalesce(metadata->>'trace_id', ''), coalesce(metadata->>'request_id', ''),
                        aggregate_id
                 from {table} where aggregate_type = $1 and (aggregate_id, sequence_number) > ($2, $3)
                 order by aggregate_id, sequence_number limit $4"
            )
            .into(),
            snapshots: snapshots.then(|| Snapshots::of(&taken, of_one)),
        }
    }
}

impl Snapshots {
    fn of(table: &str, of_one: &str) -> Self {
        Self {
            insert: format!(
                "insert into {table}
                     (aggregate_type, aggregate_id, schema_number, sequence_number, event_id, state, created_at)
                 select $1, $2, $3, sequence_number, event_id, state, $7
                 from unnest($4::bigint[], $5::uuid[], $6::jsonb[]) as given(sequence_number, event_id, state)
                 on conflict do nothing"
            )
            .into(),
            all: format!(
                "select sequence_number, event_id, state from {table} where {of_one} and schema_number = $3
                 order by sequence_number"
            )
            .into(),
        }
    }
}

/// A row of what an aggregate is loaded from.
pub(crate) enum Row {
    Snapshot(Snapshot),
    Event(Stored),
}

/// The newest snapshot up to version `until` and the events after it, in order.
pub(crate) fn load<'c>(
    connection: &'c mut PgConnection,
    sql: &Statements,
    key: Key,
    schema_number: i32,
    until: i64,
) -> BoxStream<'c, Result<Row, sqlx::Error>> {
    sqlx::query(AssertSqlSafe(Arc::clone(&sql.load)))
        .bind(key.kind)
        .bind(key.id)
        .bind(schema_number)
        .bind(until)
        .fetch(connection)
        .map(|row| {
            let row = row?;
            Ok(match row.try_get(2)? {
                Some(event_type) => Row::Event(stored(&row, event_type)?),
                None => Row::Snapshot(snapshot(&row, 3)?),
            })
        })
        .boxed()
}

fn stored(row: &PgRow, event_type: String) -> Result<Stored, sqlx::Error> {
    Ok(Stored {
        sequence: row.try_get(0)?,
        id: row.try_get(1)?,
        event_type,
        payload: row.try_get(3)?,
        version: row.try_get(4)?,
    })
}

fn snapshot(row: &PgRow, state: usize) -> Result<Snapshot, sqlx::Error> {
    Ok(Snapshot { sequence: row.try_get(0)?, event: row.try_get(1)?, state: row.try_get(state)? })
}

/// Where events are written, and what they share.
pub(crate) struct Place {
    /// Number of the event they follow; zero for the first.
    pub(crate) after: i64,
    /// That event, when the writer knows it.
    pub(crate) head: Option<Uuid>,
    pub(crate) metadata: serde_json::Value,
    pub(crate) now: Timestamp,
}

/// Writes events; none when the event they are to follow is not there.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    sql: &Statements,
    key: Key,
    rows: &[Written],
    place: &Place,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(AssertSqlSafe(Arc::clone(&sql.insert)))
        .bind(key.kind)
        .bind(key.id)
        .bind(place.after)
        .bind(place.head)
        .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.event_type).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.version).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.payload.as_str()).collect::<Vec<_>>())
        .bind(&place.metadata)
        .bind(place.now.to_sqlx())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == rows.len() as u64)
}

/// Keeps snapshots, where there is a table of them.
pub(crate) async fn keep(
    connection: &mut PgConnection,
    sql: &Statements,
    (key, schema_number): (Key, i32),
    taken: Vec<Snapshot>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let (Some(sql), false) = (&sql.snapshots, taken.is_empty()) else { return Ok(()) };
    sqlx::query(AssertSqlSafe(Arc::clone(&sql.insert)))
        .bind(key.kind)
        .bind(key.id)
        .bind(schema_number)
        .bind(taken.iter().map(|snapshot| snapshot.sequence).collect::<Vec<_>>())
        .bind(taken.iter().map(|snapshot| snapshot.event).collect::<Vec<_>>())
        .bind(taken.into_iter().map(|snapshot| snapshot.state).collect::<Vec<_>>())
        .bind(now.to_sqlx())
        .execute(connection)
        .await?;
    Ok(())
}

/// All snapshots of one fold.
pub(crate) async fn snapshots(
    connection: &mut PgConnection,
    sql: &Statements,
    key: Key,
    schema_number: i32,
) -> Result<Vec<Snapshot>, sqlx::Error> {
    let Some(sql) = &sql.snapshots else { return Ok(Vec::new()) };
    let rows = sqlx::query(AssertSqlSafe(Arc::clone(&sql.all)))
        .bind(key.kind)
        .bind(key.id)
        .bind(schema_number)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| snapshot(row, 2)).collect()
}

/// Number of the last event that is not later than `at`; zero without one.
pub(crate) async fn version_at(
    connection: &mut PgConnection,
    sql: &Statements,
    key: Key,
    at: Timestamp,
) -> Result<i64, sqlx::Error> {
    let number = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&sql.version_at)))
        .bind(key.kind)
        .bind(key.id)
        .bind(at.to_sqlx())
        .fetch_optional(connection)
        .await?;
    Ok(number.unwrap_or(0))
}

/// Number of the event `id`, if it is there.
pub(crate) async fn number_of(
    connection: &mut PgConnection,
    sql: &Statements,
    key: Key,
    id: Uuid,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(AssertSqlSafe(Arc::clone(&sql.number_of)))
        .bind(key.kind)
        .bind(key.id)
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// An event with what is known of its writing.
pub(crate) struct Dated {
    pub(crate) stored: Stored,
    pub(crate) at: Timestamp,
    pub(crate) trace_id: String,
    pub(crate) request_id: String,
}

/// At most `most` events after number `after`.
pub(crate) async fn page(
    connection: &mut PgConnection,
    sql: &Statements,
    key: Key,
    after: i64,
    most: i64,
) -> Result<Vec<Dated>, sqlx::Error> {
    let rows = sqlx::query(AssertSqlSafe(Arc::clone(&sql.page)))
        .bind(key.kind)
        .bind(key.id)
        .bind(after)
        .bind(most)
        .fetch_all(connection)
        .await?;
    rows.iter().map(dated).collect()
}

/// At most `most` events of all histories of a kind, behind the one of that aggregate and number; each with its aggregate.
pub(crate) async fn everything(
    connection: &mut PgConnection,
    sql: &Statements,
    kind: &'static str,
    after: (Uuid, i64),
    most: i64,
) -> Result<Vec<(Uuid, Dated)>, sqlx::Error> {
    let rows = sqlx::query(AssertSqlSafe(Arc::clone(&sql.everything)))
        .bind(kind)
        .bind(after.0)
        .bind(after.1)
        .bind(most)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok((row.try_get(8)?, dated(row)?))).collect()
}

fn dated(row: &PgRow) -> Result<Dated, sqlx::Error> {
    let at: jiff_sqlx::Timestamp = row.try_get(5)?;
    let stored = stored(row, row.try_get(2)?)?;
    Ok(Dated { stored, at: at.to_jiff(), trace_id: row.try_get(6)?, request_id: row.try_get(7)? })
}
