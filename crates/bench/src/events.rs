//! P15: the relay beside COPY FROM, from a commit to the consumer, and what is asked while nothing happens.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use coreloop_auth::module::MIGRATIONS;
use coreloop_config::Section;
use coreloop_core::{Clock as _, SystemClock, id::SystemIds};
use coreloop_db::Transaction;
use coreloop_eventing::{Consumer, Event, Facts, Failure, Handler, Metrics, Options, Outbox, Parts, RedisBus, Relay};
use coreloop_facts::v1::AuthUserLoggedIn;
use coreloop_service::Worker;
use coreloop_testkit::{TestDb, TestRedis};
use sqlx::{Connection as _, migrate::Migrator, postgres::PgPoolOptions};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::report::{Row, median, spread};

/// Events of one round of the relay.
pub(crate) const EVENTS: i64 = 100_000;
/// Events that are timed one by one.
const TIMED: usize = 1_000;
/// Writers that commit at the same time, and the commits of each.
const WRITERS: usize = 8;
const COMMITS: usize = 250;
/// Time for which nothing happens.
const IDLE: Duration = Duration::from_secs(10);
/// The longest that anything here is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A database with auth's tables, a Redis of its own, and what the workers are made of.
pub(crate) struct Place {
    pub(crate) db: TestDb,
    redis: TestRedis,
    pub(crate) parts: Parts,
}

/// A worker that runs until it is stopped.
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn of(worker: Worker) -> Self {
        let stop = CancellationToken::new();
        let token = stop.clone();
        Self { stop, task: tokio::spawn(async move { worker.run(token).await }) }
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        Ok(self.task.await?)
    }
}

/// All rows of P15.
///
/// # Errors
/// When anything fails or an event is lost.
pub(crate) async fn rows(rounds: usize) -> Result<Vec<Row>> {
    let place = Place::take().await?;
    let mut rows = vec![place.relay(rounds).await?];
    let relay = Running::of(Relay::new(place.parts.clone())?.worker());
    let (heard, mut hearing) = mpsc::unbounded_channel();
    let consumer = Consumer::new("auth.bench", place.parts.clone(), Timing(heard))?.hears::<AuthUserLoggedIn>()?;
    let consumer = Running::of(consumer.starting(coreloop_eventing::bus::Start::Latest).worker());
    // The first takes what a beginning takes.
    place.warm_up(&mut hearing).await?;
    rows.push(place.one_by_one(&mut hearing).await?);
    rows.push(place.in_a_crowd(&mut hearing).await?);
    rows.push(place.idle().await?);
    consumer.stop().await?;
    relay.stop().await?;
    Ok(rows)
}

impl Place {
    pub(crate) async fn take() -> Result<Self> {
        let state = MIGRATIONS.iter().flat_map(|step| step.checksum.to_vec());
        let hash = state.fold(7_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let db = TestDb::copy_of(&format!("events_{hash:x}"), |url| migrated(url, "auth", &MIGRATIONS)).await;
        let redis = TestRedis::start().await;
        let client = redis::Client::open(redis.url())?;
        let connection = redis::aio::ConnectionManager::new(client.clone()).await?;
        let options = Options::default();
        let parts = Parts {
            schema: "auth".to_owned(),
            db: PgPoolOptions::new().max_connections(24).test_before_acquire(false).connect(&db.url()).await?,
            bus: Arc::new(RedisBus::new(connection, client, &options)),
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            options: Arc::new(options),
            metrics: Metrics::default(),
            spans: None,
        };
        Ok(Self { db, redis, parts })
    }

    /// COPY of the rows into a table with a primary key, then the relay over the same rows in the outbox, round by round.
    async fn relay(&self, rounds: usize) -> Result<Row> {
        let mut connection = self.db.connect().await;
        let text = copy_text();
        self.db
            .execute(
                "create table auth.bench_copy (id uuid primary key, aggregatetype text not null, aggregateid text not null,
                 type text not null, payload jsonb not null, traceparent text not null, created_at timestamptz not null)",
            )
            .await;
        let (mut ratios, mut copied, mut relayed) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=rounds {
            self.db.execute("truncate auth.bench_copy, auth.outbox").await;
            self.redis.flush().await;
            let begun = Instant::now();
            let mut copy = connection.copy_in_raw("copy auth.bench_copy from stdin").await?;
            copy.send(text.as_bytes()).await?;
            anyhow::ensure!(copy.finish().await? == EVENTS as u64, "COPY took other rows");
            let copy = EVENTS as f64 / begun.elapsed().as_secs_f64();
            self.db
                .execute(
                    "insert into auth.outbox (id, aggregatetype, aggregateid, type, payload, traceparent, created_at)
                     select * from auth.bench_copy order by id; analyze auth.outbox; checkpoint",
                )
                .await;
            let last = self.db.count("select max(seq) from auth.outbox").await;
            let begun = Instant::now();
            let relay = Running::of(Relay::new(self.parts.clone())?.worker());
            while read_to(&mut connection).await? < last {
                anyhow::ensure!(begun.elapsed() < PATIENCE, "the relay does not come to an end");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let rate = EVENTS as f64 / begun.elapsed().as_secs_f64();
            relay.stop().await?;
            let mut redis = self.redis.connect().await;
            let there: i64 = redis::cmd("XLEN").arg("events.auth.user_logged_in").query_async(&mut redis).await?;
            anyhow::ensure!(there == EVENTS, "{there} of {EVENTS} events are in the stream");
            if round > 0 {
                ratios.push(rate / copy);
                copied.push(copy);
                relayed.push(rate);
            }
        }
        connection.close().await?;
        let ratio = median(&ratios);
        Ok(Row {
            id: "P15",
            what: format!("relay of {EVENTS} events to Redis Streams, of COPY FROM of the same rows"),
            measured: format!("{ratio:.2}"),
            aim: "≥ 0.6",
            met: ratio >= 0.6,
            detail: format!(
                "{:.0} events/s beside {:.0} rows/s, its start and Redis on the same cores included; {}",
                median(&relayed),
                median(&copied),
                spread(&ratios)
            ),
        })
    }

    /// Until the consumer hears.
    pub(crate) async fn warm_up(&self, hearing: &mut mpsc::UnboundedReceiver<(i64, Instant)>) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.commit(-1).await?;
            if tokio::time::timeout(Duration::from_millis(500), hearing.recv()).await.is_ok() {
                break;
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the consumer hears nothing");
        }
        while tokio::time::timeout(Duration::from_millis(500), hearing.recv()).await.is_ok() {}
        Ok(())
    }

