//! Which transports a process uses.

use std::sync::Arc;

use coreloop_service::{BuildError, Ctx, Worker};

use crate::{CommandBus, Options, Parts, RedisBus, Relay, bus::Bus};

/// The transports that the binary has chosen, in [`Ctx::extensions`]: this room knows Redis alone, and the others stand above
/// it. What is not chosen is on the process's Redis.
#[derive(Debug, Clone, Default)]
pub struct Brokers {
    /// Events.
    pub events: Option<Arc<dyn Bus>>,
    /// Commands.
    pub commands: Option<Arc<dyn CommandBus>>,
}

impl Brokers {
    /// Those of the process.
    #[must_use]
    pub fn of(ctx: &Ctx) -> Self {
        ctx.extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// What carries events.
    ///
    /// # Errors
    /// When it is Redis and the process was started without one.
    pub(crate) fn events(&self, ctx: &Ctx, options: &Options) -> Result<Arc<dyn Bus>, BuildError> {
        match &self.events {
            Some(chosen) => Ok(Arc::clone(chosen)),
            None => Ok(Arc::new(redis(ctx, options)?)),
        }
    }

    /// What carries commands.
    ///
    /// # Errors
    /// When it is Redis and the process was started without one.
    pub fn commands(&self, ctx: &Ctx) -> Result<Arc<dyn CommandBus>, BuildError> {
        match &self.commands {
            Some(chosen) => Ok(Arc::clone(chosen)),
            None => Ok(Arc::new(redis(ctx, &Options::read(&ctx.process.section("eventing"))?)?)),
        }
    }
}

impl Relay {
    /// That of the service whose schema is `schema`, for it to hand back; none in a process that was started without a broker.
    ///
    /// # Errors
    /// Wrong settings.
    pub fn of(ctx: &Ctx, schema: &str) -> Result<Option<Worker>, BuildError> {
        let brokers = Brokers::of(ctx);
        if brokers.events.is_none() && ctx.redis_client.is_none() {
            return Ok(None);
        }
        let relay = Self::new(Parts::of(ctx, schema)?)?;
        Ok(Some(match (&brokers.commands, &ctx.redis_client) {
            (None, None) => relay.worker(),
            _ => relay.sending(brokers.commands(ctx)?).worker(),
        }))
    }
}

fn redis(ctx: &Ctx, options: &Options) -> Result<RedisBus, BuildError> {
    let client = ctx.redis_client.clone().ok_or("no Redis is configured (redis.url)")?;
    Ok(RedisBus::new(ctx.require_redis()?, client, options))
}
