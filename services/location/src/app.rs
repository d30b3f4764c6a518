//! What every handler works with.

use std::{sync::Arc, time::Duration};

use coreloop_core::{Clock, Ids};
use coreloop_eventing::Outbox;
use coreloop_limit::Limiter;
use coreloop_service::{BuildError, Ctx};
use redis::aio::ConnectionManager;
use sqlx::PgPool;

use crate::{Options, cached::Cached, kakao::Kakao, metrics::Metrics, quota::Quota, tracking::Tracks};

/// Beside the provider's time a search reads and writes what we know of shops.
const BESIDE: Duration = Duration::from_millis(1_500);

/// The running service.
pub struct App {
    /// Settings.
    pub options: Options,
    /// The service's own database: its role, its schema.
    pub db: PgPool,
    /// Redis, where there is one.
    pub redis: Option<ConnectionManager>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Events on their way out.
    pub outbox: Outbox,
    /// The provider.
    pub kakao: Kakao,
    /// What was found lately.
    pub cached: Cached,
    /// Live maps that are open.
    pub tracks: Tracks,
    /// How often somebody may search.
    pub limiter: Arc<Limiter>,
    /// Metrics.
    pub metrics: Metrics,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("options", &self.options).finish_non_exhaustive()
    }
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
        let (db, clock, redis) = (ctx.require_db()?, Arc::clone(&ctx.clock), ctx.redis.clone());
        let quota =
            Quota::of(&options, db.clone(), redis.clone(), (Arc::clone(&clock), Arc::clone(&ctx.ids)), metrics.clone());
        let patience = Duration::from_millis(options.redis_timeout_ms);
        let search = Duration::from_millis(options.kakao_timeout_ms + options.database_timeout_ms) + BESIDE;
        Ok(Self {
            kakao: Kakao::of(&options, quota, metrics.clone()),
            cached: Cached::new(redis.clone(), Arc::clone(&ctx.ids), (patience, search), metrics.clone()),
            tracks: Tracks::new(options.tracks_per_user, metrics.tracks.clone()),
            limiter: Arc::clone(&ctx.limiter),
            outbox: Outbox::new("location")?,
            ids: Arc::clone(&ctx.ids),
            options,
            db,
            redis,
            clock,
            metrics,
        })
    }
}
