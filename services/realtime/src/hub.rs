//! The open sockets of this replica, and what waits for each.
//!
//! A user with a socket here is a room; one loop a process is subscribed to the channels of all rooms ([`listen`]) and puts what it
//! hears into the queue of each socket. It waits for no socket: a queue that is full is the end of its socket and of no other.
//! What may have been missed, while the channel was not joined, is doubted, and each socket reads the log by itself.

pub mod listen;
pub mod queue;
pub mod seats;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use coreloop_core::UserId;
use tokio::sync::{Notify, broadcast};
use uuid::Uuid;

use self::queue::{Pushed, Queue};
use crate::{
    log::Word,
    message::{Kind, Message},
    metrics::Metrics,
};

/// Acts of administrators that a slow reader may be behind.
const ACTS: usize = 256;
/// Closed sockets that Redis was not told of; the rest it forgets by itself.
const MOST_CLOSED: usize = 10_000;

/// The sockets of this replica.
#[derive(Debug)]
pub struct Hub {
    rooms: Mutex<Rooms>,
    /// A room has come or gone.
    changed: Notify,
    closed: Mutex<Vec<(UserId, Uuid)>>,
    /// A socket has closed.
    closing: Notify,
    acts: broadcast::Sender<Arc<str>>,
    queue: usize,
    metrics: Metrics,
}

/// The rooms, and those whose channel is not yet as it should be: looked for by nobody, since there may be thousands.
#[derive(Debug, Default)]
struct Rooms {
    of: HashMap<UserId, Room>,
    /// Users whose channel is to be joined.
    joining: HashSet<UserId>,
    /// Users whose channel is to be left, unless they are back.
    leaving: HashSet<UserId>,
}

/// The sockets of one user.
#[derive(Debug, Default)]
struct Room {
    sockets: Vec<Arc<Socket>>,
    /// The channel is joined.
    joined: bool,
}

/// One socket.
#[derive(Debug)]
struct Socket {
    id: Uuid,
    only: fn(Kind) -> bool,
    state: Mutex<State>,
    woken: Notify,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    joined: bool,
    /// Something may have been missed.
    doubt: bool,
    /// The client reads too slowly.
    full: bool,
}

/// What a socket gets next.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// A message.
    Message(Message),
    /// Something may have been missed: read the log.
    Doubt,
    /// The client reads too slowly: the end.
    Full,
}

impl Hub {
    /// No socket yet; `queue` messages may wait for each.
    #[must_use]
    pub fn new(queue: usize, metrics: Metrics) -> Self {
        Self {
            rooms: Mutex::default(),
            changed: Notify::new(),
            closed: Mutex::default(),
            closing: Notify::new(),
            acts: broadcast::channel(ACTS).0,
            queue,
            metrics,
        }
    }

    /// Opens a socket `id` of `user` that takes `only` these kinds.
    #[must_use]
    pub fn open(self: &Arc<Self>, user: UserId, id: Uuid, only: fn(Kind) -> bool) -> Seat {
        let mut rooms = lock(&self.rooms);
        let room = rooms.of.entry(user).or_default();
        let joined = room.joined;
        let state = State { queue: Queue::new(self.queue), joined, doubt: false, full: false };
        let socket = Arc::new(Socket { id, only, state: Mutex::new(state), woken: Notify::new() });
        room.sockets.push(Arc::clone(&socket));
        if !joined {
            rooms.joining.insert(user);
        }
        drop(rooms);
        self.metrics.sockets.inc();
        if !joined {
            self.changed.notify_one();
        }
        Seat { user, socket, hub: Arc::clone(self) }
    }

    /// What administrators do, from now on.
    #[must_use]
    pub fn acts(&self) -> broadcast::Receiver<Arc<str>> {
        let acts = self.acts.subscribe();
        self.changed.notify_one();
        acts
    }