    /// A commit every few milliseconds, as in a quiet service.
    pub(crate) async fn one_by_one(&self, hearing: &mut mpsc::UnboundedReceiver<(i64, Instant)>) -> Result<Row> {
        let mut late = Vec::with_capacity(TIMED);
        for number in 0..TIMED as i64 {
            let committed = self.commit(number).await?;
            let (heard, at) = tokio::time::timeout(PATIENCE, hearing.recv()).await?.context("the consumer ended")?;
            anyhow::ensure!(heard == number, "{heard} was heard instead of {number}");
            late.push(at.saturating_duration_since(committed));
            tokio::time::sleep(Duration::from_millis(number.unsigned_abs() % 30)).await;
        }
        Ok(tail("commit to consumer p99, one commit at a time", &mut late))
    }

    /// Writers one beside another, each as fast as it can.
    async fn in_a_crowd(&self, hearing: &mut mpsc::UnboundedReceiver<(i64, Instant)>) -> Result<Row> {
        let begun = Instant::now();
        let next = AtomicI64::new(0);
        let writers = (0..WRITERS).map(|_| async {
            let mut committed = Vec::with_capacity(COMMITS);
            for _ in 0..COMMITS {
                let number = next.fetch_add(1, Ordering::Relaxed);
                committed.push((number, self.commit(number).await?));
            }
            anyhow::Ok(committed)
        });
        let mut committed: Vec<(i64, Instant)> =
            futures::future::try_join_all(writers).await?.into_iter().flatten().collect();
        let took = begun.elapsed();
        committed.sort_unstable_by_key(|(number, _)| *number);
        let mut late = Vec::with_capacity(committed.len());
        while late.len() < committed.len() {
            let (number, at) = tokio::time::timeout(PATIENCE, hearing.recv()).await?.context("the consumer ended")?;
            let (_, since) = committed.get(usize::try_from(number)?).context("an event that nobody wrote")?;
            late.push(at.saturating_duration_since(*since));
        }
        let rate = committed.len() as f64 / took.as_secs_f64();
        Ok(tail(&format!("commit to consumer p99, {WRITERS} writers, {rate:.0} commits/s"), &mut late))
    }

