//! Histories of characters: a long one loaded beside the one statement that reads a snapshot, and the views of many made anew beside the
//! one statement that reads their events.

use std::time::Instant;

use anyhow::{Context as _, Result};
use coreloop_character::{
    MIGRATIONS,
    collection::{Collection, Happened},
    rebuilding::rebuild,
    views::Views,
};
use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};
use coreloop_eventstore::{Aggregate as _, Event as _, EventStore, SNAPSHOT_EVERY};
use coreloop_facts::v1::{CharacterAcquired, CharacterEvolved};
use coreloop_testkit::{TestDb, TestRedis};
use futures::TryStreamExt as _;
use prost_types::Timestamp;
use redis::aio::ConnectionManager;
use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    events::migrated,
    report::{Row, median, quantile, spread},
};

/// Events of the long history: as far behind its last snapshot as one can be.
const LONG: i64 = 10_000 + SNAPSHOT_EVERY - 1;
/// Loads of one round.
const LOADS: usize = 500;
/// Collections that are made anew, and events of each.
const COLLECTIONS: i64 = 5_000;
const EACH: i64 = 20;
/// Characters that somebody can have.
const CODES: i64 = 15;

/// Both rows.
///
/// # Errors
/// When anything fails, or is not read as it was written.
pub(crate) async fn rows(rounds: usize) -> Result<Vec<Row>> {
    let place = Place::take().await?;
    Ok(vec![place.load(rounds).await?, place.rebuilt(rounds).await?])
}

/// A database with character's tables, and a Redis of its own.
struct Place {
    db: TestDb,
    redis: TestRedis,
}

impl Place {
    async fn take() -> Result<Self> {
        let state = MIGRATIONS.iter().flat_map(|step| step.checksum.to_vec());
        let hash = state.fold(7_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let db = TestDb::copy_of(&format!("histories_{hash:x}"), |url| migrated(url, "character", &MIGRATIONS)).await;
        Ok(Self { db, redis: TestRedis::start().await })
    }

    /// Loads of the long history, as every call that changes a collection makes one.
    async fn load(&self, rounds: usize) -> Result<Row> {
        let (history, mut connection) = (EventStore::new("character")?, self.db.connect().await);
        let user = long(&history, &mut connection).await?;
        let begun = Instant::now();
        let replayed = history.replay::<Collection>(&mut connection, user).await?;
        let whole = begun.elapsed().as_secs_f64() * 1e3;
        let (mut loads, mut reads) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let (mut ours, mut limit) = (Vec::with_capacity(LOADS), Vec::with_capacity(LOADS));
            for _ in 0..LOADS {
                let begun = Instant::now();
                let loaded = history.load::<Collection>(&mut connection, user).await?;
                ours.push(begun.elapsed().as_secs_f64() * 1e3);
                anyhow::ensure!(loaded.version() == LONG, "version {} was loaded", loaded.version());
                anyhow::ensure!(loaded.state() == replayed.state(), "a snapshot is not what its history makes");
                let begun = Instant::now();
                snapshot(&mut connection, user).await?;
                limit.push(begun.elapsed().as_secs_f64() * 1e3);
            }
            if round > 0 {
                loads.push([0.5, 0.99].map(|at| quantile(&mut ours, at)));
                reads.push([0.5, 0.99].map(|at| quantile(&mut limit, at)));
            }
        }
        connection.close().await?;
        let of = |rows: &[[f64; 2]], index: usize| -> Vec<f64> {
            rows.iter().filter_map(|row| row.get(index)).copied().collect()
        };
        let (medians, tails) = (of(&loads, 0), of(&loads, 1));
        let (low, high) = (of(&reads, 0), of(&reads, 1));
        let p99 = median(&tails);
        Ok(Row {
            id: "history",
            what: format!(
                "a collection of {LONG} events loaded, {} of them behind its snapshot, p99",
                SNAPSHOT_EVERY - 1
            ),
            measured: format!("{p99:.2} ms"),
            aim: "≤ 5 ms",
            met: p99 <= 5.0,
            detail: format!(
                "median {:.2} ms; the one statement that reads a snapshot {:.2} and {:.2} ms; without snapshots \
                 {whole:.0} ms; {}",
                median(&medians),
                median(&low),
                median(&high),
                spread(&tails)
            ),
        })
    }

    /// `coreloop character rebuild` of many collections.
    async fn rebuilt(&self, rounds: usize) -> Result<Row> {
        let mut connection = self.db.connect().await;
        many(&mut connection).await?;
        let redis = ConnectionManager::new(redis::Client::open(self.redis.url())?).await?;
        let (db, views) = (PgPool::connect(&self.db.url()).await?, Views::new(Some(redis), 5_000));
        let (events, collections) = (COLLECTIONS * EACH + LONG, COLLECTIONS + 1);
        let (mut ours, mut limits) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            self.redis.flush().await;
            let rebuilt = rebuild(&db, &views, (SystemIds.uuid(), SystemClock.now())).await?;
            let seen = (i64::try_from(rebuilt.events)?, i64::try_from(rebuilt.collections)?);
            anyhow::ensure!(
                seen == (events, collections),
                "{seen:?} events and collections instead of {events}, {collections}"
            );
            let last = views.find(person(COLLECTIONS)).await?.context("a collection has no view")?;
            anyhow::ensure!(last.version == EACH, "the view of a collection is of version {}", last.version);
            let begun = Instant::now();
            let read = read(&mut connection).await?;
            anyhow::ensure!(read == events, "{read} events were read of {events}");
            if round > 0 {
                ours.push(events as f64 / rebuilt.took.as_secs_f64());
                limits.push(events as f64 / begun.elapsed().as_secs_f64());
            }
        }
        db.close().await;
        connection.close().await?;
        let rate = median(&ours);
        Ok(Row {
            id: "history",
            what: format!("views of {collections} collections made anew of {events} events"),
            measured: format!("{rate:.0} events/s"),
            aim: "≥ 20000/s",
            met: rate >= 20_000.0,
            detail: format!(
                "into an empty Redis; beside {:.0}/s of one statement that only reads them; {:.0}..{:.0}",
                median(&limits),
                ours.iter().copied().fold(f64::INFINITY, f64::min),
                ours.iter().copied().fold(0.0, f64::max)
            ),
        })
    }
}

