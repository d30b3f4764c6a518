//! P15 beside Redis Streams: events over Kafka, commands over RabbitMQ and Redis.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use coreloop_core::{Ids as _, SystemClock, id::SystemIds};
use coreloop_db::Transaction;
use coreloop_eventing::{
    Command, CommandBus, CommandHandler, Commands, Consumer, Failure, Options, Queue, RedisBus, Relay, bus::Start,
};
use coreloop_eventing_kafka::{KafkaBus, Options as KafkaOptions};
use coreloop_eventing_rabbitmq::{Options as RabbitOptions, RabbitBus};
use coreloop_facts::v1::AuthUserLoggedIn;
use coreloop_testkit::{TestKafka, TestRabbit, TestRedis};
use serde_json::Value;
use sqlx::Connection as _;
use tokio::sync::mpsc;

use crate::{
    events::{EVENTS, PATIENCE, Place, Running, Timing, copy_text, read_to, tail},
    report::{Row, median, spread},
};

/// Commands that are sent and done at the same time by some senders, and those that are timed one by one.
const COMMANDS: usize = 2_000;
const SENDERS: usize = 8;
const TIMED: usize = 300;
const QUEUE: Queue = Queue::REWARDS_ISSUE;

/// All rows.
///
/// # Errors
/// When anything fails or is lost.
pub(crate) async fn rows(rounds: usize) -> Result<Vec<Row>> {
    let mut rows = kafka(rounds).await?;
    let redis = TestRedis::start().await;
    let client = redis::Client::open(redis.url())?;
    let connection = redis::aio::ConnectionManager::new(client.clone()).await?;
    let bus: Arc<dyn CommandBus> = Arc::new(RedisBus::new(connection, client, &Options::default()));
    rows.extend(commands("Redis Streams", bus).await?);
    let rabbit = TestRabbit::start().await;
    let options = RabbitOptions { url: rabbit.url().into(), ..RabbitOptions::default() };
    rows.extend(commands("RabbitMQ", Arc::new(RabbitBus::new(&options))).await?);
    Ok(rows)
}

/// The relay and the way to a consumer, over Kafka.
async fn kafka(rounds: usize) -> Result<Vec<Row>> {
    let kafka = TestKafka::start().await;
    let options = KafkaOptions { servers: kafka.servers(), ..KafkaOptions::default() };
    let mut place = Place::take().await?;
    place.parts.bus = Arc::new(KafkaBus::new(&options, Duration::from_secs(30 * 86_400)));
    let mut rows = vec![relayed(&place, rounds).await?];
    let relay = Running::of(Relay::new(place.parts.clone())?.worker());
    let (heard, mut hearing) = mpsc::unbounded_channel();
    let consumer = Consumer::new("auth.bench", place.parts.clone(), Timing(heard))?.hears::<AuthUserLoggedIn>()?;
    let consumer = Running::of(consumer.starting(Start::Latest).worker());
    place.warm_up(&mut hearing).await?;
    let row = place.one_by_one(&mut hearing).await?;
    rows.push(Row { what: format!("Kafka: {}", row.what), ..row });
    consumer.stop().await?;
    relay.stop().await?;
    Ok(rows)
}