    /// Connections that asked the database anything while relay and consumer had nothing to do. The server's own count of
    /// transactions is no measure: most of them are those of autovacuum, which comes after the crowd.
    async fn idle(&self) -> Result<Row> {
        // Another database's connection, so that looking is not counted.
        let mut url: sqlx::postgres::PgConnectOptions = self.db.url().parse()?;
        let name = url.get_database().unwrap_or_default().to_owned();
        url = url.database("postgres");
        let mut connection = sqlx::PgConnection::connect_with(&url).await?;
        // The rush ends.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = "select extract(epoch from clock_timestamp())::float8";
        let since: f64 = sqlx::query_scalar(now).fetch_one(&mut connection).await?;
        tokio::time::sleep(IDLE).await;
        let asked: Vec<String> = sqlx::query_scalar(
            "select query from pg_stat_activity
             where datname = $1 and backend_type = 'client backend' and query_start > to_timestamp($2)",
        )
        .bind(&name)
        .bind(since)
        .fetch_all(&mut connection)
        .await?;
        Ok(Row {
            id: "P15",
            what: format!("connections that asked anything in {} idle seconds, relay and consumer", IDLE.as_secs()),
            measured: asked.len().to_string(),
            aim: "none",
            // Once a minute relay and consumer sweep.
            met: asked.len() <= 2,
            detail: format!("a sweep of every minute counts; {}", asked.join("; ")),
        })
    }

    /// Commits one event and answers when that was.
    async fn commit(&self, number: i64) -> Result<Instant> {
        let mut tx = coreloop_db::begin(&self.parts.db).await?;
        let mut facts = Facts::new();
        let session_id = number.to_string();
        let fact = AuthUserLoggedIn { session_id, method: "bench".into(), ..AuthUserLoggedIn::default() };
        facts.add(&SystemIds, number.to_string(), &fact)?;
        Outbox::new("auth")?.write(&mut tx, &facts, SystemClock.now()).await?;
        tx.commit().await?;
        Ok(Instant::now())
    }
}

/// Tells when it was asked.
pub(crate) struct Timing(pub(crate) mpsc::UnboundedSender<(i64, Instant)>);

#[async_trait]
impl Handler for Timing {
    async fn handle(&self, _tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        let at = Instant::now();
        let fact: AuthUserLoggedIn = event.decode()?;
        // What the rounds of the relay left is not asked for.
        if let ("bench", Ok(number)) = (fact.method.as_str(), fact.session_id.parse()) {
            let _nobody_listens_any_more = self.0.send((number, at));
        }
        Ok(())
    }
}

/// Gives the database at `url` the tables of a service.
pub(crate) async fn migrated(url: String, service: &'static str, migrations: &'static Migrator) {
    // The service's role has the password of the address, as the server asks for one.
    let signs_in = url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map(|(who, _)| who);
    let password =
        signs_in.and_then(|who| who.split_once(':')).map(|(_, password)| format!("password = \"{password}\""));
    let text = format!("url = \"{url}\"\nadmin_url = \"{url}\"\n{}", password.unwrap_or_default());
    let migrated = async {
        let options = coreloop_db::Options::read(&Section::from_toml("database", &text)?)?;
        let admin = options.admin_url.as_ref().context("the address is there")?;
        coreloop_db::bootstrap(admin, service, options.password.as_ref()).await?;
        coreloop_db::migrate(&options, service, migrations).await?;
        anyhow::Ok(())
    };
    if let Err(error) = migrated.await {
        // The template is left without tables, and the first statement says so.
        println!("the database of {service} is not migrated: {error:?}");
    }
}

pub(crate) async fn read_to(connection: &mut sqlx::PgConnection) -> Result<i64> {
    Ok(sqlx::query_scalar("select read_to from auth.outbox_relay").fetch_one(connection).await?)
}

/// The rows, as COPY takes them: a payload of about 250 bytes, ten events a key.
pub(crate) fn copy_text() -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(EVENTS as usize * 420);
    let now = SystemClock.now();
    for number in 0..EVENTS {
        let id = uuid::Uuid::from_u128(number as u128);
        let key = uuid::Uuid::from_u128((number / 10) as u128 + (7 << 96));
        let _ = writeln!(
            text,
            "{id}\tauth\t{key}\tuser_logged_in\t{{\"user_id\": \"{key}\", \"session_id\": \"{id}\", \"occurred_at\": \"{now}\", \
             \"method\": \"a method with a name that is as long as what other events carry besides their ids, which is not much\"}}\t\
             00-{:032x}-{:016x}-00\t{now}",
            number + 1,
            number + 1
        );
    }
    text
}

pub(crate) fn tail(what: &str, late: &mut [Duration]) -> Row {
    late.sort_unstable();
    let at = |quantile: f64| {
        let index = ((late.len() as f64 - 1.0) * quantile) as usize;
        late.get(index).map_or(f64::NAN, |value| value.as_secs_f64() * 1e3)
    };
    let p99 = at(0.99);
    Row {
        id: "P15",
        what: what.to_owned(),
        measured: format!("{p99:.1} ms"),
        aim: "≤ 20 ms",
        met: p99 <= 20.0,
        detail: format!("median {:.1} ms, worst {:.1} ms of {}", at(0.5), at(1.0), late.len()),
    }
}
