//! What every handler works with.

use std::sync::Arc;

use coreloop_core::{Clock, Ids};
use coreloop_eventing::Outbox;
use coreloop_service::{BuildError, Ctx};
use jiff::{SignedDuration, Timestamp};
use sqlx::PgPool;

use crate::{Options, bank::Bank, metrics::Metrics};

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
    /// The wallet.
    pub bank: Bank,
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
            options,
            db: ctx.require_db()?,
            clock: Arc::clone(&ctx.clock),
            ids: Arc::clone(&ctx.ids),
            outbox: Outbox::new("rewards")?,
            bank: Bank::of(ctx),
            metrics,
        })
    }

    /// When somebody else may take up what is begun now.
    #[must_use]
    pub fn claim(&self, now: Timestamp) -> Timestamp {
        let after = SignedDuration::from_secs(self.options.recover_after_secs.into());
        now.saturating_add(after).unwrap_or(now)
    }
}
