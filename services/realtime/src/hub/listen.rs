//! The loop that is subscribed to the channels of all users who have a socket here.
//!
//! A connection of its own, pinged every two seconds, for a cut leaves no trace in one that only hears. While it is gone
//! sockets stay open and hear nothing; joined again, each reads in the log what it missed. While nobody is here there is none.
//!
//! **Words are taken whatever else is waited for** ([`Words`]). Who falls behind all the same drops the connection with all that waits
//! in it: the logs have it, and they are bounded.

use std::{sync::Arc, time::Duration};

use coreloop_service::{Words, Worker};
use redis::aio::{PubSubSink, PubSubStream};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Hub;
use crate::log::{Word, channel, user_of};

/// Channel of what administrators do.
pub const ACTS: &str = "rt:acts";
/// Between two looks at whether the connection is still there, and between two tries to have one.
const LOOK: Duration = Duration::from_secs(2);
/// Redis gets this long to let us join, and to answer a ping.
const PATIENCE: Duration = Duration::from_secs(1);
/// Channels joined or left at once.
const BATCH: usize = 500;

/// The loop.
#[must_use]
pub fn worker(hub: &Arc<Hub>, redis: redis::Client) -> Worker {
    let hub = Arc::clone(hub);
    Worker::new("realtime.hub", move |stop| {
        let (hub, redis) = (Arc::clone(&hub), redis.clone());
        async move { listen(&hub, &redis, &stop).await }
    })
}

/// The connection.
struct Joined {
    sink: PubSubSink,
    words: Words<PubSubStream>,
}

async fn listen(hub: &Hub, redis: &redis::Client, stop: &CancellationToken) {
    let mut joined: Option<Joined> = None;
    let mut tried: Option<Instant> = None;
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if joined.is_none() && hub.any() && tried.is_none_or(|at| at.elapsed() >= LOOK) {
            hub.lost();
            joined = connect(redis).await;
            tried = Some(Instant::now());
        }
        if let Some(channels) = &mut joined
            && !channels.follow(hub).await
        {
            joined = None;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            word = next(&mut joined) => match word {
                Some(word) => take(hub, &word),
                None => joined = None,
            },
            () = hub.changed.notified() => {}
            _ = looks.tick(), if joined.is_some() || hub.any() => {
                if !hub.any() {
                    // Whoever comes next is not held to the time between two tries.
                    (joined, tried) = (None, None);
                } else if let Some(channels) = &mut joined
                    && !channels.answers(hub).await
                {
                    joined = None;
                }
            }
        }
    }
}

/// A connection that hears what administrators do, if Redis lets us have one now.
async fn connect(redis: &redis::Client) -> Option<Joined> {
    let joining = async {
        let (mut sink, words) = redis.get_async_pubsub().await?.split();
        sink.subscribe(ACTS).await?;
        Ok::<_, redis::RedisError>(Joined { sink, words: Words::of(words) })
    };
    match tokio::time::timeout(PATIENCE, joining).await {
        Ok(Ok(joined)) => Some(joined),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the channels of users cannot be joined");
            None
        }
        Err(_) => None,
    }
}

impl Joined {
    /// Joins and leaves channels as rooms come and go; false when the connection is gone, and with it every channel.
    async fn follow(&mut self, hub: &Hub) -> bool {
        loop {
            let users = hub.to_join(BATCH);
            if users.is_empty() {
                break;
            }
            let channels: Vec<_> = users.iter().map(|user| channel(*user)).collect();
            if self.words.heard_while(PATIENCE, self.sink.subscribe(channels), |word| take(hub, &word)).await.is_none()
            {
                return false;
            }
            hub.joined(&users);
        }
        loop {
            let users = hub.to_leave(BATCH);
            if users.is_empty() {
                return true;
            }
            let channels: Vec<_> = users.iter().map(|user| channel(*user)).collect();
            if self
                .words
                .heard_while(PATIENCE, self.sink.unsubscribe(channels), |word| take(hub, &word))
                .await
                .is_none()
            {
                return false;
            }
        }
    }

    async fn answers(&mut self, hub: &Hub) -> bool {
        self.words.heard_while(PATIENCE, self.sink.ping::<redis::Value>(), |word| take(hub, &word)).await.is_some()
    }
}

/// The next word; none when the connection is lost. Waits for ever while there is none.
async fn next(joined: &mut Option<Joined>) -> Option<redis::Msg> {
    match joined {
        Some(joined) => joined.words.next().await,
        None => std::future::pending().await,
    }
}

fn take(hub: &Hub, word: &redis::Msg) {
    let Ok(payload) = std::str::from_utf8(word.get_payload_bytes()) else { return };
    let channel = word.get_channel_name();
    match (user_of(channel), Word::read(payload)) {
        (Some(user), Some(word)) => hub.heard(user, &word),
        (None, _) if channel == ACTS => hub.acted(payload),
        _ => tracing::warn!("a word on a channel of users cannot be read"),
    }
}
