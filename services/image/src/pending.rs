//! What was asked for and is not registered yet: `image:pending:{object_key}` in Redis, for as long as the upload may come.
//!
//! It decides nothing. What may be sent is in the signature, and storage says what was; here stands what the app said of the photo,
//! which a Redis that forgets takes with it.

use std::time::Duration;

use redis::aio::ConnectionManager;
use serde::{Deserialize, Serialize};

/// What the app said of a photo that it wants to send.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Bytes.
    pub content_length: i64,
    /// The installation; empty: not told.
    pub device_id: String,
    /// Latitude and longitude.
    pub gps: Option<(f64, f64)>,
    /// When it was taken, in microseconds since 1970.
    pub shot_at: Option<i64>,
}

/// The pending uploads.
pub struct Uploads {
    redis: Option<ConnectionManager>,
    patience: Duration,
    life_secs: u32,
}

impl std::fmt::Debug for Uploads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploads").field("redis", &self.redis.is_some()).finish_non_exhaustive()
    }
}

impl Uploads {
    /// In this Redis, where there is one.
    #[must_use]
    pub fn new(redis: Option<ConnectionManager>, timeout_ms: u64, life_secs: u32) -> Self {
        Self { redis, patience: Duration::from_millis(timeout_ms), life_secs }
    }

    /// Remembers one.
    pub async fn keep(&self, key: &str, pending: &Pending) {
        let Ok(json) = serde_json::to_string(pending) else { return };
        let mut command = redis::cmd("SET");
        command.arg(name(key)).arg(json).arg("EX").arg(self.life_secs);
        self.ask::<()>(&command).await;
    }

    /// What was remembered of one.
    pub async fn find(&self, key: &str) -> Option<Pending> {
        let mut command = redis::cmd("GET");
        command.arg(name(key));
        let json: Option<String> = self.ask(&command).await?;
        serde_json::from_str(&json?).ok()
    }

    /// Forgets one.
    pub async fn forget(&self, key: &str) {
        let mut command = redis::cmd("DEL");
        command.arg(name(key));
        self.ask::<i64>(&command).await;
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let mut redis = self.redis.clone()?;
        match tokio::time::timeout(self.patience, command.query_async(&mut redis)).await {
            Ok(Ok(said)) => Some(said),
            failed => {
                tracing::debug!(timeout = failed.is_err(), "redis does not say what upload is pending");
                None
            }
        }
    }
}

fn name(key: &str) -> String {
    format!("image:pending:{key}")
}
