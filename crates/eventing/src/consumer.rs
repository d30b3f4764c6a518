//! Consumers: events have their effect once, in order per key, whatever fails.
//!
//! One replica reads a group at a time (a lease, and a token that the broker looks at), and handles many keys at once. An
//! event is claimed in the handler's own transaction, so it is either handled and known to be, or neither. What fails is
//! set aside in the consumer's database with the later events of its key, and read on: a poisoned event costs its own key
//! a pause and the others nothing, and neither a restart nor another transport changes that. Who has to call others for its
//! effect passes events on ([`Consumer::passing`]): all of this but the claim, and the effect must know an event by its id.

mod aside;
mod died;
mod due;
mod lanes;
mod passing;
mod room;
mod turn;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use coreloop_core::Fact;
use coreloop_db::{Transaction, lease::Lease};
use coreloop_planted::{self as planted, Bug};
use coreloop_service::Worker;
use futures::{StreamExt as _, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use self::passing::PassingHandler;
use self::{
    due::SWEEP,
    lanes::{Lanes, Work},
    room::{Room, Taken},
    turn::Turn,
};
use crate::{
    CommandBus, CommandHandler, Error, Event, Failure, Parts, Queue, Topic,
    bus::{Reader, Receipt, Start, Subscription},
    store, topic,
};

/// After a failure of the broker or the database.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at the lag.
const LAG: Duration = Duration::from_secs(5);
/// Between two looks whether the lease is held, and the longest that is waited for an answer.
const LEASE: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(20);
/// Longest time that one handling may be given.
const LONGEST: Duration = Duration::from_secs(600);

/// What a consumer does with an event.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Acts on `event` in `transaction`, which the consumer commits together with the note that it was done. Nothing
    /// remote is called here; what must be sent goes into the outbox.
    async fn handle(&self, transaction: &mut Transaction, event: &Event) -> Result<(), Failure>;
}

/// A consumer: a group of its own over some topics, or the worker of a command queue.
pub struct Consumer {
    name: String,
    topics: Vec<Topic>,
    start: Start,
    parts: Parts,
    sql: store::inbox::Statements,
    work: Kind,
    within: Duration,
    at_once: Option<usize>,
}

/// What it is for.
enum Kind {
    Events(Arc<dyn Handler>),
    Passing(Arc<dyn PassingHandler>),
    Commands(Queue, Arc<dyn CommandBus>, Arc<dyn CommandHandler>),
}

impl Consumer {
    /// The consumer `name` (as `wallet.welcome`: its domain and what it does), with its records in the schema of `parts`.
    ///
    /// # Errors
    /// A schema that is no plain identifier.
    pub fn new(name: &str, parts: Parts, handler: impl Handler) -> Result<Self, Error> {
        Self::of(name, parts, Kind::Events(Arc::new(handler)))
    }

    /// Does the commands of `queue` on `bus`, with its records in the schema of `parts`: in order per key, tried again and
    /// set aside as events are.
    ///
    /// # Errors
    /// A schema that is no plain identifier.
    pub fn working(
        queue: Queue,
        bus: Arc<dyn CommandBus>,
        parts: Parts,
        handler: impl CommandHandler,
    ) -> Result<Self, Error> {
        let worker = Self::of(queue.name(), parts, Kind::Commands(queue, bus, Arc::new(handler)))?;
        Ok(Self { topics: vec![Topic::of_queue(queue)], ..worker })
    }

    fn of(name: &str, parts: Parts, work: Kind) -> Result<Self, Error> {
        let sql = store::inbox::Statements::of(topic::plain(&parts.schema)?);
        let within = Duration::from_millis(parts.options.handler_timeout_ms);
        let (name, topics, start) = (name.to_owned(), Vec::new(), Start::Earliest);
        Ok(Self { name, topics, start, parts, sql, work, within, at_once: None })
    }

    /// Hears the facts `F` too.
    ///
    /// # Errors
    /// A type that names no topic.
    pub fn hears<F: Fact>(mut self) -> Result<Self, Error> {
        self.topics.push(Topic::of::<F>()?);
        Ok(self)
    }

    /// Begins there when its group is new.
    #[must_use]
    pub fn starting(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Gives one handling this long instead of `eventing.handler_timeout_ms`, between a millisecond and ten minutes; then it is
    /// a failure `TIMEOUT`. Nobody takes over what is handled, however long it takes: another replica reads only when this one
    /// has lost its lease. A process that is told to stop waits for `server.drain_ms` all the same, and what was not done by then
    /// is delivered again.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time.clamp(Duration::from_millis(1), LONGEST);
        self
    }

