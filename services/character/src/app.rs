//! What every handler works with.

use std::sync::Arc;

use coreloop_core::{Clock, Ids};
use coreloop_eventing::Outbox;
use coreloop_eventstore::EventStore;
use coreloop_facts::Acts;
use coreloop_idempotency::Keys;
use coreloop_service::{BuildError, Ctx};
use sqlx::PgPool;

use crate::{Options, catalogue::Remembered, metrics::Metrics, schema::Schema, views::Views};

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
    /// Events on their way out.
    pub outbox: Outbox,
    /// What administrators do, for the audit of the mesh.
    pub acts: Acts,
    /// The histories of collections.
    pub history: EventStore,
    /// Acts that were asked for under a key.
    pub keys: Keys,
    /// What conditions are held to.
    pub schema: Schema,
    /// The catalogue as it was last read.
    pub remembered: Remembered,
    /// What Redis has of it.
    pub views: Views,
    /// Metrics.
    pub metrics: Metrics,
}

impl App {
    /// The service of a process.
    ///
    /// # Errors
    /// Wrong settings, no database.
    pub fn of(ctx: &Ctx) -> Result<Self, BuildError> {
        let options = Options::read(&ctx.settings)?;
        let metrics = Metrics::default();
        ctx.metrics.with(|registry| metrics.register(registry));
        Ok(Self {
            views: Views::new(ctx.redis.clone(), options.redis_timeout_ms),
            options,
            db: ctx.require_db()?,
            clock: Arc::clone(&ctx.clock),
            ids: Arc::clone(&ctx.ids),
            outbox: Outbox::new("character")?,
            acts: Acts::of("character", Arc::clone(&ctx.ids))?,
            history: EventStore::new("character")?,
            keys: Keys::new("character")?,
            schema: Schema::unlock()?,
            remembered: Remembered::default(),
            metrics,
        })
    }
}
