//! Reading `<schema>.outbox`, and how far it has been published (`<schema>.outbox_relay`, one row).

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde::Deserialize;
use sqlx::{AssertSqlSafe, PgConnection, Row as _, postgres::PgRow, types::JsonRawValue};
use uuid::Uuid;

use crate::{
    Encoding, Event, Queue, Topic, outbox,
    relay::cursor::{Cursor, Range},
};

#[derive(Debug, Clone)]
pub(crate) struct Statements {
    load: Arc<str>,
    look: Arc<str>,
    mark: Arc<str>,
    sweep: Arc<str>,
    first: Arc<str>,
    behind: Arc<str>,
    writing: Arc<str>,
    wake: Arc<str>,
    give_up: Arc<str>,
    take_back: Arc<str>,
    found: Arc<str>,
}

/// Why a command of a queue that this process does not know is not sent; a newer one may.
const NO_QUEUE: &str = "there is no queue";

/// Bytes of payloads that end a look, whatever else there is: what is published together fits in memory and in a command.
const MOST_BYTES: usize = 8 << 20;

impl Statements {
    pub(crate) fn of(schema: &str) -> Self {
        let columns = "seq, id, aggregatetype, aggregateid, type, payload, trace_id, traceparent, request_id, created_at, version";
        Self {
            load: format!(
                "with made as (insert into {schema}.outbox_relay default values on conflict do nothing)
                 select read_to, gaps_from, gaps_to, batches from {schema}.outbox_relay"
            )
            .into(),
            // One statement is one snapshot: a later event of a key is never seen without an earlier one. The limit in the
            // lateral part keeps the planner from walking through the whole table beside an empty list of gaps.
            look: format!(
                "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as oldest, r.*
                 from (select 1) as one left join lateral (
                     select * from (
                         (select o.* from unnest($2::bigint[], $3::bigint[]) as g(lo, hi)
                          cross join lateral (
                              select {columns} from {schema}.outbox
                              where seq between g.lo and g.hi order by seq limit $4) as o
                          order by o.seq limit $4)
                         union all
                         (select {columns} from {schema}.outbox where seq > $1 order by seq limit $4)
                     ) as both_parts order by seq limit $4
                 ) as r on true"
            )
            .into(),
            mark: format!(
                "update {schema}.outbox_relay
                 set read_to = $1, gaps_from = $2, gaps_to = $3, batches = $4
                 returning pg_current_xact_id()::text::bigint"
            )
            .into(),
            sweep: format!(
                "delete from {schema}.outbox where seq > $1 and seq <= $2 and created_at < $3
                 and seq <= (select coalesce(max(seq), 0) from (
                     select seq from {schema}.outbox where seq > $1 order by seq limit 10000) as part)"
            )
            .into(),
            first: format!("select coalesce(min(seq), 0) from {schema}.outbox where seq > $1").into(),
            behind: format!(
                "select count(*), min(created_at) from (
                     select created_at from {schema}.outbox
                     where seq > (select read_to from {schema}.outbox_relay) order by seq limit 100000) as behind"
            )
            .into(),
            wake: format!("select setval('{schema}.outbox_listening', $1)").into(),
            give_up: give_up_sql(schema).into(),
            take_back: take_back_sql(schema).into(),
            found: format!(
                "update {schema}.held_events set state = 'retry'
                 where consumer = '{schema}.relay' and state in ('dead', 'archived') and reason = 'UNSENDABLE'
                   and error like '{NO_QUEUE}%' and topic = any($1)"
            )
            .into(),
            // Whoever writes into a table holds this lock on it until the transaction has ended and is seen.
            writing: format!(
                "select coalesce(array_agg(distinct virtualtransaction), '{{}}') from pg_locks
                 where locktype = 'relation' and database = (select oid from pg_database where datname = current_database())
                   and relation = '{schema}.outbox'::regclass and mode = 'RowExclusiveLock' and granted
                   and pid is distinct from pg_backend_pid() and ($1::text[] is null or virtualtransaction = any($1))"
            )
            .into(),
        }
    }
}

/// Makes a row a dead letter.
fn give_up_sql(schema: &str) -> String {
    format!(
        "insert into {schema}.held_events
             (consumer, id, topic, key, envelope, payload, state, failures, reason, error, held_at, due_at)
         select '{schema}.relay', o.id, 'cmd:' || o.type, o.aggregateid, to_jsonb(o) - '{{payload,xid,seq}}'::text[],
                convert_to(o.payload::text, 'UTF8'), 'dead', 1, 'UNSENDABLE', $2, $3, $3
         from {schema}.outbox as o where o.seq = $1
         on conflict on constraint held_events_pkey do nothing"
    )
}

