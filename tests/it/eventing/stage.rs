//! A database with auth's tables, a Redis of its own, and workers that can be killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use coreloop_config::Section;
use coreloop_core::{SystemClock, id::SystemIds};
use coreloop_db::{Options as DbOptions, Transaction};
use coreloop_eventing::{
    Consumer, Event, Facts, Failure, Handler, Metrics, Options, Outbox, Parts, RedisBus, Relay, bus::Bus,
};
use coreloop_facts::v1::AuthUserLoggedIn;
use coreloop_service::Worker;
use coreloop_testkit::{TestDb, TestRedis, wait_until};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Name of the consumer of these tests.
pub const CONSUMER: &str = "auth.test";
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Stage {
    pub db: TestDb,
    pub pool: PgPool,
    pub redis: TestRedis,
    pub options: Options,
    pub metrics: coreloop_service::Metrics,
}

/// A worker that runs; dropped, it is killed where it stands.
pub struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub fn of(worker: Worker) -> Self {
        let stop = CancellationToken::new();
        let (worker, token) = (worker, stop.clone());
        Self { stop, task: tokio::spawn(async move { worker.run(token).await }) }
    }

    /// Kills it where it stands.
    pub async fn kill(mut self) {
        self.task.abort();
        let _killed = (&mut self.task).await;
    }

    /// Lets it end by itself.
    pub async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What every effect is written into.
const EFFECTS: &str = "create table auth.effects (
    place bigint generated always as identity, key text not null, number bigint not null, event uuid not null, late_ms bigint not null)";

impl Stage {
    pub async fn set() -> Self {
        let state = coreloop_auth::module::MIGRATIONS.iter().flat_map(|step| step.checksum.to_vec());
        let hash = state.fold(7_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let db = TestDb::copy_of(&format!("eventing_{hash:x}"), |url| async move {
            // The role is the cluster's and other tests' too, who give it the password of the address.
            let address: url::Url = url.parse().unwrap();
            let password = address.password().map(|password| format!("password = \"{password}\"")).unwrap_or_default();
            let text = format!("url = \"{url}\"\nadmin_url = \"{url}\"\n{password}");
            let options = DbOptions::read(&Section::from_toml("database", &text).unwrap()).unwrap();
            let admin = options.admin_url.as_ref().unwrap();
            coreloop_db::bootstrap(admin, "auth", options.password.as_ref()).await.unwrap();
            coreloop_db::migrate(&options, "auth", &coreloop_auth::module::MIGRATIONS).await.unwrap();
        })
        .await;
        db.execute(EFFECTS).await;
        let pool = PgPoolOptions::new().max_connections(24).connect(&db.url()).await.unwrap();
        let options = Options {
            batch: 50,
            poll_ms: 100,
            standby_ms: 100,
            // A broker that answers late has its users drop what they have begun, and begin again.
            broker_timeout_ms: 30_000,
            retry_delays_secs: vec![0, 0, 0],
            ..Options::default()
        };
        Self { db, pool, redis: TestRedis::start().await, options, metrics: coreloop_service::Metrics::default() }
    }

    pub async fn parts(&self) -> Parts {
        let parts = parts(&self.pool, &self.redis.url(), &self.options).await;
        Parts { metrics: Metrics::of(&self.metrics), ..parts }
    }

    /// Waits until the metrics of the process have a line.
    pub async fn wait_for_metric(&self, line: &str) {
        let there = || self.metrics.encode().lines().any(|one| one == line);
        wait_until(line, PATIENCE, async || there()).await;
    }

    pub async fn relay(&self) -> Running {
        Running::of(Relay::new(self.parts().await).unwrap().worker())
    }

    pub async fn relay_over(&self, bus: impl Bus) -> Running {
        let parts = Parts { bus: Arc::new(bus), ..self.parts().await };
        Running::of(Relay::new(parts).unwrap().worker())
    }

    pub async fn bus(&self) -> RedisBus {
        bus(&self.redis.url(), &self.options).await
    }

    pub async fn consumer(&self, handler: impl Handler) -> Running {
        Running::of(consumer(self.parts().await, handler))
    }

    /// Writes events `numbers` of `key` in an open transaction, which holds the key as a change of an aggregate does.
    pub async fn write(&self, key: &str, numbers: &[i64]) -> Transaction {
        let mut tx = coreloop_db::begin(&self.pool).await.unwrap();
        sqlx::query("select pg_advisory_xact_lock(hashtext($1))").bind(key).execute(&mut *tx).await.unwrap();
        let mut facts = Facts::new();
        for number in numbers {
            let session_id = number.to_string();
            let fact = AuthUserLoggedIn { user_id: key.into(), session_id, ..AuthUserLoggedIn::default() };
            facts.add(&SystemIds, key, &fact).unwrap();
        }
        let now = coreloop_core::Clock::now(&SystemClock);
        Outbox::new("auth").unwrap().write(&mut tx, &facts, now).await.unwrap();
        tx
    }

    /// The same, committed.
    pub async fn tell(&self, key: &str, numbers: &[i64]) {
        self.write(key, numbers).await.commit().await.unwrap();
    }

    /// The numbers of each key in the order of their effects.
    pub async fn effects(&self) -> BTreeMap<String, Vec<i64>> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("select key, number from auth.effects order by place").fetch_all(&self.pool).await.unwrap();
        let mut effects = BTreeMap::<String, Vec<i64>>::new();
        for (key, number) in rows {
            effects.entry(key).or_default().push(number);
        }
        effects
    }

