//! `coreloop sites`: places where things are taken back, for operators. What it does stands in the audit of ops.

use std::path::PathBuf;

use anyhow::Context as _;
use coreloop_config::Settings;
use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};
use coreloop_location::sites;
use coreloop_ops::audit::Book;
use coreloop_server::RedisOptions;
use redis::aio::ConnectionManager;
use secrecy::ExposeSecret as _;
use serde_json::json;
use sqlx::PgPool;

use crate::verify;

/// Largest file, in bytes.
const MOST: u64 = 64 << 20;

/// What to do.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Puts the sites of a file, CSV or JSON, in the place of all that there are; a file with a mistake changes nothing.
    Load {
        /// The file.
        file: PathBuf,
    },
}

/// Does it.
///
/// # Errors
/// A file with mistakes, each with its line; a database that does not answer.
pub(crate) async fn run(settings: &Settings, Command::Load { file }: Command) -> anyhow::Result<()> {
    let shown = file.display().to_string();
    let size = tokio::fs::metadata(&file).await.with_context(|| shown.clone())?.len();
    anyhow::ensure!(size <= MOST, "{shown}: larger than {} MiB", MOST >> 20);
    let text = tokio::fs::read_to_string(&file).await.with_context(|| shown.clone())?;
    let sites = sites::read(&text).map_err(|faults| anyhow::anyhow!("{shown}:\n  {}", faults.join("\n  ")))?;
    let (db, ours) = (verify::database(settings, "location")?, verify::database(settings, "ops")?);
    let work = async {
        let loaded = sites::load(&db, &sites, SystemClock.now()).await;
        loaded.map_err(|error| coreloop_ops::Error::from(coreloop_core::Problem::from(error)))
    };
    let book = Book { db: &ours, clock: &SystemClock, ids: &SystemIds };
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let said = |version: &i64| json!({ "sites": sites.len(), "loading": version });
    let version = book.audited(("cli".to_owned(), "location.sites.load", &name), json!({}), work, said).await?;
    println!("{} sites, loading {version}", sites.len());
    if let Err(error) = index(settings, &db).await {
        eprintln!("redis is told within a minute by a service that runs: {error:#}");
    }
    Ok(())
}

/// Has them found at once; else a service does within a minute.
async fn index(settings: &Settings, db: &PgPool) -> anyhow::Result<()> {
    let redis: RedisOptions = settings.section("redis").read()?;
    let url = redis.url.context("redis.url is not set")?;
    let client = redis::Client::open(url.expose_secret()).context("setting redis.url")?;
    let redis = ConnectionManager::new(client).await.context("redis does not answer (setting redis.url)")?;
    sites::refresh(db, &redis, SystemIds.uuid()).await.context("redis does not answer (setting redis.url)")?;
    Ok(())
}
