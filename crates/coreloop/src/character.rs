//! `coreloop character`: what Redis has of characters is made anew, for operators. What it does stands in the audit of ops.

use anyhow::Context as _;
use coreloop_character::{rebuilding, views::Views};
use coreloop_config::Settings;
use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};
use coreloop_ops::audit::Book;
use coreloop_server::RedisOptions;
use redis::aio::ConnectionManager;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::verify;

/// What to do.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Makes collections, rankings and catalogue in Redis anew from the histories, while those that are there serve.
    Rebuild,
}

/// Does it.
///
/// # Errors
/// A database or a Redis that does not answer; another rebuild that runs.
pub(crate) async fn run(settings: &Settings, Command::Rebuild: Command) -> anyhow::Result<()> {
    let redis: RedisOptions = settings.section("redis").read()?;
    let url = redis.url.context("redis.url is not set")?;
    let client = redis::Client::open(url.expose_secret()).context("setting redis.url")?;
    let redis = ConnectionManager::new(client).await.context("redis does not answer (setting redis.url)")?;
    let (db, ours) = (verify::database(settings, "character")?, verify::database(settings, "ops")?);
    let views = Views::new(Some(redis), 5_000);
    let work = async {
        let rebuilt = rebuilding::rebuild(&db, &views, (SystemIds.uuid(), SystemClock.now())).await;
        rebuilt.map_err(|error| coreloop_ops::Error::from(coreloop_core::Problem::from(error)))
    };
    let book = Book { db: &ours, clock: &SystemClock, ids: &SystemIds };
    let said = |rebuilt: &rebuilding::Rebuilt| json!({ "collections": rebuilt.collections, "events": rebuilt.events });
    let rebuilt = book.audited(("cli".to_owned(), "character.rebuild", "views"), json!({}), work, said).await?;
    let secs = rebuilt.took.as_secs_f64().max(0.001);
    println!(
        "{} collections of {} events in {secs:.1} s ({:.0} a second); {} views were of nobody",
        rebuilt.collections,
        rebuilt.events,
        f64::from(u32::try_from(rebuilt.events).unwrap_or(u32::MAX)) / secs,
        rebuilt.dropped,
    );
    Ok(())
}
