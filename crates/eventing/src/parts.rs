//! What relay, consumers and command workers of a service are made of.

use std::{fmt, sync::Arc};

use coreloop_core::{Clock, Ids};
use coreloop_service::{BuildError, Ctx, Spans};
use sqlx::PgPool;

use crate::{Brokers, Metrics, Options, bus::Bus};

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
    /// Those of the service whose schema is `schema`, over what carries the process's events.
    ///
    /// # Errors
    /// Wrong settings, or when the process was started without a database or what carries its events.
    pub fn of(ctx: &Ctx, schema: &str) -> Result<Self, BuildError> {
        let options = Options::read(&ctx.process.section("eventing"))?;
        Ok(Self {
            schema: schema.to_owned(),
            db: ctx.require_db()?,
            bus: Brokers::of(ctx).events(ctx, &options)?,
            clock: Arc::clone(&ctx.clock),
            ids: Arc::clone(&ctx.ids),
            options: Arc::new(options),
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
