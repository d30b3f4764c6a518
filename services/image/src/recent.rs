//! The newest images of a user: `image:recent:{user}` in Redis, for a while.
//!
//! It decides nothing: what it has counts where the database says that nothing has changed since (the version of the owner's row), so a
//! Redis that was cut off, missed a removal or came back with older data costs a read and shows nobody what is not so.

use std::time::Duration;

use coreloop_core::UserId;
use coreloop_image_api::v1::{Image, ListImagesResponse};
use prost::Message as _;
use redis::aio::ConnectionManager;

/// Most images that are kept.
pub const MOST: usize = 20;
/// Kept for so long, as a pending upload is: they say where somebody was.
const SECS: u32 = 900;

/// The newest images of users.
pub struct Recent {
    redis: Option<ConnectionManager>,
    patience: Duration,
}

impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recent").field("redis", &self.redis.is_some()).finish_non_exhaustive()
    }
}

/// The newest images of a user.
#[derive(Debug, Clone, PartialEq)]
pub struct Newest {
    /// Version of the images of that user at which it was made, or an older one.
    pub version: i64,
    /// Newest first, at most [`MOST`].
    pub images: Vec<Image>,
    /// There are more.
    pub more: bool,
}

impl Newest {
    /// Of what the database has, newest first.
    #[must_use]
    pub fn of(version: i64, images: &[Image]) -> Self {
        Self { version, images: images.iter().take(MOST).cloned().collect(), more: images.len() > MOST }
    }

    /// So many of them, and whether there are more; none when there are more, and those are not here.
    #[must_use]
    pub fn first(mut self, count: usize) -> Option<(Vec<Image>, bool)> {
        if count > self.images.len() && self.more {
            return None;
        }
        let more = self.more || self.images.len() > count;
        self.images.truncate(count);
        Some((self.images, more))
    }

    fn encoded(&self) -> Vec<u8> {
        let mut bytes = self.version.to_be_bytes().to_vec();
        bytes.push(self.more.into());
        bytes.extend(ListImagesResponse { images: self.images.clone(), ..Default::default() }.encode_to_vec());
        bytes
    }

    fn decoded(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first_chunk::<8>()?;
        let (more, images) = rest.split_first()?;
        let images = ListImagesResponse::decode(images).ok()?.images;
        Some(Self { version: i64::from_be_bytes(*version), images, more: *more != 0 })
    }
}

impl Recent {
    /// In this Redis, where there is one.
    #[must_use]
    pub fn new(redis: Option<ConnectionManager>, timeout_ms: u64) -> Self {
        Self { redis, patience: Duration::from_millis(timeout_ms) }
    }

    /// What is kept of a user.
    pub async fn find(&self, user: UserId) -> Option<Newest> {
        let mut command = redis::cmd("GET");
        command.arg(name(user));
        let kept: Option<Vec<u8>> = self.ask(&command).await?;
        Newest::decoded(&kept?)
    }

    /// Keeps the newest of a user.
    pub async fn keep(&self, user: UserId, newest: &Newest) {
        let mut command = redis::cmd("SET");
        command.arg(name(user)).arg(newest.encoded()).arg("EX").arg(SECS);
        self.ask::<()>(&command).await;
    }

    /// Forgets those of a user.
    pub async fn forget(&self, user: UserId) {
        let mut command = redis::cmd("DEL");
        command.arg(name(user));
        self.ask::<i64>(&command).await;
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let mut redis = self.redis.clone()?;
        match tokio::time::timeout(self.patience, command.query_async(&mut redis)).await {
            Ok(Ok(said)) => Some(said),
            failed => {
                tracing::debug!(timeout = failed.is_err(), "redis does not say which images are the newest");
                None
            }
        }
    }
}

fn name(user: UserId) -> String {
    format!("image:recent:{user}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: usize) -> Vec<Image> {
        (0..count).map(|number| Image { image_id: number.to_string(), ..Image::default() }).collect()
    }

    #[test]
    fn what_is_kept_answers_what_it_can() {
        let all = Newest::of(7, &images(MOST));
        assert_eq!(Newest::decoded(&all.encoded()), Some(all.clone()));
        assert_eq!(all.clone().first(50), Some((images(MOST), false)));
        assert_eq!(all.clone().first(MOST), Some((images(MOST), false)));
        assert_eq!(all.first(3), Some((images(3), true)));
        let some = Newest::of(7, &images(MOST + 1));
        assert_eq!((some.images.len(), some.more), (MOST, true));
        assert_eq!(some.clone().first(MOST), Some((images(MOST), true)));
        assert_eq!(some.first(MOST + 1), None);
        assert_eq!(Newest::of(0, &[]).first(50), Some((Vec::new(), false)));
        assert_eq!(Newest::decoded(b"short"), None);
    }
}
