//! What every handler works with.

use std::sync::Arc;

use coreloop_core::{Clock, Ids};
use coreloop_eventing::Outbox;
use coreloop_eventstore::EventStore;
use coreloop_service::{BuildError, Ctx};
use jiff::Timestamp;
use sqlx::PgPool;

use crate::{Options, cache::Cache, metrics::Metrics, peers::Peers, times::from_micros};

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
    /// The histories of users.
    pub history: EventStore,
    /// Other services.
    pub peers: Peers,
    /// Summaries that were answered.
    pub cache: Cache,
    /// Metrics.
    pub metrics: Metrics,
}

impl App {
    /// The time, in the microseconds that the database keeps.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        from_micros(self.clock.now().as_microsecond())
    }

    /// The service of a process.
    ///
    /// # Errors
    /// Wrong settings, no database.
    pub fn of(ctx: &Ctx) -> Result<Self, BuildError> {
        let options = Options::read(&ctx.settings)?;
        let metrics = Metrics::default();
        ctx.metrics.with(|registry| metrics.register(registry));
        Ok(Self {
            cache: Cache::new(ctx.redis.clone(), options.redis_timeout_ms),
            options,
            db: ctx.require_db()?,
            clock: Arc::clone(&ctx.clock),
            ids: Arc::clone(&ctx.ids),
            outbox: Outbox::new("my")?,
            history: EventStore::new("my")?,
            peers: Peers::of(ctx),
            metrics,
        })
    }
}