    /// Handles so many at the same time, each of another key, and never more than `eventing.concurrency`; nought counts as one.
    /// One replica reads at a time, so that is so many of all replicas, over every transport. It reads ahead little more than
    /// that: the next reader finds the rest untouched when this one dies.
    #[must_use]
    pub fn at_once(mut self, most: u32) -> Self {
        self.at_once = Some(most.max(1) as usize);
        self
    }

    /// The loop, for the service to hand back.
    #[must_use]
    pub fn worker(self) -> Worker {
        let (name, consumer) = (self.name.clone(), Arc::new(self));
        Worker::new(name, move |stop| {
            let consumer = Arc::clone(&consumer);
            async move { consumer.run(stop).await }
        })
    }

    async fn run(&self, stop: CancellationToken) {
        loop {
            let pause = match self.serve(&stop).await {
                Ok(()) => Duration::from_millis(self.parts.options.standby_ms),
                Err(error) => {
                    tracing::warn!(%error, consumer = self.name, "events are not read");
                    PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Reads until `stop` or a failure; comes back at once while another replica reads.
    async fn serve(&self, stop: &CancellationToken) -> Result<(), Error> {
        let Some(mut lease) = Lease::try_take(&self.parts.db, &format!("consumer.{}", self.name)).await? else {
            return Ok(());
        };
        lease.expire_after(ANSWER).await?;
        let outcome = tokio::select! {
            outcome = self.read_and_work(stop) => outcome,
            () = lost(&mut lease) => Err(Error::Fenced),
        };
        // What another replica reads is no longer this one's to tell.
        self.parts.metrics.forget_consumer(&self.name, self.topics.iter().map(Topic::as_str));
        lease.give_up().await;
        outcome
    }

    /// Where the group begins when the broker does not know it: one that began with what was new, where it did then.
    async fn begin(&self) -> Result<Start, Error> {
        if self.start != Start::Latest {
            return Ok(self.start);
        }
        let mut connection = self.parts.db.acquire().await?;
        let began = store::inbox::began(&mut connection, &self.sql, &self.name).await?;
        Ok(began.map_or(Start::Latest, Start::At))
    }

    /// Notes that the group is there.
    async fn note_beginning(&self) -> Result<(), Error> {
        if self.start != Start::Latest {
            return Ok(());
        }
        let mut connection = self.parts.db.acquire().await?;
        Ok(store::inbox::begin(&mut connection, &self.sql, &self.name, self.parts.clock.now()).await?)
    }

    async fn read_and_work(&self, stop: &CancellationToken) -> Result<(), Error> {
        let token = self.parts.ids.uuid();
        let reader = match &self.work {
            Kind::Events(_) | Kind::Passing(_) => {
                let (group, topics, start) = (self.name.clone(), self.topics.clone(), self.begin().await?);
                let reader = self.parts.bus.subscribe(Subscription { group, topics, start, token }).await?;
                self.note_beginning().await?;
                reader
            }
            Kind::Commands(queue, bus, _) => bus.work(*queue, token).await?,
        };
        let (sender, receiver) = mpsc::channel(self.room());
        // A failure of reading drops what is being handled: it is rolled back, and delivered again.
        let reading = self.read(&*reader, sender, stop);
        let working = self.handle_all(&*reader, receiver, stop);
        tokio::select! {
            ended = async { futures::try_join!(reading, working) } => ended.map(|_| ()),
            () = self.tell_lag(&*reader) => Ok(()),
        }
    }

    /// Tells every few seconds what the group has not been given yet, also while there is no room to read; never ends.
    async fn tell_lag(&self, reader: &dyn Reader) {
        loop {
            match reader.lag().await {
                Ok(lags) => {
                    for (topic, events) in lags {
                        self.parts.metrics.lag(&self.name, topic.as_str(), events);
                    }
                }
                // What cannot be counted may well be read; who was replaced learns it by reading.
                Err(error) => tracing::warn!(%error, consumer = self.name, "the lag is not known"),
            }
            tokio::time::sleep(LAG).await;
        }
    }

    /// Reads into the queue as long as there is room; ends, and so the queue, with `stop`.
    async fn read(
        &self,
        reader: &dyn Reader,
        queue: mpsc::Sender<Taken>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let room = Room::new();
        loop {
            let read = async {
                // A place first: what is read has one.
                let Ok(_) = queue.reserve().await else { return Err(Error::Fenced) };
                reader.next(queue.capacity().max(1)).await
            };
            let deliveries = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                deliveries = read => deliveries?,
            };
            for delivery in deliveries {
                let taken = tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    taken = room.take(delivery) => taken,
                };
                if queue.send(taken).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Gives every key its turn, one event at a time; ends with `stop`, when what runs is done: what waits is the next reader's. What has had its
    /// effect while the last acknowledgement ran goes into the next, so a busy consumer makes few round trips and a quiet
    /// one does not wait.
    async fn handle_all(
        &self,
        reader: &dyn Reader,
        mut queue: mpsc::Receiver<Taken>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let (most, room) = (self.concurrency(), self.room());
        let (mut lanes, mut running) = (Lanes::new((room / 8).max(1)), FuturesUnordered::new());
        // At most one of each.
        let (mut acknowledging, mut looking) = (FuturesUnordered::new(), FuturesUnordered::new());
        let (mut settled, mut open, mut due_at) = (Vec::<Receipt>::new(), true, Instant::now());
        let mut sweep_at = due_at;
        loop {
            // Of several things that happened the one below takes any: nothing begins once it is told to stop.
            open &= !stop.is_cancelled();
            while open && running.len() < most && settled.len() < room {
                let Some((key, work)) = lanes.next() else { break };
                running.push(Turn { consumer: self, key, work, hindered: watch::Sender::new(false) }.take(stop));
            }
            if acknowledging.is_empty() && !settled.is_empty() {
                let receipts = std::mem::take(&mut settled);
                acknowledging.push(async move { reader.ack(&receipts).await });
            }
            if !open && running.is_empty() && acknowledging.is_empty() {
                return Ok(());
            }
            tokio::select! {
                () = stop.cancelled(), if open => open = false,
                Some(turned) = running.next(), if !running.is_empty() => {
                    if turned.given_up {
                        // What is left of its key must not go before it. It is rolled back, and delivered again.
                        return Ok(());
                    }
                    lanes.done(&turned.key);
                    settled.extend(turned.receipt);
                    due_at = turned.again.map_or(due_at, |at| due_at.min(at));
                }
                // Without an acknowledgement the next reader finds all of it, and finds it done.
                Some(done) = acknowledging.next(), if !acknowledging.is_empty() => done?,
                delivery = queue.recv(), if open && lanes.waiting() < room => match delivery {
                    Some(delivery) => {
                        let key = delivery.event.as_ref().map(|event| event.key.clone()).unwrap_or_default();
                        settled.extend(planted::on(Bug::EarlyAck).then(|| delivery.receipt.clone()));
                        lanes.push(key, Work::Delivered(Box::new(delivery)));
                    }
                    None => open = false,
                },
                Some((keys, at)) = looking.next(), if !looking.is_empty() => {
                    for key in keys {
                        lanes.push_held(key);
                    }
                    due_at = due_at.min(at);
                }
                () = tokio::time::sleep_until(due_at), if open && looking.is_empty() => {
                    let now = Instant::now();
                    let sweep = sweep_at <= now;
                    if sweep {
                        sweep_at = now + SWEEP;
                    }
                    due_at = now + SWEEP;
                    looking.push(self.look_for_due(sweep));
                }
            }
        }
    }

    /// Turns at the same time. One of an event holds a connection all the while: half of the pool is for others.
    fn concurrency(&self) -> usize {
        let most = self.at_once.unwrap_or(usize::MAX).min(self.parts.options.concurrency as usize);
        match &self.work {
            Kind::Events(_) => most.min((self.parts.db.options().get_max_connections() / 2).max(1) as usize),
            Kind::Passing(_) | Kind::Commands(..) => most,
        }
    }

    /// Events that wait in memory for their turn.
    fn room(&self) -> usize {
        self.at_once.unwrap_or(usize::MAX).min(self.parts.options.queue as usize)
    }
}

/// Waits until the lease is lost. A broker may go on giving to whoever it knows, and its successor would wait in vain.
async fn lost(lease: &mut Lease) {
    loop {
        tokio::time::sleep(LEASE).await;
        if !matches!(tokio::time::timeout(ANSWER, lease.held()).await, Ok(true)) {
            return;
        }
    }
}

fn until(now: Timestamp, due: Timestamp) -> Duration {
    Duration::try_from(due.duration_since(now)).unwrap_or_default()
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("name", &self.name).field("topics", &self.topics).finish_non_exhaustive()
    }
}
