//! Whether somebody works on a key at this moment: asked of Redis, because that is cheap.
//!
//! `shop:idemp:{user}:{product}:{key}` is set where it is not, for sixty seconds. Who does not get it looks into the database
//! before anything is written. The answer decides nothing: the primary key of the purchase does, and while Redis is away
//! everybody is taken for the first.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use redis::aio::ConnectionManager;
use tokio::time::Instant;

use crate::order::Order;

/// Life of a claim, in seconds.
const LIFE_SECS: u64 = 60;
/// After a failure Redis is not asked for this long, so that its being away costs nobody the wait.
const PAUSE: Duration = Duration::from_secs(1);

/// Claims on keys.
pub struct Claims {
    redis: Option<ConnectionManager>,
    patience: Duration,
    away_until: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claims").field("redis", &self.redis.is_some()).finish_non_exhaustive()
    }
}

impl Claims {
    /// In this Redis, where there is one.
    #[must_use]
    pub fn new(redis: Option<ConnectionManager>, timeout_ms: u64) -> Self {
        Self { redis, patience: Duration::from_millis(timeout_ms), away_until: Mutex::default() }
    }

    /// Claims the key of an order; false where another has it.
    pub async fn take(&self, order: &Order) -> bool {
        let Some(redis) = &self.redis else { return true };
        if self.away().is_some_and(|until| Instant::now() < until) {
            return true;
        }
        let key = format!("shop:idemp:{}:{}:{}", order.user, order.asked.product_id, order.asked.key);
        let mut command = redis::cmd("SET");
        command.arg(key).arg(1).arg("NX").arg("EX").arg(LIFE_SECS);
        let mut redis = redis.clone();
        let asked = tokio::time::timeout(self.patience, command.query_async::<Option<String>>(&mut redis)).await;
        match asked {
            Ok(Ok(set)) => set.is_some(),
            failed => {
                tracing::debug!(timeout = failed.is_err(), "redis does not say whether a key is being worked on");
                *self.away_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + PAUSE);
                true
            }
        }
    }

    fn away(&self) -> Option<Instant> {
        *self.away_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
