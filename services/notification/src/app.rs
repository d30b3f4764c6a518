//! What every handler works with.

use std::sync::Arc;

use coreloop_core::{Clock, Ids};
use coreloop_eventing::{Brokers, CommandBus, Outbox};
use coreloop_eventstore::EventStore;
use coreloop_service::{BuildError, Ctx};
use sqlx::PgPool;

use crate::{Options, fcm::Gateway, metrics::Metrics, vault::Vault};

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
    /// The histories of notifications.
    pub history: EventStore,
    /// The push gateway.
    pub gateway: Gateway,
    /// What seals tokens.
    pub vault: Vault,
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
            gateway: Gateway::of(&options, Arc::clone(&ctx.clock)),
            vault: Vault::of(&options, ctx.mode)?,
            options,
            db: ctx.require_db()?,
            clock: Arc::clone(&ctx.clock),
            ids: Arc::clone(&ctx.ids),
            outbox: Outbox::new("notification")?,
            history: EventStore::new("notification")?,
            metrics,
        })
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