/// Makes the long history, with its snapshots; whose it is.
async fn long(history: &EventStore, connection: &mut PgConnection) -> Result<Uuid> {
    let user = SystemIds.uuid();
    let mut loaded = history.load::<Collection>(connection, user).await?;
    while loaded.version() < LONG {
        let next = loaded.version() + 1..=LONG.min(loaded.version() + SNAPSHOT_EVERY);
        let events: Vec<Happened> = next.map(|number| happened(&user.to_string(), number)).collect();
        history.append(connection, &mut loaded, &events, &SystemIds, SystemClock.now()).await?;
    }
    let snapshots: i64 = sqlx::query_scalar("select count(*) from character.snapshots where aggregate_id = $1")
        .bind(user)
        .fetch_one(&mut *connection)
        .await?;
    anyhow::ensure!(snapshots == LONG / SNAPSHOT_EVERY, "{snapshots} snapshots were made");
    connection.execute(sqlx::raw_sql("vacuum analyze character.events")).await?;
    Ok(user)
}

/// What a history has at a place: each character comes once, then they rise by turns.
fn happened(user_id: &str, number: i64) -> Happened {
    let (code, user_id) = (format!("CHR{:03}", 1 + (number - 1) % CODES), user_id.to_owned());
    let occurred_at = Some(Timestamp { seconds: SystemClock.unix() - LONG + number, nanos: 0 });
    if number <= CODES {
        let (source, owned_count) = ("scan".to_owned(), number as i32);
        let source_event_id = SystemIds.uuid().to_string();
        let acquired =
            CharacterAcquired { user_id, code, source, source_event_id, owned_count, ..CharacterAcquired::default() };
        return Happened::Acquired(CharacterAcquired { version: number, occurred_at, ..acquired });
    }
    let level = 1 + ((number - 1) / CODES) as i32;
    Happened::Evolved(CharacterEvolved { user_id, code, level, version: number, occurred_at })
}

/// Reads the newest snapshot by its key, and nothing else.
async fn snapshot(connection: &mut PgConnection, user: Uuid) -> Result<Value> {
    let statement = "select state from character.snapshots
                     where aggregate_type = $1 and aggregate_id = $2 and schema_number = $3
                     order by sequence_number desc limit 1";
    let read = sqlx::query_scalar(statement).bind(Collection::TYPE).bind(user).bind(Collection::SCHEMA);
    Ok(read.fetch_one(connection).await?)
}

/// Puts many histories into the table, as their collections would have written them one by one.
async fn many(connection: &mut PgConnection) -> Result<()> {
    let (mut types, mut payloads) = (Vec::new(), Vec::new());
    for number in 1..=EACH {
        let happened = happened("", number);
        types.push(happened.event_type());
        payloads.push(happened.encode().map_err(anyhow::Error::from_boxed)?.to_string());
    }
    // The checks of the table are for what services write.
    connection.execute(sqlx::raw_sql("set session_replication_role = replica")).await?;
    sqlx::query(
        "insert into character.events
             (event_id, aggregate_type, aggregate_id, sequence_number, event_type, payload, metadata, created_at)
         select gen_random_uuid(), $1, whose.id, given.seq, given.kind,
                given.payload::jsonb || jsonb_build_object('user_id', whose.id), '{\"version\": 1}', now()
         from (select ('00000000-0000-0000-0000-' || lpad(to_hex(person), 12, '0'))::uuid as id
               from generate_series(1, $2::bigint) person) whose,
              unnest($3::text[], $4::text[]) with ordinality as given(kind, payload, seq)",
    )
    .bind(Collection::TYPE)
    .bind(COLLECTIONS)
    .bind(types)
    .bind(payloads)
    .execute(&mut *connection)
    .await?;
    connection.execute(sqlx::raw_sql("vacuum analyze character.events")).await?;
    connection.execute(sqlx::raw_sql("checkpoint")).await?;
    Ok(())
}

/// Whose collection it is of those that [`many`] makes.
fn person(number: i64) -> Uuid {
    Uuid::from_u128(number as u128)
}

/// Reads all events in their order; how many there are.
async fn read(connection: &mut PgConnection) -> Result<i64> {
    let statement =
        "select aggregate_id, sequence_number, event_id, event_type, payload, created_at::text from character.events
                     where aggregate_type = $1 order by aggregate_id, sequence_number";
    let mut rows = sqlx::query(statement).bind(Collection::TYPE).fetch(connection);
    let mut read = 0;
    while rows.try_next().await?.is_some() {
        read += 1;
    }
    Ok(read)
}
