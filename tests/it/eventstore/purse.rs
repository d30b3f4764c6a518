//! An aggregate, and a database with its tables as `cargo xtask new-events` would have written them.

use coreloop_core::{Ids as _, id::SystemIds};
use coreloop_eventstore::{Aggregate, BoxError, Error, Event, EventStore, EventType, Loaded};
use coreloop_testkit::TestDb;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

/// A purse as the fold number `FOLD` sees it: from 2 on, what was spent is counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Purse<const FOLD: i32 = 1> {
    pub name: Option<String>,
    pub balance: i64,
    pub spent: u64,
    /// Depends on every event and on their order.
    pub trail: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    Named(String),
    Credited(i64),
    Debited(i64),
}

impl Event for Happened {
    const TYPES: &'static [EventType] = &[
        EventType::new("purse.named"),
        // Version 1 had the amount as text.
        EventType { name: "purse.credited", upcasts: &[as_number] },
        EventType::new("purse.debited"),
    ];

    fn event_type(&self) -> &'static str {
        match self {
            Self::Named(_) => "purse.named",
            Self::Credited(_) => "purse.credited",
            Self::Debited(_) => "purse.debited",
        }
    }

    fn encode(&self) -> Result<Value, BoxError> {
        Ok(match self {
            Self::Named(name) => json!({ "name": name }),
            Self::Credited(amount) | Self::Debited(amount) => json!({ "amount_minor": amount }),
        })
    }

    fn decode(event_type: &str, payload: Value) -> Result<Self, BoxError> {
        let amount = || payload["amount_minor"].as_i64().ok_or("no amount");
        Ok(match event_type {
            "purse.credited" => Self::Credited(amount()?),
            "purse.debited" => Self::Debited(amount()?),
            _ => Self::Named(payload["name"].as_str().ok_or("no name")?.to_owned()),
        })
    }
}

fn as_number(mut payload: Value) -> Result<Value, BoxError> {
    let amount: i64 = payload["amount"].as_str().ok_or("no amount")?.parse()?;
    payload["amount_minor"] = amount.into();
    Ok(payload)
}

impl<const FOLD: i32> Aggregate for Purse<FOLD> {
    type Event = Happened;

    const TYPE: &'static str = "purse";
    const SCHEMA: i32 = FOLD;

    fn apply(&mut self, event: &Happened) {
        let change = match event {
            Happened::Named(name) => self.name.replace(name.clone()).map_or(1, |old| old.len() as i64),
            Happened::Credited(amount) => *amount,
            Happened::Debited(amount) => -amount,
        };
        if !matches!(event, Happened::Named(_)) {
            self.balance += change;
        }
        if FOLD >= 2 && matches!(event, Happened::Debited(_)) {
            self.spent += change.unsigned_abs();
        }
        self.trail = self.trail.wrapping_mul(0x0100_0000_01b3).wrapping_add(change.cast_unsigned());
    }
}

/// The state table that stands beside the history, and a table whose rows commit only when the test lets them.
const BESIDE: &str = "
create table wallet.purses (id uuid primary key, balance bigint not null, version bigint not null);
create table wallet.slow (id bigint generated always as identity);
create function wallet.wait() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(42);
    return null;
end
$$;
create constraint trigger slow_wait after insert on wallet.slow deferrable initially deferred
    for each row execute function wallet.wait();";

pub struct Stage {
    pub db: TestDb,
    pub pool: PgPool,
    pub store: EventStore,
}

impl Stage {
    pub async fn set() -> Self {
        let migration = coreloop_eventstore::migration("wallet").unwrap();
        let text = format!("create schema wallet; {migration} {BESIDE}");
        let hash = text.bytes().fold(7_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let db = TestDb::copy_of(&format!("eventstore_{hash:x}"), |url| async move {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(text))).await.unwrap();
            connection.close().await.unwrap();
        })
        .await;
        let pool = PgPoolOptions::new().max_connections(24).connect(&db.url()).await.unwrap();
        Self { db, pool, store: EventStore::new("wallet").unwrap() }
    }

    /// Appends events to a purse and writes its balance beside them, in one committed transaction.
    pub async fn append<const FOLD: i32>(
        &self,
        loaded: &mut Loaded<Purse<FOLD>>,
        events: &[Happened],
        now: Timestamp,
    ) -> Result<Vec<Uuid>, Error> {
        let mut tx = coreloop_db::begin(&self.pool).await?;
        let ids = write(&self.store, &mut tx, loaded, events, now).await?;
        tx.commit().await?;
        Ok(ids)
    }

    /// A purse with so many events, each a credit of one.
    pub async fn purse(&self, events: usize) -> Uuid {
        let mut loaded = Loaded::<Purse>::new(SystemIds.uuid());
        if events > 0 {
            self.append(&mut loaded, &vec![Happened::Credited(1); events], at(0)).await.unwrap();
        }
        loaded.id()
    }

    pub async fn load<const FOLD: i32>(&self, id: Uuid) -> Result<Loaded<Purse<FOLD>>, Error> {
        self.store.load(&mut self.pool.acquire().await.unwrap(), id).await
    }

    /// Runs SQL; answers the state and the constraint of its refusal.
    pub async fn refused(&self, sql: &str) -> (String, String) {
        let refused = self.pool.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await;
        let refused = refused.expect_err(sql).into_database_error().expect(sql);
        (refused.code().unwrap_or_default().into_owned(), refused.constraint().unwrap_or_default().to_owned())
    }
}

/// As [`Stage::append`], in a transaction of the caller's.
pub async fn write<const FOLD: i32>(
    store: &EventStore,
    connection: &mut PgConnection,
    loaded: &mut Loaded<Purse<FOLD>>,
    events: &[Happened],
    now: Timestamp,
) -> Result<Vec<Uuid>, Error> {
    let ids = store.append(&mut *connection, loaded, events, &SystemIds, now).await?;
    sqlx::query(
        "insert into wallet.purses values ($1, $2, $3)
         on conflict (id) do update set balance = excluded.balance, version = excluded.version",
    )
    .bind(loaded.id())
    .bind(loaded.state().balance)
    .bind(loaded.version())
    .execute(connection)
    .await?;
    Ok(ids)
}

/// So many seconds after the beginning of these tests' time.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}
