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
use tokio::sync::{Notify, Semaphore, SemaphorePermit, broadcast};
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
/// Sockets that read the log, or how things are, at once when all of them must.
const CATCHING_UP: usize = 64;

/// The sockets of this replica.
#[derive(Debug)]
pub struct Hub {
    rooms: Mutex<Rooms>,
    /// A room has come or gone.
    changed: Notify,
    closed: Mutex<Vec<(UserId, Uuid)>>,
    /// A socket has closed.
    closing: Notify,
    catching_up: Semaphore,
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
            catching_up: Semaphore::new(CATCHING_UP),
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

    /// Waits for a socket's turn to read what it missed: after a cut all of them would at once, and ask the neighbours, too.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.catching_up.acquire().await.ok()
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
                // Who doubts reads the log, which has it.
                _ if state.full || state.doubt => {}
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

    /// The log is to be read, now or later: what comes until [`Seat::forget`] does not wait here, for the log has it.
    pub fn doubt(&self) {
        self.socket.change(|state| state.doubt = true);
    }

    /// A number of the socket's own.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.socket.id
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
mod tests;
