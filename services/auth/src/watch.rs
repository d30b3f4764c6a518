//! Who watches their session here, and what they are told.
//!
//! An act that changes what a watcher sees says so after its commit ([`Watches::changed`]): to the watches of this replica,
//! and to the other replicas by one word on the channel [`CHANNEL`]. One loop a process hears it ([`news`]), reads all
//! sessions that it is about in one statement and hands each watch its own; a watch neither reads the database nor holds
//! more than the newest state, so a slow reader costs what a fast one does.
//!
//! A word can be lost, for the channel keeps nothing. So everything that is watched is read again when the channel was joined
//! anew, every two seconds while it cannot be, and each minute in any case: in one statement for 500 sessions. A session
//! that has ended is told to the revocations of the process, which end its watch as they would end any stream, so a watch
//! ends within seconds also while Redis is away.

pub mod news;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use coreloop_access::{Revocation, revocation::Revoked};
use coreloop_auth_api::v1::AuthReason;
use coreloop_core::{SessionId, UserId};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, watch};

use crate::{App, Error, store, store::sessions::Watched};

/// Channel of users of whom something changed: the word is the id of who says it, a space, the id of the user.
pub const CHANNEL: &str = "auth:user_changed";
/// Sessions read in one statement.
const BATCH: usize = 500;
/// Words that may wait to be said; the other replicas notice the rest by themselves within a minute.
const MOST_WORDS: usize = 10_000;
/// A revocation outlives the token that it is about by this, in seconds.
const MARGIN_SECS: i64 = 120;

/// The watches of a process.
#[derive(Debug)]
pub struct Watches {
    seats: Mutex<Seats>,
    /// Users whose watched sessions are to be read again.
    stale: Mutex<BTreeSet<UserId>>,
    /// Users of whom the other replicas are to be told.
    words: Mutex<BTreeSet<UserId>>,
    /// Something waits in one of these.
    waiting: Notify,
    serials: AtomicU64,
    most_of_a_user: usize,
    open: Gauge,
}

type Seats = HashMap<UserId, Vec<Arc<Seat>>>;

#[derive(Debug)]
struct Seat {
    serial: u64,
    session: SessionId,
    /// End of the access token, Unix seconds.
    until: i64,
    state: watch::Sender<Option<Arc<Watched>>>,
}

/// One watch. Dropped when its stream ends.
#[derive(Debug)]
pub struct Watch {
    user: UserId,
    seat: Arc<Seat>,
    states: watch::Receiver<Option<Arc<Watched>>>,
    of: Arc<Watches>,
}

impl Watches {
    /// No watch yet; each user may have `most_of_a_user` at once.
    #[must_use]
    pub fn new(most_of_a_user: u32, open: Gauge) -> Self {
        Self {
            seats: Mutex::default(),
            stale: Mutex::default(),
            words: Mutex::default(),
            waiting: Notify::new(),
            serials: AtomicU64::new(0),
            most_of_a_user: usize::try_from(most_of_a_user).unwrap_or(usize::MAX),
            open,
        }
    }

