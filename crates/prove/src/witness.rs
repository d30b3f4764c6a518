//! A consumer of `wallet.posted` as another service would be: each event has one effect, a row in a table of its own.
//!
//! Nothing in that table refuses a second row or one out of order: what went wrong is to be seen.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use coreloop_core::{SystemClock, id::SystemIds};
use coreloop_db::Transaction;
use coreloop_eventing::{Consumer, Event, Failure, Handler, Metrics, Options, Parts, RedisBus, bus::Bus};
use coreloop_eventing_kafka::{KafkaBus, Options as KafkaOptions};
use coreloop_facts::v1::WalletPosted;
use redis::aio::ConnectionManager;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;

use crate::carried::PARTITIONS;

/// Its schema, as the database is made with it: the tables of every consumer, and the effects.
pub(crate) const EFFECTS: &str = "
    create table witness.effects (
        place bigint generated always as identity primary key, event uuid not null, number bigint not null, key text not null,
        currency smallint not null, sequence bigint not null, delta bigint not null, balance_after bigint not null)";

/// The tables of every service that hears events.
pub(crate) const TABLES: &str = include_str!("../../eventing/tables.sql");

/// How it is started.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Postgres.
    #[arg(long)]
    database: String,
    /// Redis.
    #[arg(long)]
    redis: String,
    /// Kafka, where that carries events instead.
    #[arg(long)]
    kafka: Option<String>,
    /// Before the name of all that it has there.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Made when it reads.
    #[arg(long)]
    ready_file: PathBuf,
    /// The bug that it has.
    #[arg(long)]
    planted: Option<coreloop_planted::Bug>,
}

struct Note;

#[async_trait]
impl Handler for Note {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        let fact: WalletPosted = event.decode()?;
        sqlx::query(
            "insert into witness.effects (event, number, key, currency, sequence, delta, balance_after)
             values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(event.id)
        .bind(event.sequence)
        .bind(&event.key)
        .bind(i16::try_from(fact.currency).unwrap_or_default())
        .bind(fact.sequence)
        .bind(fact.delta)
        .bind(fact.balance_after)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}

/// Hears events until it is killed.
///
/// # Errors
/// Addresses that cannot be read.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    if let Some(bug) = arguments.planted {
        plant(bug)?;
    }
    let db = PgPoolOptions::new()
        .max_connections(8)
        .acquire_timeout(Duration::from_secs(3))
        .connect_lazy(&arguments.database)
        .context("the database's address")?;
    let options = Options {
        poll_ms: 500,
        standby_ms: 200,
        broker_timeout_ms: 1_000,
        concurrency: 8,
        retry_delays_secs: vec![0, 1, 1],
        ..Options::default()
    };
    let parts = Parts {
        schema: "witness".to_owned(),
        db,
        bus: bus(arguments, &options)?,
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        options: Arc::new(options),
        metrics: Metrics::default(),
        spans: None,
    };
    let worker = Consumer::new("witness.posted", parts, Note)?.hears::<WalletPosted>()?.worker();
    std::fs::write(&arguments.ready_file, "")?;
    loop {
        worker.run(CancellationToken::new()).await;
    }
}

/// What carries its events.
fn bus(arguments: &Arguments, options: &Options) -> Result<Arc<dyn Bus>> {
    if let Some(servers) = &arguments.kafka {
        let (servers, prefix) = (servers.clone(), arguments.prefix.clone());
        let kafka = KafkaOptions { servers, prefix, partitions: PARTITIONS, ..KafkaOptions::default() };
        return Ok(Arc::new(KafkaBus::new(&kafka, Duration::from_secs(options.retention_secs))));
    }
    let client = redis::Client::open(arguments.redis.as_str())?;
    let connection =
        ConnectionManager::new_lazy_with_config(client.clone(), redis::aio::ConnectionManagerConfig::new())?;
    Ok(Arc::new(RedisBus::new(connection, client, options)))
}

#[cfg(feature = "planted")]
fn plant(bug: coreloop_planted::Bug) -> Result<()> {
    coreloop_planted::plant(bug);
    Ok(())
}

#[cfg(not(feature = "planted"))]
fn plant(bug: coreloop_planted::Bug) -> Result<()> {
    anyhow::bail!("this build cannot have the bug {bug}")
}