    /// Sockets and users that are here.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let rooms = lock(&self.rooms);
        (rooms.of.values().map(|room| room.sockets.len()).sum(), rooms.of.len())
    }

    /// Somebody listens here.
    fn any(&self) -> bool {
        !lock(&self.rooms).of.is_empty() || self.acts.receiver_count() > 0
    }

    /// Users whose channel is to be joined, `most` at once; each is told once.
    fn to_join(&self, most: usize) -> Vec<UserId> {
        some(&mut lock(&self.rooms).joining, most)
    }

    /// Users whose channel is to be left, `most` at once; each is told once. Who comes back has a new room, whose channel is
    /// to be joined.
    fn to_leave(&self, most: usize) -> Vec<UserId> {
        let mut rooms = lock(&self.rooms);
        let mut users = some(&mut rooms.leaving, most);
        users.retain(|user| !rooms.of.contains_key(user));
        users
    }

    /// The channels of these users are joined. What was said before may have been missed.
    fn joined(&self, users: &[UserId]) {
        let mut rooms = lock(&self.rooms);
        for user in users {
            let Some(room) = rooms.of.get_mut(user) else { continue };
            room.joined = true;
            for socket in &room.sockets {
                // The first time the socket has read nothing yet.
                socket.change(|state| state.doubt |= std::mem::replace(&mut state.joined, true));
            }
        }
    }

    /// The connection is lost: no channel is joined.
    fn lost(&self) {
        let mut rooms = lock(&self.rooms);
        rooms.of.values_mut().for_each(|room| room.joined = false);
        rooms.joining = rooms.of.keys().copied().collect();
        rooms.leaving.clear();
    }

    /// A word on the channel of a user.
    fn heard(&self, user: UserId, word: &Word) {
        let rooms = lock(&self.rooms);
        for socket in rooms.of.get(&user).into_iter().flat_map(|room| &room.sockets) {
            self.put(socket, word);
        }
    }

    fn put(&self, socket: &Socket, word: &Word) {
        socket.change(|state| {
            let before = state.queue.len();
            match word {
                _ if state.full => {}
                Word::Broken => state.doubt = true,
                Word::Message(message) => {
                    if state.queue.push(message.clone()) == Pushed::Full {
                        self.metrics.failed.inc_by(state.queue.len() as u64);
                        state.queue.clear();
                        state.full = true;
                    }
                }
            }
            self.metrics.queued(before, state.queue.len());
        });
    }

    /// What an administrator did.
    fn acted(&self, act: &str) {
        // Nobody may be listening.
        let _heard_by = self.acts.send(act.into());
    }
}

impl Socket {
    fn change(&self, act: impl FnOnce(&mut State)) {
        act(&mut lock(&self.state));
        self.woken.notify_one();
    }
}

/// A socket's place in the hub. Given back when dropped.
#[derive(Debug)]
pub struct Seat {
    user: UserId,
    socket: Arc<Socket>,
    hub: Arc<Hub>,
}

impl Seat {
    /// Waits until the user's channel is joined: what is said from then on is heard.
    pub async fn joined(&self) {
        while !lock(&self.socket.state).joined {
            self.socket.woken.notified().await;
        }
    }

    /// What comes next. Dropping the future loses nothing.
    pub async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.socket.woken.notified().await;
        }
    }

    /// Forgets what waits: the log is about to be read, which has it all.
    pub fn forget(&self) {
        self.socket.change(|state| {
            self.hub.metrics.queued(state.queue.len(), 0);
            state.queue.clear();
            state.doubt = false;
        });
    }

    /// The kind is for this socket. What is not still counts: without it there would be a gap.
    #[must_use]
    pub fn takes(&self, kind: Kind) -> bool {
        (self.socket.only)(kind)
    }

    fn take(&self) -> Option<Next> {
        let mut state = lock(&self.socket.state);
        if state.full {
            return Some(Next::Full);
        }
        if std::mem::take(&mut state.doubt) {
            return Some(Next::Doubt);
        }
        let before = state.queue.len();
        let next = state.queue.pop().map(Next::Message);
        self.hub.metrics.queued(before, state.queue.len());
        next
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut rooms = lock(&self.hub.rooms);
        let empty = rooms.of.get_mut(&self.user).is_some_and(|room| {
            room.sockets.retain(|socket| !Arc::ptr_eq(socket, &self.socket));
            room.sockets.is_empty()
        });
        if empty {
            rooms.of.remove(&self.user);
            rooms.joining.remove(&self.user);
            rooms.leaving.insert(self.user);
        }
        drop(rooms);
        let waited = lock(&self.socket.state).queue.len();
        self.hub.metrics.queued(waited, 0);
        self.hub.metrics.failed.inc_by(waited as u64);
        self.hub.metrics.sockets.dec();
        let mut closed = lock(&self.hub.closed);
        if closed.len() < MOST_CLOSED {
            closed.push((self.user, self.socket.id));
        }
        drop(closed);
        self.hub.closing.notify_one();
        if empty {
            self.hub.changed.notify_one();
        }
    }
}

