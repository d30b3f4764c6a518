//! What every handler works with.

use std::sync::Arc;

use coreloop_core::{Clock, Ids};
use coreloop_eventing::{Brokers, CommandBus, Failure, Outbox};
use coreloop_eventstore::EventStore;
use coreloop_service::{BuildError, Ctx};
use sqlx::PgPool;

use crate::{
    Options,
    analysis::Scans,
    metrics::{FailureLabels, Metrics},
    pending::Uploads,
    recent::Recent,
    storage::{Away, Storage},
};

/// The running service.
#[derive(Debug)]
pub struct App {
    /// Settings.
    pub options: Options,
    /// The service's own database: its role, its schema.
    pub db: PgPool,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Events and commands on their way out.
    pub outbox: Outbox,
    /// The histories of images.
    pub history: EventStore,
    /// Storage.
    pub storage: Storage,
    /// The scan service.
    pub scans: Scans,
    /// Pending uploads.
    pub uploads: Uploads,
    /// The newest images of users.
    pub recent: Recent,
    /// Smaller copies are made by commands to ourselves; else photos wait for a broker.
    pub sends: bool,
    /// Metrics.
    pub metrics: Metrics,
}

impl App {
    /// The service of a process.
    ///
    /// # Errors
    /// Wrong settings, no database.
    pub fn of(ctx: &Ctx) -> Result<Self, BuildError> {
        let options = Options::read(&ctx.settings, ctx.mode)?;
        let metrics = Metrics::default();
        ctx.metrics.with(|registry| metrics.register(registry));
        Ok(Self {
            db: ctx.require_db()?,
            clock: Arc::clone(&ctx.clock),
            ids: Arc::clone(&ctx.ids),
            outbox: Outbox::new("image")?,
            history: EventStore::new("image")?,
            storage: Storage::of(&options),
            scans: Scans::of(ctx),
            uploads: Uploads::new(ctx.redis.clone(), options.redis_timeout_ms, options.upload_secs),
            recent: Recent::new(ctx.redis.clone(), options.redis_timeout_ms),
            sends: command_bus(ctx)?.is_some(),
            options,
            metrics,
        })
    }

    /// Counts that storage did not do what it was asked, which a pause may cure.
    #[must_use]
    pub fn storage_failed(&self, operation: &'static str, away: &Away) -> Failure {
        self.metrics.failures.get_or_create(&FailureLabels { operation, code: away.name() }).inc();
        Failure::retryable("STORAGE_UNAVAILABLE", away.to_string())
    }
}

/// What carries commands; none where there is no broker.
///
/// # Errors
/// When the broker is set and cannot be used.
pub fn command_bus(ctx: &Ctx) -> Result<Option<Arc<dyn CommandBus>>, BuildError> {
    let brokers = Brokers::of(ctx);
    if brokers.commands.is_none() && ctx.redis_client.is_none() {
        return Ok(None);
    }
    brokers.commands(ctx).map(Some)
}
