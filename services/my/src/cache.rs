//! The last whole summary of each user, in Redis: `my:summary:{user}`. It is answered again while it is young, and tells what sources
//! that are away said last.
//!
//! It decides nothing: a Redis that is away, or forgets, costs a read. It is kept for half a day: what is left of somebody who closes
//! the account is gone by then.

use std::time::Duration;

use coreloop_my_api::v1::GetSummaryResponse;
use prost::Message as _;
use redis::aio::ConnectionManager;
use uuid::Uuid;

const KEPT_SECS: u32 = 43_200;

/// What was answered.
pub struct Cache {
    redis: Option<ConnectionManager>,
    patience: Duration,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("redis", &self.redis.is_some()).finish_non_exhaustive()
    }
}

impl Cache {
    /// In this Redis, where there is one.
    #[must_use]
    pub fn new(redis: Option<ConnectionManager>, timeout_ms: u64) -> Self {
        Self { redis, patience: Duration::from_millis(timeout_ms) }
    }

    /// The last whole summary of `user`, however old.
    pub async fn find(&self, user: Uuid) -> Option<GetSummaryResponse> {
        let mut command = redis::cmd("GET");
        command.arg(key(user));
        let value: Option<Vec<u8>> = self.ask(&command).await?;
        GetSummaryResponse::decode(value?.as_slice()).ok()
    }

    /// Remembers a whole summary of `user`.
    pub async fn keep(&self, user: Uuid, summary: &GetSummaryResponse) {
        let mut command = redis::cmd("SET");
        command.arg(key(user)).arg(summary.encode_to_vec()).arg("EX").arg(KEPT_SECS);
        self.ask::<()>(&command).await;
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let mut redis = self.redis.clone()?;
        match tokio::time::timeout(self.patience, command.query_async(&mut redis)).await {
            Ok(Ok(said)) => Some(said),
            failed => {
                tracing::debug!(timeout = failed.is_err(), "redis does not say what a summary was");
                None
            }
        }
    }
}

fn key(user: Uuid) -> String {
    format!("my:summary:{user}")
}