/// Archives dead letters, and writes those that are to be tried again into the outbox: under an id of their own, for the row of the
/// first time may still be there, and as new: neither the sweep nor whoever does the command is to find them too old.
fn take_back_sql(schema: &str) -> String {
    format!(
        "with old as (
             update {schema}.held_events set state = 'archived'
             where consumer = '{schema}.relay' and state = 'dead' and held_at < $1),
         back as (
             delete from {schema}.held_events where consumer = '{schema}.relay' and state = 'retry'
             returning position, envelope, payload)
         insert into {schema}.outbox
             (id, aggregatetype, aggregateid, type, payload, trace_id, traceparent, request_id, created_at, version)
         select gen_random_uuid(), was.aggregatetype, was.aggregateid, was.type, convert_from(back.payload, 'UTF8')::jsonb,
                was.trace_id, was.traceparent, was.request_id, $2, was.version
         from back cross join lateral jsonb_to_record(back.envelope) as was(
             aggregatetype text, aggregateid text, type text, trace_id text, traceparent text, request_id text,
             version integer)
         order by back.position"
    )
}

/// How far the outbox has been published.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) read_to: i64,
    pub(crate) gaps: Vec<Range>,
    /// Batches ever.
    pub(crate) batches: i64,
}

pub(crate) async fn load(connection: &mut PgConnection, sql: &Statements) -> Result<Place, sqlx::Error> {
    let row = sqlx::query(AssertSqlSafe(Arc::clone(&sql.load))).fetch_optional(connection).await?;
    // The row that the statement itself made is not in its snapshot.
    let Some(row) = row else { return Ok(Place { read_to: 0, gaps: Vec::new(), batches: 0 }) };
    let (from, to): (Vec<i64>, Vec<i64>) = (row.try_get(1)?, row.try_get(2)?);
    let gaps = from.into_iter().zip(to).map(|(from, to)| Range { from, to }).collect();
    Ok(Place { read_to: row.try_get(0)?, gaps, batches: row.try_get(3)? })
}

/// What one look at the outbox brought.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Every transaction below this had ended when it was looked.
    pub(crate) oldest: i64,
    /// Events and commands in the order of their numbers.
    pub(crate) events: Vec<Event>,
    /// What no broker will ever take.
    pub(crate) unsendable: Vec<Unsendable>,
    /// Numbers of all rows.
    pub(crate) numbers: Vec<i64>,
    /// There may be more behind the last.
    pub(crate) more: bool,
}

/// A row that no broker will ever take.
#[derive(Debug)]
pub(crate) struct Unsendable {
    pub(crate) sequence: i64,
    pub(crate) why: String,
}

pub(crate) async fn look(
    connection: &mut PgConnection,
    sql: &Statements,
    read_to: i64,
    gaps: &[Range],
    most: i64,
) -> Result<Seen, sqlx::Error> {
    let mut rows = sqlx::query(AssertSqlSafe(Arc::clone(&sql.look)))
        .bind(read_to)
        .bind(gaps.iter().map(|gap| gap.from).collect::<Vec<_>>())
        .bind(gaps.iter().map(|gap| gap.to).collect::<Vec<_>>())
        .bind(most)
        .fetch(connection);
    let mut seen = Seen { oldest: 0, events: Vec::new(), unsendable: Vec::new(), numbers: Vec::new(), more: false };
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        seen.oldest = row.try_get(0)?;
        let Some(sequence) = row.try_get::<Option<i64>, _>(1)? else { continue };
        seen.numbers.push(sequence);
        match event(&row, sequence)? {
            Ok(event) => {
                bytes += event.payload.len();
                seen.events.push(event);
            }
            Err(why) => seen.unsendable.push(Unsendable { sequence, why }),
        }
        if bytes >= MOST_BYTES {
            seen.more = true;
            return Ok(seen);
        }
    }
    seen.more = i64::try_from(seen.numbers.len()).unwrap_or(i64::MAX) >= most;
    Ok(seen)
}

/// The payload of a row that is a command.
#[derive(Deserialize)]
struct Commanded<'a> {
    idempotency_key: Uuid,
    #[serde(borrow)]
    payload: &'a JsonRawValue,
}

/// What a row says, or why nobody can be told of it.
fn event(row: &PgRow, sequence: i64) -> Result<Result<Event, String>, sqlx::Error> {
    let payload: &JsonRawValue = row.try_get(6)?;
    let created_at: jiff_sqlx::Timestamp = row.try_get(10)?;
    let (domain, what): (String, String) = (row.try_get(3)?, row.try_get(5)?);
    let command = if domain == outbox::COMMAND {
        if Queue::named(&what).is_none() {
            return Ok(Err(format!("{NO_QUEUE} `{what}`")));
        }
        match serde_json::from_str::<Commanded<'_>>(payload.get()) {
            Ok(command) => Some(command),
            Err(error) => return Ok(Err(format!("it is no command: {error}"))),
        }
    } else {
        None
    };
    let payload = command.as_ref().map_or(payload, |command| command.payload);
    let mut event = Event {
        topic: if command.is_some() { Topic::kept(format!("cmd:{what}")) } else { Topic::named(&domain, &what) },
        key: row.try_get(4)?,
        id: command.map_or_else(|| row.try_get(2), |command| Ok(command.idempotency_key))?,
        sequence,
        version: row.try_get::<i32, _>(11)?.try_into().unwrap_or_default(),
        source: domain,
        trace_id: row.try_get(7)?,
        traceparent: row.try_get(8)?,
        request_id: row.try_get(9)?,
        created_at: created_at.to_jiff(),
        encoding: Encoding::Json,
        payload: Bytes::copy_from_slice(payload.get().as_bytes()),
    };
    // A writer that knows the trace alone, or none, is given a span, so that every reader finds the same header.
    let context = event.context();
    (event.traceparent, event.trace_id) = (context.header(), context.trace_id_hex());
    Ok(Ok(event))
}

