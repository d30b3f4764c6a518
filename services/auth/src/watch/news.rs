//! The loop that hears of changes, says them, and reads them. While nobody watches here it hears nothing, and asks Redis nothing.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use coreloop_core::UserId;
use coreloop_service::{Words, Worker};
use redis::aio::{PubSubSink, PubSubStream};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{CHANNEL, Watches};
use crate::App;

/// Between two looks at whether the channel is still there, and between two readings while it is not.
const LOOK: Duration = Duration::from_secs(2);
/// Looks after which everything is read again although nothing was said.
const LOOKS_OF_A_ROUND: u32 = 30;
/// Redis gets this long to take our words: reading must not wait for what can be done without.
const BREATH: Duration = Duration::from_millis(500);
/// Redis gets this long to let us join, and to answer a ping.
const PATIENCE: Duration = Duration::from_secs(1);

/// The loop.
#[must_use]
pub fn worker(app: &Arc<App>, redis: redis::Client) -> Worker {
    let app = Arc::clone(app);
    Worker::new("auth.watches", move |stop| listen(Arc::clone(&app), redis.clone(), stop))
}

/// The channel, joined.
struct Joined {
    sink: PubSubSink,
    words: Words<PubSubStream>,
}

async fn listen(app: Arc<App>, redis: redis::Client, stop: CancellationToken) {
    let own = app.ids.uuid();
    let mut joined: Option<Joined> = None;
    let mut tried: Option<Instant> = None;
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked = 0_u32;
    loop {
        // Not at each word: a Redis that is away would be tried as often as people sign in.
        if joined.is_none() && app.watches.any() && tried.is_none_or(|at| at.elapsed() >= LOOK) {
            joined = join(&redis).await;
            tried = Some(Instant::now());
            // What was said before we listened is not said again.
            app.watches.doubt_all();
        }
        if let Err(error) = app.watches.settle(&app).await {
            tracing::warn!(%error, "watched sessions could not be read");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            word = next(&mut joined) => match word {
                Some(word) => take(&app.watches, own, &word),
                None => joined = None,
            },
            () = app.watches.waiting.notified() => say(&app, own, app.watches.take_words()).await,
            _ = looks.tick(), if joined.is_some() || app.watches.any() => {
                if !app.watches.any() {
                    // Whoever comes next is not held to the time between two tries.
                    (joined, tried, looked) = (None, None, 0);
                    continue;
                }
                looked += 1;
                if !answers(&app.watches, own, &mut joined).await || looked >= LOOKS_OF_A_ROUND {
                    looked = 0;
                    app.watches.doubt_all();
                }
            }
        }
    }
}

/// Joins the channel, if Redis lets us now.
async fn join(redis: &redis::Client) -> Option<Joined> {
    let joining = async {
        let (mut sink, words) = redis.get_async_pubsub().await?.split();
        sink.subscribe(CHANNEL).await?;
        Ok::<_, redis::RedisError>(Joined { sink, words: Words::of(words) })
    };
    match tokio::time::timeout(PATIENCE, joining).await {
        Ok(Ok(joined)) => Some(joined),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the channel of changed users cannot be joined");
            None
        }
        Err(_) => None,
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
async fn answers(watches: &Watches, own: Uuid, joined: &mut Option<Joined>) -> bool {
    let Some(Joined { sink, words }) = joined else { return false };
    // Words are taken meanwhile: the driver keeps what is not, without a bound.
    let asked = sink.ping::<redis::Value>();
    let alive = words.heard_while(PATIENCE, asked, |word| take(watches, own, word.get_payload_bytes())).await.is_some();
    if !alive {
        *joined = None;
    }
    alive
}

fn take(watches: &Watches, own: Uuid, word: &[u8]) {
    let parsed = std::str::from_utf8(word).ok().and_then(|word| word.split_once(' '));
    let Some((by, user)) = parsed.and_then(|(by, user)| Some((by.parse::<Uuid>().ok()?, user.parse::<UserId>().ok()?)))
    else {
        tracing::warn!("a word on the channel of changed users cannot be read");
        return;
    };
    if by != own {
        watches.heard(user);
    }
}

/// Tells the other replicas. What cannot be said they find by themselves.
async fn say(app: &App, own: Uuid, users: BTreeSet<UserId>) {
    if users.is_empty() {
        return;
    }
    let mut pipe = redis::pipe();
    for user in users {
        pipe.cmd("PUBLISH").arg(CHANNEL).arg(format!("{own} {user}")).ignore();
    }
    let mut redis = app.redis.connection();
    let said = tokio::time::timeout(BREATH, pipe.query_async::<()>(&mut redis)).await;
    if !matches!(said, Ok(Ok(()))) {
        tracing::debug!("changes of users could not be told");
    }
}

#[cfg(test)]
mod tests {
    use coreloop_core::SessionId;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    #[test]
    fn the_words_of_others_count_and_nonsense_does_not() {
        let watches = Arc::new(Watches::new(8, Gauge::default()));
        let (own, other, id) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let user = UserId(id);
        let _watch = watches.open(user, SessionId(id), 0).unwrap();
        for word in ["", " ", "x y", &id.to_string(), &format!("{own} {id}"), &format!("{other} {id} ")] {
            take(&watches, own, word.as_bytes());
            assert!(super::super::lock(&watches.stale).is_empty(), "{word}");
        }
        take(&watches, own, &[0xff, b' ', 0xff]);
        take(&watches, own, format!("{other} {id}").as_bytes());
        assert_eq!(*super::super::lock(&watches.stale), BTreeSet::from([user]));
    }
}
