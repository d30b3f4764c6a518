//! The loop that hears what is new of conversations, and wakes who follows them here.
//!
//! While nobody follows anything here it hears nothing, and asks Redis nothing. Words are taken whatever else is waited for ([`Words`]).

use std::{sync::Arc, time::Duration};

use coreloop_service::{Words, Worker};
use redis::aio::{PubSubSink, PubSubStream};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{App, hub::Hub, pieces::CHANNEL};

/// Between two looks at whether the channel is still there, and between two doubts while it is not.
const LOOK: Duration = Duration::from_secs(2);
/// Looks after which everybody looks although nothing was said.
const LOOKS_OF_A_ROUND: u32 = 30;
/// Redis gets this long to let us join, and to answer a ping.
const PATIENCE: Duration = Duration::from_secs(1);

/// The loop. Without Redis everybody looks by themselves.
#[must_use]
pub fn worker(app: &Arc<App>, redis: Option<redis::Client>) -> Worker {
    let hub = Arc::clone(&app.hub);
    Worker::new("chat.listening", move |stop| listen(Arc::clone(&hub), redis.clone(), stop))
}

/// The channel, joined.
struct Joined {
    sink: PubSubSink,
    words: Words<PubSubStream>,
}

async fn listen(hub: Arc<Hub>, redis: Option<redis::Client>, stop: CancellationToken) {
    let mut joined: Option<Joined> = None;
    let mut tried: Option<Instant> = None;
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked = 0_u32;
    loop {
        if joined.is_none() && hub.any() && tried.is_none_or(|at| at.elapsed() >= LOOK) {
            joined = join(redis.as_ref()).await;
            tried = Some(Instant::now());
            // What was said before we listened is not said again.
            hub.doubt_all();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            word = next(&mut joined) => match word {
                Some(word) => take(&hub, &word),
                None => joined = None,
            },
            () = hub.first() => {}
            _ = looks.tick(), if joined.is_some() || hub.any() => {
                if !hub.any() {
                    // Whoever comes next is not held to the time between two tries.
                    (joined, tried, looked) = (None, None, 0);
                    continue;
                }
                looked += 1;
                if !answers(&hub, &mut joined).await || looked >= LOOKS_OF_A_ROUND {
                    looked = 0;
                    hub.doubt_all();
                }
            }
        }
    }
}

/// Joins the channel, if Redis lets us now.
async fn join(redis: Option<&redis::Client>) -> Option<Joined> {
    let redis = redis?;
    let joining = async {
        let (mut sink, words) = redis.get_async_pubsub().await?.split();
        sink.subscribe(CHANNEL).await?;
        Ok::<_, redis::RedisError>(Joined { sink, words: Words::of(words) })
    };
    match tokio::time::timeout(PATIENCE, joining).await {
        Ok(Ok(joined)) => Some(joined),
        failed => {
            tracing::debug!(timeout = failed.is_err(), "the channel of conversations cannot be joined");
            None
        }
    }
}

/// The next word; none when the channel is lost. Waits for ever while it is not joined.
async fn next(joined: &mut Option<Joined>) -> Option<Vec<u8>> {
    match joined {
        Some(joined) => joined.words.next().await.map(|word| word.get_payload_bytes().to_vec()),
        None => std::future::pending().await,
    }
}

/// The channel is joined and alive; what is not is given up.
async fn answers(hub: &Hub, joined: &mut Option<Joined>) -> bool {
    let Some(Joined { sink, words }) = joined else { return false };
    let asked = sink.ping::<redis::Value>();
    let alive = words.heard_while(PATIENCE, asked, |word| take(hub, word.get_payload_bytes())).await.is_some();
    if !alive {
        *joined = None;
    }
    alive
}

fn take(hub: &Hub, word: &[u8]) {
    let parsed = std::str::from_utf8(word).ok().and_then(|word| word.split_once(' '));
    let parsed = parsed.and_then(|(what, id)| Some((what, id.parse::<Uuid>().ok()?)));
    match parsed {
        Some(("p", conversation)) => hub.pieces(conversation),
        Some(("m", conversation)) => hub.message(conversation),
        _ => tracing::warn!("a word on the channel of conversations cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use coreloop_core::UserId;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    #[tokio::test]
    async fn words_are_for_whom_they_name_and_nonsense_is_for_nobody() {
        let hub = Arc::new(Hub::new(8, Gauge::default()));
        let id = Uuid::from_u128(7);
        let mut following = hub.follow(UserId(id), id).unwrap();
        for word in ["", " ", "p", "p x", "x 7", &id.to_string(), &format!("q {id}"), &format!("p {id} ")] {
            take(&hub, word.as_bytes());
        }
        take(&hub, &[0xff, b' ', 0xff]);
        assert!(futures::poll!(Box::pin(following.next())).is_pending());
        take(&hub, format!("p {id}").as_bytes());
        take(&hub, format!("m {id}").as_bytes());
        assert_eq!(following.next().await, (true, true));
    }
}