/// Makes a row a dead letter of the relay.
pub(crate) async fn give_up(
    connection: &mut PgConnection,
    sql: &Statements,
    row: &Unsendable,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(Arc::clone(&sql.give_up)))
        .bind(row.sequence)
        .bind(&row.why)
        .bind(now.to_sqlx())
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes dead letters of the relay that somebody wants to be tried again into the outbox, and answers how many; archives those
/// that have lain there since before `old`.
pub(crate) async fn take_back(
    connection: &mut PgConnection,
    sql: &Statements,
    old: Timestamp,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let written = sqlx::query(AssertSqlSafe(Arc::clone(&sql.take_back)))
        .bind(old.to_sqlx())
        .bind(now.to_sqlx())
        .execute(connection)
        .await?;
    Ok(written.rows_affected())
}

/// Lets dead letters of the relay be tried again whose queue an older process did not know.
pub(crate) async fn find_queues(connection: &mut PgConnection, sql: &Statements) -> Result<u64, sqlx::Error> {
    let known: Vec<String> = Queue::ALL.iter().map(|queue| Topic::of_queue(*queue).as_str().to_owned()).collect();
    let found = sqlx::query(AssertSqlSafe(Arc::clone(&sql.found))).bind(known).execute(connection).await?;
    Ok(found.rows_affected())
}

/// Lets commits of this connection return before they are on disk: what a crash of Postgres takes back is published again. And
/// has rows looked for by their numbers whatever the statistics say: a plan that was made over an empty outbox is kept, and
/// would read all of it each time.
pub(crate) async fn relax(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select set_config('synchronous_commit', 'off', false), set_config('enable_seqscan', 'off', false),
                set_config('jit', 'off', false)",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets commits wake the relay, or nobody: from now on, for every transaction.
pub(crate) async fn wake(connection: &mut PgConnection, sql: &Statements, listening: bool) -> Result<(), sqlx::Error> {
    let value = i64::from(listening);
    sqlx::query(AssertSqlSafe(Arc::clone(&sql.wake))).bind(value).execute(connection).await?;
    Ok(())
}

/// Transactions of others that have written into the outbox and still run; only those of `among`, where given.
pub(crate) async fn writing(
    connection: &mut PgConnection,
    sql: &Statements,
    among: Option<&[String]>,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(AssertSqlSafe(Arc::clone(&sql.writing))).bind(among).fetch_one(connection).await
}

/// How many events wait, up to a hundred thousand, and when the first of them was written.
pub(crate) async fn behind(
    connection: &mut PgConnection,
    sql: &Statements,
) -> Result<(i64, Option<Timestamp>), sqlx::Error> {
    let row = sqlx::query(AssertSqlSafe(Arc::clone(&sql.behind))).fetch_one(connection).await?;
    let since: Option<jiff_sqlx::Timestamp> = row.try_get(1)?;
    Ok((row.try_get(0)?, since.map(jiff_sqlx::Timestamp::to_jiff)))
}

/// Records how far it is published; answers the number of the transaction that did, which is above all that had begun to
/// write before.
pub(crate) async fn mark(
    connection: &mut PgConnection,
    sql: &Statements,
    cursor: &Cursor,
    batches: i64,
) -> Result<i64, sqlx::Error> {
    let gaps = cursor.gaps();
    sqlx::query_scalar(AssertSqlSafe(Arc::clone(&sql.mark)))
        .bind(cursor.read_to())
        .bind(gaps.iter().map(|gap| gap.from).collect::<Vec<_>>())
        .bind(gaps.iter().map(|gap| gap.to).collect::<Vec<_>>())
        .bind(batches)
        .fetch_one(connection)
        .await
}

/// Deletes published rows above `above`, up to `floor`, that are older than `before`, some ten thousand at a time.
pub(crate) async fn sweep(
    connection: &mut PgConnection,
    sql: &Statements,
    (above, floor): (i64, i64),
    before: Timestamp,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(AssertSqlSafe(Arc::clone(&sql.sweep)))
        .bind(above)
        .bind(floor)
        .bind(before.to_sqlx())
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// Number of the first row above `above` that is still there; zero without one.
pub(crate) async fn first(connection: &mut PgConnection, sql: &Statements, above: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(AssertSqlSafe(Arc::clone(&sql.first))).bind(above).fetch_one(connection).await
}
