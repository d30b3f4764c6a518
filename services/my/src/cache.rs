//! The last whole summary of each user, in Redis: `my:summary:{user}`. It is answered again while it is young, and tells what sources
//! that are away said last.
//!
//! It decides nothing: a Redis that is away, or forgets, costs a read. Of somebody who closes the account it is taken out; where Redis
//! was away just then, it is gone after half a day.

use std::{sync::LazyLock, time::Duration};

use coreloop_my_api::v1::GetSummaryResponse;
use prost::Message as _;
use redis::{Script, aio::ConnectionManager};
use uuid::Uuid;

const KEPT_SECS: u32 = 43_200;
/// What stands in the place of a summary of somebody who has closed the account, while one may be put together yet; no summary begins so.
const GONE: &[u8] = &[0];
/// For so long it does, in seconds.
const GONE_SECS: u32 = 600;

/// `KEYS[1]`: of whom. `ARGV`: a summary, for how many seconds, and what stands where none is to be kept any more.
static KEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[3] then
             return 0
         end
         redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
         return 1",
    )
});

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
        let Some(mut redis) = self.redis.clone() else { return };
        let mut script = KEEP.key(key(user));
        script.arg(summary.encode_to_vec()).arg(KEPT_SECS).arg(GONE);
        self.within(script.invoke_async::<i64>(&mut redis)).await;
    }

    /// Forgets the summary of `user`, who has closed the account; one that is being put together is not kept either.
    pub async fn forget(&self, user: Uuid) {
        let mut command = redis::cmd("SET");
        command.arg(key(user)).arg(GONE).arg("EX").arg(GONE_SECS);
        self.ask::<()>(&command).await;
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let mut redis = self.redis.clone()?;
        self.within(command.query_async(&mut redis)).await
    }

    async fn within<T>(&self, asked: impl Future<Output = redis::RedisResult<T>>) -> Option<T> {
        match tokio::time::timeout(self.patience, asked).await {
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
