//! What a command that works on a service's data needs: the service's own context, without serving anything.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use coreloop_access::{Gate, Keys, Policy, Revocations, gate::Parts};
use coreloop_auth::App;
use coreloop_config::Settings;
use coreloop_core::{Clock, SystemClock, id::SystemIds};
use coreloop_limit::{Limiter, Options as LimitOptions};
use coreloop_server::{RedisOptions, ServerOptions};
use coreloop_service::{Ctx, Links, Metrics, Mode, Readiness};
use redis::aio::ConnectionManager;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

/// A gate with `keys`, which follows the Redis of the settings where one is set.
///
/// # Errors
/// Wrong settings.
pub(crate) fn gate(settings: &Settings, keys: Keys, redis: Option<ConnectionManager>) -> anyhow::Result<Arc<Gate>> {
    let options: coreloop_access::Options = settings.section("access").read()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = coreloop_access::Metrics::default();
    let revocations = match redis {
        Some(redis) => Revocations::following(&options, redis, "tool", Arc::clone(&clock), metrics.clone()),
        None => Revocations::alone(Arc::clone(&clock)),
    };
    let policy = Policy::committed().map_err(|error| anyhow!("the committed descriptors: {error:?}"))?;
    Ok(Arc::new(Gate::new(Parts { options, clock, policy, keys, revocations, metrics })))
}

/// The auth service's parts.
///
/// # Errors
/// Wrong settings, a database or a Redis that does not answer.
pub(crate) async fn auth(settings: &Settings) -> anyhow::Result<Arc<App>> {
    let redis: RedisOptions = settings.section("redis").read()?;
    let url = redis.url.context("redis.url is not set")?;
    let client = redis::Client::open(url.expose_secret()).context("setting redis.url")?;
    let redis = ConnectionManager::new(client.clone()).await.context("redis does not answer (setting redis.url)")?;
    let database: coreloop_db::Options = settings.section("database").read()?;
    anyhow::ensure!(database.url.is_some(), "database.url is not set");
    let ctx = Ctx {
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        mode: settings.read::<Mode>("mode")?,
        settings: settings.section("auth"),
        db: Some(coreloop_db::connect(&database, "auth").context("setting database.url")?),
        redis: Some(redis.clone()),
        redis_client: Some(client),
        links: Links::default(),
        mesh_secret: None,
        gate: gate(settings, Keys::fixed(&Default::default()), Some(redis))?,
        limiter: Arc::new(Limiter::new(&LimitOptions::default(), None, 0)),
        trusted: coreloop_access::address::TrustedProxies::default(),
        max_in_flight: ServerOptions::default().max_in_flight,
        cors: coreloop_access::Cors::default(),
        metrics: Metrics::default(),
        spans: None,
        readiness: Readiness::default(),
        stopping: CancellationToken::new(),
        process: settings.clone(),
        extensions: Default::default(),
    };
    coreloop_auth::module::app(&ctx).await.map_err(|error| anyhow!(error))
}
