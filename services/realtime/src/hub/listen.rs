//! The loop that is subscribed to the channels of all users who have a socket here.
//!
//! A connection of its own, pinged every two seconds, for a cut leaves no trace in one that only hears. While it is gone
//! sockets stay open and hear nothing; joined again, each reads in the log what it missed. While nobody is here there is none.
//!
//! **Words are taken whatever else is waited for**, for the driver keeps what is not taken, without a bound. Who falls behind all
//! the same drops the connection with all that waits in it: the logs have it, and they are bounded.

use std::{sync::Arc, time::Duration};

use coreloop_service::Worker;
use futures::{FutureExt as _, Stream, StreamExt as _};
use redis::{
    RedisResult,
    aio::{PubSubSink, PubSubStream},
};
use tokio::{
    task::coop,
    time::{Instant, MissedTickBehavior},
};
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
/// Words that are taken in a row while more wait.
const MOST_BEHIND: usize = 50_000;

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

/// What is said, and how far behind it we are.
struct Words<S> {
    stream: S,
    /// Taken since none waited.
    behind: usize,
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
            if self.words.heard_while(hub, self.sink.subscribe(channels)).await.is_none() {
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
            if self.words.heard_while(hub, self.sink.unsubscribe(channels)).await.is_none() {
                return false;
            }
        }
    }

    async fn answers(&mut self, hub: &Hub) -> bool {
        self.words.heard_while(hub, self.sink.ping::<redis::Value>()).await.is_some()
    }
}

impl Words<PubSubStream> {
    /// Takes words until Redis has answered; none when it does not in time, or the connection is lost.
    async fn heard_while<T>(&mut self, hub: &Hub, asked: impl Future<Output = RedisResult<T>>) -> Option<T> {
        let mut asked = std::pin::pin!(tokio::time::timeout(PATIENCE, asked));
        loop {
            tokio::select! {
                answer = &mut asked => return answer.ok()?.ok(),
                word = self.next() => take(hub, &word?),
            }
        }
    }
}

impl<S: Stream + Unpin> Words<S> {
    fn of(stream: S) -> Self {
        Self { stream, behind: 0 }
    }

    /// The next; none when the connection is lost, or is to be dropped. Dropping the future loses nothing.
    async fn next(&mut self) -> Option<S::Item> {
        coop::consume_budget().await;
        // Without the budget of the task: out of it, what waits seems not to be there.
        let word = match coop::unconstrained(self.stream.next()).now_or_never() {
            Some(word) => {
                self.behind += 1;
                word
            }
            None => {
                self.behind = 0;
                self.stream.next().await
            }
        };
        if self.behind > MOST_BEHIND {
            tracing::warn!("words come faster than they are taken: the channels are joined anew");
            return None;
        }
        word
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

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn who_never_catches_up_is_told_and_who_does_goes_on_for_ever() {
        let (say, mut said) = tokio::sync::mpsc::unbounded_channel();
        let mut words = Words::of(futures::stream::poll_fn(move |cx| said.poll_recv(cx)));
        for _ in 0..2 {
            // All that may wait at once, and then none does.
            assert!((0..MOST_BEHIND).all(|word| say.send(word).is_ok()));
            for expected in 0..MOST_BEHIND {
                assert_eq!(words.next().await, Some(expected));
            }
            let mut none = std::pin::pin!(coop::unconstrained(words.next()));
            assert!(futures::poll!(&mut none).is_pending());
        }
        assert!((0..=MOST_BEHIND).all(|word| say.send(word).is_ok()));
        for expected in 0..MOST_BEHIND {
            assert_eq!(words.next().await, Some(expected));
        }
        assert_eq!(words.next().await, None, "one too many without a breath");
    }

    #[tokio::test]
    async fn others_have_their_turn_while_words_come_without_end() {
        let mut words = Words::of(futures::stream::poll_fn(|_| Poll::Ready(Some(()))));
        let others = tokio::spawn(async {});
        while !others.is_finished() {
            assert_eq!(words.next().await, Some(()), "nobody else had a turn");
        }
    }
}