    /// Begins a watch of a session whose access token ends at `until` (Unix seconds).
    ///
    /// # Errors
    /// `TOO_MANY_WATCHES`.
    pub fn open(self: &Arc<Self>, user: UserId, session: SessionId, until: i64) -> Result<Watch, Error> {
        let (state, states) = watch::channel(None);
        let serial = self.serials.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat { serial, session, until, state });
        let mut seats = lock(&self.seats);
        let of_user = seats.entry(user).or_default();
        if of_user.len() >= self.most_of_a_user {
            return Err(AuthReason::TooManyWatches.into());
        }
        of_user.push(Arc::clone(&seat));
        let first = seats.len() == 1;
        drop(seats);
        self.open.inc();
        if first {
            // The loop may not be listening yet.
            self.waiting.notify_one();
        }
        Ok(Watch { user, seat, states, of: Arc::clone(self) })
    }

    /// Something changed that watchers of the user's sessions see. Call it after the commit; it never waits.
    pub fn changed(&self, user: UserId) {
        self.heard(user);
        let mut words = lock(&self.words);
        if words.len() < MOST_WORDS {
            words.insert(user);
        }
        drop(words);
        self.waiting.notify_one();
    }

    /// Somebody watches here.
    fn any(&self) -> bool {
        !lock(&self.seats).is_empty()
    }

    /// Another replica says that something of the user changed.
    fn heard(&self, user: UserId) {
        if lock(&self.seats).contains_key(&user) {
            lock(&self.stale).insert(user);
        }
    }

    /// What was said of anybody may have been missed.
    fn doubt_all(&self) {
        let users: Vec<UserId> = lock(&self.seats).keys().copied().collect();
        lock(&self.stale).extend(users);
    }

    fn take_words(&self) -> BTreeSet<UserId> {
        std::mem::take(&mut lock(&self.words))
    }

    /// Reads what is stale and hands it to its watches.
    async fn settle(&self, app: &App) -> Result<(), Error> {
        let users = std::mem::take(&mut *lock(&self.stale));
        if users.is_empty() {
            return Ok(());
        }
        let seats: Vec<Arc<Seat>> = {
            let seats = lock(&self.seats);
            users.iter().filter_map(|user| seats.get(user)).flatten().cloned().collect()
        };
        for some in seats.chunks(BATCH) {
            if let Err(error) = self.hand_out(app, some).await {
                lock(&self.stale).extend(users);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn hand_out(&self, app: &App, seats: &[Arc<Seat>]) -> Result<(), Error> {
        let ids: Vec<_> = seats.iter().map(|seat| seat.session.0).collect();
        let live = store::sessions::watched(&app.db, &ids, app.live_after()).await?;
        let live: HashMap<SessionId, Arc<Watched>> = live.into_iter().map(|row| (row.id, Arc::new(row))).collect();
        for seat in seats {
            match live.get(&seat.session) {
                Some(state) => {
                    seat.state.send_if_modified(|shown| {
                        let news = shown.as_ref() != Some(state);
                        *shown = Some(Arc::clone(state));
                        news
                    });
                }
                None => app
                    .gate
                    .revocations()
                    .learn(&Revocation { what: Revoked::Session(seat.session), expires_at: seat.until + MARGIN_SECS }),
            }
        }
        Ok(())
    }
}

impl Watch {
    /// The next state that was read, as of now.
    pub async fn next(&mut self) -> Option<Arc<Watched>> {
        // The sender lives in our own seat.
        self.states.changed().await.ok()?;
        self.states.borrow_and_update().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut seats = lock(&self.of.seats);
        if let Some(of_user) = seats.get_mut(&self.user) {
            of_user.retain(|seat| seat.serial != self.seat.serial);
            if of_user.is_empty() {
                seats.remove(&self.user);
            }
        }
        drop(seats);
        self.of.open.dec();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn user(n: u128) -> UserId {
        UserId(Uuid::from_u128(n))
    }

    fn watches() -> Arc<Watches> {
        Arc::new(Watches::new(2, Gauge::default()))
    }

    #[test]
    fn a_user_has_so_many_watches_and_one_that_ends_makes_room() {
        let watches = watches();
        let open = |n| watches.open(user(n), SessionId(Uuid::from_u128(n)), 0);
        let first = open(1).unwrap();
        let _second = open(1).unwrap();
        assert_eq!(open(1).unwrap_err().outcome(), "TOO_MANY_WATCHES");
        assert!(open(2).is_ok(), "others are not touched by it");
        drop(first);
        let _third = open(1).unwrap();
        assert_eq!(watches.open.get(), 2);
    }

    #[test]
    fn only_what_is_watched_is_read_and_every_change_is_told() {
        let watches = watches();
        let _watch = watches.open(user(1), SessionId(Uuid::from_u128(1)), 0).unwrap();
        watches.changed(user(2));
        assert!(lock(&watches.stale).is_empty());
        watches.changed(user(1));
        assert_eq!(*lock(&watches.stale), BTreeSet::from([user(1)]));
        assert_eq!(watches.take_words(), BTreeSet::from([user(1), user(2)]));
        assert!(watches.take_words().is_empty());
    }

    #[test]
    fn words_that_nobody_takes_do_not_pile_up() {
        let watches = watches();
        (0..2 * MOST_WORDS as u128).for_each(|n| watches.changed(user(n)));
        assert_eq!(watches.take_words().len(), MOST_WORDS);
    }
}