    pub async fn wait_for_effects(&self, count: usize) {
        self.wait_for_effects_within(count, PATIENCE).await;
    }

    pub async fn wait_for_effects_within(&self, count: usize, deadline: Duration) {
        wait_until(format!("{count} effects"), deadline, async || {
            self.effects().await.values().map(Vec::len).sum::<usize>() >= count
        })
        .await;
    }

    /// Entries of the one topic of these tests.
    pub async fn published(&self) -> usize {
        let mut redis = self.redis.connect().await;
        redis::cmd("XLEN").arg("events.auth.user_logged_in").query_async(&mut redis).await.unwrap()
    }

    /// Deliveries that nobody has acknowledged.
    pub async fn pending(&self) -> i64 {
        let mut redis = self.redis.connect().await;
        let mut ask = redis::cmd("XPENDING");
        ask.arg("events.auth.user_logged_in").arg(CONSUMER);
        let told: redis::streams::StreamPendingReply = ask.query_async(&mut redis).await.unwrap();
        told.count().try_into().unwrap()
    }

    /// When the newest entry of the topic was published, in milliseconds, by the broker's clock.
    pub async fn newest(&self) -> i64 {
        let mut redis = self.redis.connect().await;
        let mut newest = redis::cmd("XREVRANGE");
        newest.arg("events.auth.user_logged_in").arg("+").arg("-").arg("COUNT").arg(1);
        let entries: redis::streams::StreamRangeReply = newest.query_async(&mut redis).await.unwrap();
        entries.ids[0].id.split('-').next().unwrap().parse().unwrap()
    }

    /// Commits wake the relay; else it looks by itself.
    pub async fn listening(&self) -> bool {
        self.db.count("select last_value from auth.outbox_listening").await == 1
    }

    pub async fn wait_for_published(&self, count: usize) {
        wait_until(format!("{count} published"), PATIENCE, async || self.published().await >= count).await;
    }
}

pub async fn parts(pool: &PgPool, redis: &str, options: &Options) -> Parts {
    Parts {
        schema: "auth".into(),
        db: pool.clone(),
        bus: Arc::new(bus(redis, options).await),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        options: Arc::new(options.clone()),
        metrics: Metrics::default(),
        spans: None,
    }
}

async fn bus(redis: &str, options: &Options) -> RedisBus {
    let client = redis::Client::open(redis).unwrap();
    let connection = redis::aio::ConnectionManager::new(client.clone()).await.unwrap();
    RedisBus::new(connection, client, options)
}

pub fn consumer(parts: Parts, handler: impl Handler) -> Worker {
    Consumer::new(CONSUMER, parts, handler).unwrap().hears::<AuthUserLoggedIn>().unwrap().worker()
}

/// Notes the effect of each event.
#[derive(Clone, Default)]
pub struct Noting;

#[async_trait]
impl Handler for Noting {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        let fact: AuthUserLoggedIn = event.decode()?;
        let late = coreloop_core::Clock::now(&SystemClock).duration_since(event.created_at);
        sqlx::query("insert into auth.effects (key, number, event, late_ms) values ($1, $2, $3, $4)")
            .bind(&fact.user_id)
            .bind(fact.session_id.parse::<i64>().unwrap())
            .bind(event.id)
            .bind(i64::try_from(late.as_millis()).unwrap())
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}

/// As [`Noting`], but some events cannot be handled until that is mended.
#[derive(Clone, Default)]
pub struct Poisoned {
    pub poison: BTreeSet<(String, i64)>,
    pub mended: Arc<AtomicBool>,
    pub tries: Arc<AtomicUsize>,
}

impl Poisoned {
    pub fn of<'a>(poison: impl IntoIterator<Item = (&'a str, i64)>) -> Self {
        let poison = poison.into_iter().map(|(key, number)| (key.to_owned(), number)).collect();
        Self { poison, ..Self::default() }
    }
}

#[async_trait]
impl Handler for Poisoned {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        let fact: AuthUserLoggedIn = event.decode()?;
        // The effect comes first: what fails after it must leave nothing behind.
        Noting.handle(tx, event).await?;
        let poison = self.poison.contains(&(event.key.clone(), fact.session_id.parse().unwrap()));
        if poison && !self.mended.load(Ordering::SeqCst) {
            self.tries.fetch_add(1, Ordering::SeqCst);
            return Err(Failure::retryable("POISON", "as the test says"));
        }
        Ok(())
    }
}

/// As [`Noting`], but each event waits in its transaction, its effect written, for a permit.
#[derive(Clone)]
pub struct Gated {
    pub permits: Arc<Semaphore>,
    pub inside: Arc<Semaphore>,
}

impl Gated {
    /// Without a permit.
    pub fn shut() -> Self {
        Self { permits: Arc::new(Semaphore::new(0)), inside: Arc::new(Semaphore::new(0)) }
    }
}

#[async_trait]
impl Handler for Gated {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        Noting.handle(tx, event).await?;
        self.inside.add_permits(1);
        self.permits.acquire().await.unwrap().forget();
        Ok(())
    }
}
