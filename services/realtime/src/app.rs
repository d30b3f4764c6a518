//! What every handler works with.

use std::sync::Arc;

use coreloop_core::{Clock, Ids};
use coreloop_service::{BuildError, Ctx, Links};

use crate::{Options, hub::Hub, log::Log, metrics::Metrics};

/// The running service.
#[derive(Debug)]
pub struct App {
    /// Settings.
    pub options: Options,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Peers that are asked for the initial state.
    pub links: Links,
    /// Sockets of this replica.
    pub hub: Arc<Hub>,
    /// What was said, in Redis.
    pub log: Log,
    /// Metrics.
    pub metrics: Metrics,
}

impl App {
    /// The service of a process.
    ///
    /// # Errors
    /// Wrong settings, no Redis.
    pub fn of(ctx: &Ctx) -> Result<Self, BuildError> {
        let options = Options::read(&ctx.settings)?;
        let metrics = Metrics::default();
        ctx.metrics.with(|registry| metrics.register(registry));
        Ok(Self {
            hub: Arc::new(Hub::new(options.queue, metrics.clone())),
            log: Log::new(ctx.require_redis()?, &options),
            options,
            clock: Arc::clone(&ctx.clock),
            ids: Arc::clone(&ctx.ids),
            links: ctx.links.clone(),
            metrics,
        })
    }
}
