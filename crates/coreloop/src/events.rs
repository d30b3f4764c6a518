//! `coreloop events`: has a consumer read again what the broker keeps, for operators. What it does stands in the audit of ops.

use std::sync::Arc;

use anyhow::Context as _;
use coreloop_config::Settings;
use coreloop_core::{Clock as _, Problem, Reason, SystemClock, id::SystemIds};
use coreloop_eventing::{
    Options, RedisBus, Topic,
    bus::{Bus, Start},
};
use coreloop_ops::audit::Book;
use coreloop_server::RedisOptions;
use jiff::Timestamp;
use redis::aio::ConnectionManager;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::{brokers, verify};

/// What to do.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Has a consumer read a topic again. What it has acted on and still knows has no second effect.
    Replay(Replay),
}

/// What to read again.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("place").required(true))]
pub(crate) struct Replay {
    /// The consumer, as `wallet.welcome`.
    consumer: String,
    /// The topic, as `events.auth.user_registered`.
    topic: String,
    /// From what was published at or after this time, as `2026-11-22T06:00:00Z`.
    #[arg(long, group = "place")]
    from: Option<Timestamp>,
    /// From this place on, as the broker shows it: in Redis the id of an entry.
    #[arg(long, group = "place")]
    offset: Option<String>,
    /// From the oldest that is kept.
    #[arg(long, group = "place")]
    all: bool,
}

/// Does it.
///
/// # Errors
/// A broker or a database that does not answer; a consumer, a topic or a place that the broker does not know, or that the
/// consumer has not read up to.
pub(crate) async fn run(settings: &Settings, Command::Replay(replay): Command) -> anyhow::Result<()> {
    let Replay { consumer, topic, from, offset, .. } = replay;
    let (domain, event) = topic
        .strip_prefix("events.")
        .and_then(|name| name.split_once('.'))
        .with_context(|| format!("`{topic}` is no topic: events.<domain>.<event>"))?;
    anyhow::ensure!(from.is_none_or(|from| from <= SystemClock.now()), "--from is in the future");
    let (bus, ours) = (bus(settings).await?, verify::database(settings, "ops")?);
    let (detail, heard) = (json!({ "topic": topic, "from": from, "offset": offset }), Topic::named(domain, event));
    let rewind = async {
        let rewound = match (&offset, from) {
            (Some(place), _) => bus.rewind_to(&consumer, &heard, place).await,
            (None, Some(time)) => bus.rewind(&consumer, &heard, Start::At(time)).await,
            (None, None) => bus.rewind(&consumer, &heard, Start::Earliest).await,
        };
        let why = |error| format!("{consumer} cannot read {topic} again: {error}");
        rewound.map_err(|error| coreloop_ops::Error::from(Problem::common(Reason::MalformedRequest, why(error))))
    };
    let book = Book { db: &ours, clock: &SystemClock, ids: &SystemIds };
    let act = ("cli".to_owned(), "ops.events.replay", consumer.as_str());
    book.audited(act, detail, rewind, |()| json!({})).await?;
    println!("{consumer} reads {topic} again");
    Ok(())
}

/// What carries the events of this mesh.
async fn bus(settings: &Settings) -> anyhow::Result<Arc<dyn Bus>> {
    let section = settings.section("eventing");
    if let Some(chosen) = brokers::read(&section)?.events {
        return Ok(chosen);
    }
    let redis: RedisOptions = settings.section("redis").read()?;
    let url = redis.url.context("redis.url is not set")?;
    let client = redis::Client::open(url.expose_secret()).context("setting redis.url")?;
    let connection =
        ConnectionManager::new(client.clone()).await.context("redis does not answer (setting redis.url)")?;
    Ok(Arc::new(RedisBus::new(connection, client, &Options::read(&section)?)))
}
