//! `Sync` and `LegacyGames`: the caller's messages, from the first to the end of the token.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use coreloop_access::Caller;
use coreloop_core::{Problem, Reason, UserId};
use coreloop_realtime_api::v1::{self, RealtimeReason};
use coreloop_service::call::detached;
use futures::stream::BoxStream;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tonic::{Request, Status};
use uuid::Uuid;

use crate::{
    App, Error,
    hub::{Next, Seat, seats::COUNTS},
    initial::{self, Bearer},
    log::Missed,
    message::{Kind, Message, Said},
};

/// The channel of a user has this long to be joined.
const JOINING: Duration = Duration::from_secs(2);
/// What the edge tells clients of its own; for who reads the stream without a socket it means nothing.
const IDLE_SECS: u32 = 90;
/// After the first reading of the log that failed; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Messages of one socket.
pub type Messages = BoxStream<'static, Result<v1::SyncMessage, Status>>;

/// Opens the caller's messages behind `since`, those that are `only` of some kinds.
///
/// # Errors
/// `TOO_MANY_SOCKETS`; UNAVAILABLE when the log or the channel of the user cannot be read.
pub async fn open<T>(
    app: &Arc<App>,
    request: &Request<T>,
    since: Option<i64>,
    only: fn(Kind) -> bool,
) -> Result<Messages, Error> {
    let user = Caller::of(request)?.require_user()?.user_id;
    let bearer = request.metadata().as_ref().get(AUTHORIZATION).map(detached);
    let bearer = bearer.ok_or_else(|| Problem::common(Reason::TokenMissing, "sign in first"))?;
    let id = app.ids.uuid();
    if !app.log.open(user, id, COUNTS).await? {
        return Err(RealtimeReason::TooManySockets.into());
    }
    // The channel before the log, so that no message falls between; the seat first, so that the place is given back whatever fails.
    let seat = app.hub.open(user, id, only);
    tokio::time::timeout(JOINING, seat.joined()).await.map_err(|_| Error::Deaf)?;
    let mut syncing =
        Syncing { app: Arc::clone(app), user, bearer, seat, last: 0, ready: VecDeque::new(), ended: false };
    syncing.begin(since).await?;
    let messages = futures::stream::unfold(syncing, |mut syncing| async move {
        let message = syncing.next().await?;
        Some((message, syncing))
    });
    Ok(Box::pin(messages))
}

/// Opens what the old app knows of, where it is served.
///
/// # Errors
/// `LEGACY_OFF`; as [`open`].
pub async fn legacy<T>(app: &Arc<App>, request: &Request<T>) -> Result<Messages, Error> {
    if !app.options.enable_legacy_games_ws {
        return Err(RealtimeReason::LegacyOff.into());
    }
    let messages = open(app, request, None, Kind::is_of_games).await?;
    app.metrics.legacy.inc();
    Ok(messages)
}

struct Syncing {
    app: Arc<App>,
    user: UserId,
    bearer: Bearer,
    seat: Seat,
    /// Place of the last message that was told or left out.
    last: i64,
    ready: VecDeque<v1::SyncMessage>,
    ended: bool,
}

impl Syncing {
    /// The first messages: that the socket is open, then what was missed or how things are.
    async fn begin(&mut self, since: Option<i64>) -> Result<(), Error> {
        let missed = self.app.log.missed(self.user, since).await?;
        self.last = match (missed.complete, since) {
            (true, Some(since)) => since,
            _ => missed.seq,
        };
        let connected = json!({"resumed": missed.complete, "idle_secs": IDLE_SECS});
        self.own(Kind::SyncConnected, connected);
        self.catch_up(&missed).await;
        Ok(())
    }

    /// The next message. Dropping the future loses nothing but time.
    async fn next(&mut self) -> Option<Result<v1::SyncMessage, Status>> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                if self.ready.is_empty() {
                    // An idle socket holds no room.
                    self.ready = VecDeque::new();
                }
                self.app.metrics.delivered.inc();
                return Some(Ok(message));
            }
            if self.ended {
                return None;
            }
            match self.seat.next().await {
                // The log had it already.
                Next::Message(message) if message.seq <= self.last => {}
                Next::Message(message) if message.prev == self.last => self.tell(&message),
                // Something between was not heard.
                // Boxed: it asks the neighbours, and an idle socket has no room for that.
                Next::Message(_) | Next::Doubt => Box::pin(self.recover()).await,
                Next::Full => {
                    self.ended = true;
                    return Some(Err(Error::from(RealtimeReason::SlowConsumer).into()));
                }
            }
        }
    }

    /// Reads in the log what was missed, as often as it takes: the socket stays open while Redis is away. What waits, and what
    /// comes meanwhile, is in the log too.
    async fn recover(&mut self) {
        let hub = Arc::clone(&self.app.hub);
        let mut failed = 0;
        self.seat.doubt();
        loop {
            let turn = hub.turn().await;
            self.seat.forget();
            match self.app.log.missed(self.user, Some(self.last)).await {
                Ok(missed) => return self.catch_up(&missed).await,
                Err(error) => tracing::debug!(%error, failed, "what a socket missed cannot be read now"),
            }
            self.seat.doubt();
            drop(turn);
            tokio::time::sleep(pause(failed, self.seat.id())).await;
            failed += 1;
        }
    }

    /// Tells what the log has, then how things are where that is not all of it.
    async fn catch_up(&mut self, missed: &Missed) {
        if missed.complete {
            missed.messages.iter().for_each(|message| self.tell(message));
        }
        self.last = missed.seq;
        if missed.anew {
            self.state().await;
        }
    }

    async fn state(&mut self) {
        if self.seat.takes(Kind::InitialState) {
            let state = initial::state(&self.app, &self.bearer).await;
            self.own(Kind::InitialState, Value::Object(state));
        }
    }

    /// A message of the log or the channel, in its place.
    fn tell(&mut self, message: &Message) {
        self.last = message.seq;
        if self.seat.takes(message.said.kind) {
            self.app.metrics.lag.observe(self.age_ms(message.said.timestamp));
            self.ready.push_back(message.told(self.user));
        }
    }

    /// A message of the socket's own, at the place where it is.
    fn own(&mut self, kind: Kind, data: Value) {
        let data = match data {
            Value::Object(data) => data,
            _ => Map::new(),
        };
        let said = Said { kind, data, timestamp: self.app.clock.now() };
        let message = Message { seq: self.last, prev: self.last, said: Arc::new(said) };
        self.ready.push_back(message.told(self.user));
    }

    fn age_ms(&self, at: Timestamp) -> f64 {
        self.app.clock.now().duration_since(at).as_secs_f64().max(0.0) * 1000.0
    }
}

/// The pause after so many readings that failed before: longer each time, and not the same for all sockets.
fn pause(failed: u32, socket: Uuid) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << failed.min(16)).min(LONGEST_PAUSE);
    let share = socket.as_u128() as u32 % 512;
    longest * (512 + share) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_to_its_bound_and_sockets_do_not_come_together() {
        let (one, other) = (Uuid::from_u128(0), Uuid::from_u128(511));
        for failed in 0..100 {
            let (shorter, longer) = (pause(failed, one), pause(failed, other));
            assert!(shorter >= FIRST_PAUSE / 2 && shorter < longer && longer < LONGEST_PAUSE, "{shorter:?} {longer:?}");
            assert!(pause(failed + 1, one) >= shorter);
        }
        assert_eq!(pause(99, one), LONGEST_PAUSE / 2);
    }
}
