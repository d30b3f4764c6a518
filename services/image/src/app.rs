//! What every handler works with.

use std::sync::Arc;

use coreloop_core::{Clock, Ids};
use coreloop_eventing::Outbox;
use coreloop_eventstore::EventStore;
use coreloop_service::{BuildError, Ctx};
use sqlx::PgPool;

use crate::{Options, analysis::Scans, metrics::Metrics, pending::Uploads, storage::Storage};

/// The running service.
#[derive(Debug)]
pub struct App {
    /// The service's own database: its role, its schema.
    pub db: PgPool,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Events on their way out.
    pub outbox: Outbox,
    /// The histories of images.
    pub history: EventStore,
    /// Storage.
    pub storage: Storage,
    /// The scan service.
    pub scans: Scans,
    /// Pending uploads.
    pub uploads: Uploads,
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
            metrics,
        })
    }
}