/// The relay over the rows that the row of Redis has.
async fn relayed(place: &Place, rounds: usize) -> Result<Row> {
    let mut connection = place.db.connect().await;
    place
        .db
        .execute(
            "create table auth.bench_copy (id uuid primary key, aggregatetype text not null, aggregateid text not null,
             type text not null, payload jsonb not null, traceparent text not null, created_at timestamptz not null)",
        )
        .await;
    let mut copy = connection.copy_in_raw("copy auth.bench_copy from stdin").await?;
    copy.send(copy_text().as_bytes()).await?;
    anyhow::ensure!(copy.finish().await? == EVENTS as u64, "COPY took other rows");
    let mut rates = Vec::new();
    for round in 0..=rounds {
        place.db.execute("truncate auth.outbox").await;
        place
            .db
            .execute(
                "insert into auth.outbox (id, aggregatetype, aggregateid, type, payload, traceparent, created_at)
                 select id, aggregatetype, aggregateid, type, payload, traceparent, created_at
                 from auth.bench_copy order by id; analyze auth.outbox; checkpoint",
            )
            .await;
        let last = place.db.count("select max(seq) from auth.outbox").await;
        let begun = Instant::now();
        let relay = Running::of(Relay::new(place.parts.clone())?.worker());
        while read_to(&mut connection).await? < last {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the relay does not come to an end");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if round > 0 {
            rates.push(EVENTS as f64 / begun.elapsed().as_secs_f64());
        }
        relay.stop().await?;
    }
    connection.close().await?;
    Ok(Row {
        id: "P15",
        what: format!("relay of {EVENTS} events to Kafka"),
        measured: format!("{:.0} events/s", median(&rates)),
        aim: "beside Redis",
        met: true,
        detail: format!(
            "transactions of the producer, acks=all, its start and the broker on the same cores included; {}",
            spread(&rates)
        ),
    })
}

/// Sent and done in a crowd, and one by one.
async fn commands(what: &str, bus: Arc<dyn CommandBus>) -> Result<Vec<Row>> {
    let place = Place::take().await?;
    let (done, mut doing) = mpsc::unbounded_channel();
    let worker = Consumer::working(QUEUE, Arc::clone(&bus), place.parts.clone(), Doing(done))?;
    let worker = Running::of(worker.worker());
    let commands = Commands::new(bus, Arc::new(SystemClock), "bench");
    commands.send(QUEUE, "first", SystemIds.uuid(), &0).await?;
    tokio::time::timeout(PATIENCE, doing.recv()).await?.context("the worker ended")?;
    let mut late = Vec::with_capacity(TIMED);
    for number in 0..TIMED {
        let sent = Instant::now();
        commands.send(QUEUE, format!("key{number}"), SystemIds.uuid(), &number).await?;
        let at = tokio::time::timeout(PATIENCE, doing.recv()).await?.context("the worker ended")?;
        late.push(at.saturating_duration_since(sent));
    }
    let begun = Instant::now();
    let senders = (0..SENDERS).map(|sender| {
        let commands = &commands;
        async move {
            for number in 0..COMMANDS / SENDERS {
                commands.send(QUEUE, format!("{sender}.{number}"), SystemIds.uuid(), &number).await?;
            }
            anyhow::Ok(())
        }
    });
    let all_done = async {
        for _ in 0..COMMANDS {
            tokio::time::timeout(PATIENCE, doing.recv()).await?.context("the worker ended")?;
        }
        anyhow::Ok(())
    };
    let sent_at = Mutex::new(begun);
    let sending = async {
        futures::future::try_join_all(senders).await?;
        *sent_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        anyhow::Ok(())
    };
    futures::try_join!(sending, all_done)?;
    let sent = *sent_at.lock().unwrap_or_else(PoisonError::into_inner);
    let rate = |until: Instant| COMMANDS as f64 / until.duration_since(begun).as_secs_f64();
    let crowd = Row {
        id: "P15",
        what: format!("{what}: {COMMANDS} commands of {SENDERS} senders, sent and begun"),
        measured: format!("{:.0} commands/s", rate(Instant::now())),
        aim: "side by side",
        met: true,
        detail: format!("taken by the broker at {:.0} commands/s", rate(sent)),
    };
    worker.stop().await?;
    let row = tail("", &mut late);
    Ok(vec![Row { what: format!("{what}: a command from sending to its work p99"), ..row }, crowd])
}

/// Tells when it was asked.
struct Doing(mpsc::UnboundedSender<Instant>);

#[async_trait]
impl CommandHandler for Doing {
    async fn act(&self, _command: &Command) -> Result<Value, Failure> {
        let _nobody_listens_any_more = self.0.send(Instant::now());
        Ok(Value::Null)
    }

    async fn settle(&self, _tx: &mut Transaction, _command: &Command, _result: &Value) -> Result<(), Failure> {
        Ok(())
    }
}
