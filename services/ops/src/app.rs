//! What every handler works with.

use std::sync::Arc;

use coreloop_core::{Clock, Ids};
use coreloop_ops_api::{
    host::refused,
    v1::{OpsReason, dead_letter_service_client::DeadLetterServiceClient},
};
use coreloop_service::{BuildError, Ctx, Link, Links};
use redis::aio::ConnectionManager;
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::{Error, Options, metrics::Metrics, peers::Peers};

/// The running service.
pub struct App {
    /// Settings.
    pub options: Options,
    /// The service's own database: its role, its schema.
    pub db: PgPool,
    /// Redis, where there is one: answers that are asked for often are kept there for a moment.
    pub redis: Option<ConnectionManager>,
    /// Peers.
    pub links: Links,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Metrics.
    pub metrics: Metrics,
    /// A run was asked for in this process.
    pub asked: Notify,
    /// Ops, as a service, towards the others.
    pub peers: Peers,
}

impl App {
    /// The service of a process.
    ///
    /// # Errors
    /// Without a database.
    pub fn new(options: Options, ctx: &Ctx) -> Result<Self, BuildError> {
        let metrics = Metrics::default();
        ctx.metrics.with(|registry| metrics.register(registry));
        Ok(Self {
            options,
            db: ctx.require_db()?,
            redis: ctx.redis.clone(),
            links: ctx.links.clone(),
            clock: Arc::clone(&ctx.clock),
            ids: Arc::clone(&ctx.ids),
            metrics,
            asked: Notify::new(),
            peers: Peers::new(ctx),
        })
    }

    /// The dead letters of the service whose queue it is.
    ///
    /// # Errors
    /// `QUEUE_UNKNOWN` when this mesh has no such service.
    pub fn letters_of(&self, queue: &str) -> Result<DeadLetterServiceClient<Link>, Error> {
        let domain = queue.split('.').next().unwrap_or_default();
        if !self.links.knows(domain) {
            return Err(refused(OpsReason::QueueUnknown, "no service of this mesh has such a queue").into());
        }
        Ok(DeadLetterServiceClient::new(self.links.to(domain)))
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("links", &self.links).finish_non_exhaustive()
    }
}
