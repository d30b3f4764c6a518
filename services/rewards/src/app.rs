//! What every handler works with.

use std::sync::Arc;

use coreloop_core::{Clock, Ids};
use coreloop_eventing::{Brokers, CommandBus, Commands, Outbox};
use coreloop_facts::Acts;
use coreloop_service::{BuildError, Ctx};
use jiff::{SignedDuration, Timestamp};
use sqlx::PgPool;

use crate::{Options, bank::Bank, metrics::Metrics, vault::Vault, vendor::Vendor};

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
    /// The wallet.
    pub bank: Bank,
    /// The vendor of vouchers.
    pub vendor: Vendor,
    /// What seals voucher codes.
    pub vault: Vault,
    /// The near end of `rewards.issue`; none where there is no broker.
    pub commands: Option<Commands>,
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
            vendor: Vendor::of(&options),
            vault: Vault::of(&options, ctx.mode)?,
            commands: commands(ctx)?,
            options,
            db: ctx.require_db()?,
            clock: Arc::clone(&ctx.clock),
            ids: Arc::clone(&ctx.ids),
            outbox: Outbox::new("rewards")?,
            acts: Acts::of("rewards", Arc::clone(&ctx.ids))?,
            bank: Bank::of(ctx),
            metrics,
        })
    }

    /// When a vendor that has not answered is asked again.
    #[must_use]
    pub fn resend(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(SignedDuration::from_secs(self.options.resend_after_secs.into())).unwrap_or(now)
    }

    /// What was paid by then and is not issued is given up.
    #[must_use]
    pub fn given_up(&self, now: Timestamp) -> Timestamp {
        now.saturating_sub(SignedDuration::from_secs(self.options.give_up_secs.into())).unwrap_or(now)
    }

    /// When somebody else may take up what is begun now.
    #[must_use]
    pub fn claim(&self, now: Timestamp) -> Timestamp {
        let after = SignedDuration::from_secs(self.options.recover_after_secs.into());
        now.saturating_add(after).unwrap_or(now)
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

fn commands(ctx: &Ctx) -> Result<Option<Commands>, BuildError> {
    let bus = command_bus(ctx)?;
    Ok(bus.map(|bus| Commands::new(bus, Arc::clone(&ctx.clock), "rewards")))
}
