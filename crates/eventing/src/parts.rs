//! What relay, consumers and command workers of a service are made of.

use std::{fmt, sync::Arc};

use coreloop_core::{Clock, Ids};
use coreloop_service::{BuildError, Ctx, Spans};
use sqlx::PgPool;

use crate::{Metrics, Options, RedisBus, bus::Bus};

/// What relay and consumers of a service share.
#[derive(Clone)]
pub struct Parts {
    /// The service's schema.
    pub schema: String,
    /// Its pool.
    pub db: PgPool,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Settings.
    pub options: Arc<Options>,
    /// Metrics, those of the process ([`Metrics::of`]).
    pub metrics: Metrics,
    /// Where the spans of what was handled go, if anywhere.
    pub spans: Option<Arc<dyn Spans>>,
}

impl Parts {
    /// Those of the service whose schema is `schema`, over the process's Redis.
    ///
    /// # Errors
    /// When the process was started without a database or a Redis.
    pub fn of(ctx: &Ctx, schema: &str, options: &Options) -> Result<Self, BuildError> {
        let client = ctx.redis_client.clone().ok_or("no Redis is configured (redis.url)")?;
        Ok(Self {
            schema: schema.to_owned(),
            db: ctx.require_db()?,
            bus: Arc::new(RedisBus::new(ctx.require_redis()?, client, options)),
            clock: Arc::clone(&ctx.clock),
            ids: Arc::clone(&ctx.ids),
            options: Arc::new(options.clone()),
            metrics: Metrics::of(&ctx.metrics),
            spans: ctx.spans.clone(),
        })
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("schema", &self.schema).field("bus", &self.bus).finish_non_exhaustive()
    }
}
