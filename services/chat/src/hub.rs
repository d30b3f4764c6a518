//! Who follows an answer here, and when there is something new for them.
//!
//! Whoever tells pieces, or that a message ended, says a word on a channel of Redis; one loop a process hears it
//! ([`crate::listening`]) and wakes those who follow that conversation, who read what is new by themselves: pieces from Redis, messages
//! from Postgres. A word can be lost, for the channel keeps nothing: so everybody looks when the channel was joined anew, every two
//! seconds while it cannot be, and each minute in any case.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use coreloop_chat_api::v1::ChatReason;
use coreloop_core::UserId;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::Error;

/// How often there was something new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct News {
    /// Pieces.
    pub pieces: u64,
    /// Messages.
    pub messages: u64,
}

/// Who follows what here.
#[derive(Debug)]
pub struct Hub {
    seats: Mutex<Seats>,
    /// Somebody is the first to follow.
    first: Notify,
    most_of_a_user: usize,
    open: Gauge,
}

#[derive(Debug, Default)]
struct Seats {
    of: HashMap<Uuid, Vec<Arc<Seat>>>,
    users: HashMap<UserId, usize>,
}

#[derive(Debug)]
struct Seat {
    news: watch::Sender<News>,
}

/// Somebody follows a conversation, as long as this lives.
#[derive(Debug)]
pub struct Following {
    user: UserId,
    conversation: Uuid,
    seat: Arc<Seat>,
    news: watch::Receiver<News>,
    seen: News,
    hub: Arc<Hub>,
}

impl Hub {
    /// Nobody yet; each user may follow `most_of_a_user` at once.
    #[must_use]
    pub fn new(most_of_a_user: u32, open: Gauge) -> Self {
        let most_of_a_user = usize::try_from(most_of_a_user).unwrap_or(usize::MAX);
        Self { seats: Mutex::default(), first: Notify::new(), most_of_a_user, open }
    }

    /// Begins to follow a conversation.
    ///
    /// # Errors
    /// `TOO_MANY_STREAMS`.
    pub fn follow(self: &Arc<Self>, user: UserId, conversation: Uuid) -> Result<Following, Error> {
        let (sender, news) = watch::channel(News::default());
        let seat = Arc::new(Seat { news: sender });
        let mut seats = self.seats();
        let of_user = seats.users.entry(user).or_default();
        if *of_user >= self.most_of_a_user {
            return Err(ChatReason::TooManyStreams.into());
        }
        *of_user += 1;
        seats.of.entry(conversation).or_default().push(Arc::clone(&seat));
        let first = seats.of.len() == 1;
        drop(seats);
        self.open.inc();
        if first {
            // The loop may not be listening yet.
            self.first.notify_one();
        }
        Ok(Following { user, conversation, seat, news, seen: News::default(), hub: Arc::clone(self) })
    }

    /// Somebody follows something here.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.seats().of.is_empty()
    }

    /// Waits until somebody is the first to follow.
    pub async fn first(&self) {
        self.first.notified().await;
    }

    /// There are more pieces of a conversation.
    pub fn pieces(&self, conversation: Uuid) {
        self.tell(conversation, |news| news.pieces += 1);
    }

    /// A message of a conversation is not what it was.
    pub fn message(&self, conversation: Uuid) {
        self.tell(conversation, |news| news.messages += 1);
    }

    /// What was said of anything may have been missed.
    pub fn doubt_all(&self) {
        let seats: Vec<Arc<Seat>> = self.seats().of.values().flatten().cloned().collect();
        for seat in seats {
            seat.news.send_modify(|news| *news = News { pieces: news.pieces + 1, messages: news.messages + 1 });
        }
    }

    fn tell(&self, conversation: Uuid, change: impl Fn(&mut News)) {
        let seats = self.seats().of.get(&conversation).cloned().unwrap_or_default();
        for seat in seats {
            seat.news.send_modify(|news| change(news));
        }
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Following {
    /// Waits until there is something new: whether pieces, whether messages. Dropping the future loses nothing.
    pub async fn next(&mut self) -> (bool, bool) {
        // The sender lives in our own seat.
        let _never_closed = self.news.changed().await;
        let now = *self.news.borrow_and_update();
        let before = std::mem::replace(&mut self.seen, now);
        (now.pieces != before.pieces, now.messages != before.messages)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut seats = self.hub.seats();
        if let Some(of) = seats.of.get_mut(&self.conversation) {
            of.retain(|seat| !Arc::ptr_eq(seat, &self.seat));
            if of.is_empty() {
                seats.of.remove(&self.conversation);
            }
        }
        if let Some(open) = seats.users.get_mut(&self.user) {
            *open -= 1;
            if *open == 0 {
                seats.users.remove(&self.user);
            }
        }
        drop(seats);
        self.hub.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (UserId, Uuid, Uuid) {
        (UserId(Uuid::from_u128(1)), Uuid::from_u128(2), Uuid::from_u128(3))
    }

    #[tokio::test]
    async fn who_follows_is_told_of_their_own_and_of_doubt() {
        let hub = Arc::new(Hub::new(2, Gauge::default()));
        let (user, mine, other) = ids();
        let mut following = hub.follow(user, mine).unwrap();
        hub.pieces(other);
        hub.message(other);
        assert!(futures::poll!(Box::pin(following.next())).is_pending());
        hub.pieces(mine);
        hub.pieces(mine);
        assert_eq!(following.next().await, (true, false));
        hub.message(mine);
        assert_eq!(following.next().await, (false, true));
        hub.doubt_all();
        assert_eq!(following.next().await, (true, true));
    }

    #[test]
    fn a_user_follows_so_many_at_once_and_leaves_nothing() {
        let hub = Arc::new(Hub::new(2, Gauge::default()));
        let (user, mine, other) = ids();
        let first = hub.follow(user, mine).unwrap();
        let _second = hub.follow(user, mine).unwrap();
        assert!(hub.follow(user, other).is_err());
        assert!(hub.follow(UserId(other), other).is_ok());
        drop(first);
        drop(hub.follow(user, other).unwrap());
        let seats = hub.seats();
        assert_eq!((hub.open.get(), seats.of.len(), seats.users.len()), (1, 1, 1));
        drop(seats);
    }
}