/// Takes at most `most` out of a set.
fn some(users: &mut HashSet<UserId>, most: usize) -> Vec<UserId> {
    let some: Vec<UserId> = users.iter().copied().take(most).collect();
    for user in &some {
        users.remove(user);
    }
    some
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use jiff::Timestamp;
    use serde_json::Map;

    use super::*;
    use crate::message::Said;

    const USER: UserId = UserId(Uuid::nil());

    fn word(seq: i64) -> Word {
        let said = Said { kind: Kind::Notification, data: Map::new(), timestamp: Timestamp::UNIX_EPOCH };
        Word::Message(Message { seq, prev: seq - 1, said: Arc::new(said) })
    }

    fn all(_: Kind) -> bool {
        true
    }

    fn hub(queue: usize) -> Arc<Hub> {
        Arc::new(Hub::new(queue, Metrics::default()))
    }

    async fn seq(seat: &Seat) -> i64 {
        match seat.next().await {
            Next::Message(message) => message.seq,
            other => panic!("no message but {other:?}"),
        }
    }

    #[tokio::test]
    async fn each_socket_of_a_user_hears_and_nobody_else_does() {
        let hub = hub(8);
        let other = UserId(Uuid::from_u128(1));
        let (one, two) = (hub.open(USER, Uuid::from_u128(1), all), hub.open(USER, Uuid::from_u128(2), all));
        let stranger = hub.open(other, Uuid::from_u128(3), all);
        assert_eq!(hub.size(), (3, 2));
        hub.heard(USER, &word(1));
        assert_eq!((seq(&one).await, seq(&two).await), (1, 1));
        assert!(futures::poll!(std::pin::pin!(stranger.next())).is_pending());
        drop((one, two, stranger));
        assert_eq!((hub.size(), hub.any()), ((0, 0), false));
        assert_eq!(lock(&hub.closed).len(), 3, "Redis is to be told");
    }

    #[tokio::test]
    async fn a_slow_socket_ends_alone() {
        let hub = hub(4);
        let (slow, fast) = (hub.open(USER, Uuid::from_u128(1), all), hub.open(USER, Uuid::from_u128(2), all));
        for at in 1..=100 {
            hub.heard(USER, &word(at));
            assert_eq!(seq(&fast).await, at);
        }
        assert_eq!(slow.next().await, Next::Full);
        assert_eq!((hub.metrics.failed.get(), hub.metrics.depth.get()), (5, 0), "and nothing of it is kept");
    }

    #[tokio::test]
    async fn a_socket_waits_for_its_channel_and_doubts_after_each_rejoining() {
        let hub = hub(4);
        let seat = hub.open(USER, Uuid::from_u128(1), all);
        assert!(futures::poll!(std::pin::pin!(seat.joined())).is_pending());
        assert_eq!((hub.to_join(10), hub.to_join(10)), (vec![USER], vec![]), "told once");
        hub.joined(&[USER]);
        seat.joined().await;
        assert!(futures::poll!(std::pin::pin!(seat.next())).is_pending(), "it is about to read the log anyway");
        hub.lost();
        assert_eq!(hub.to_join(10), [USER]);
        hub.joined(&[USER]);
        assert_eq!(seat.next().await, Next::Doubt);
        let second = hub.open(USER, Uuid::from_u128(2), all);
        second.joined().await;
        hub.heard(USER, &Word::Broken);
        assert_eq!((seat.next().await, second.next().await), (Next::Doubt, Next::Doubt));
    }

    #[tokio::test]
    async fn a_channel_is_left_when_nobody_is_there_and_joined_again_by_who_comes_back() {
        let hub = hub(4);
        let seat = hub.open(USER, Uuid::from_u128(1), all);
        hub.joined(&hub.to_join(10));
        drop(seat);
        assert_eq!((hub.to_join(10), hub.to_leave(10)), (vec![], vec![USER]));
        drop(hub.open(USER, Uuid::from_u128(2), all));
        let back = hub.open(USER, Uuid::from_u128(3), all);
        assert_eq!((hub.to_leave(10), hub.to_join(10)), (vec![], vec![USER]), "not left under who is back");
        assert!(futures::poll!(std::pin::pin!(back.joined())).is_pending());
    }
}
