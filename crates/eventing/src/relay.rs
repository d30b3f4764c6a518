//! The relay: from the outbox to the bus.
//!
//! One replica leads, by a lease whose connection also records how far it is: a leader that has lost its lease can record
//! nothing, and the broker takes nothing from one that was replaced. It sleeps until the commit of a writer wakes it, looks
//! by itself in a rush (see [`watch`]), and is never held up by an open transaction (see [`cursor`]). A row counts as
//! published when the broker said so; a crash between that and the record publishes it again, which consumers do not feel.
//! Rows stay for an hour after they were written, so that a broker which lost its data is told again.
//!
//! Going to sleep must miss nobody. First it says that it listens, in a sequence, which everybody sees at once; then it asks
//! which transactions have written into the outbox and still run (they hold a lock on the table), for those may have been
//! told that nobody need be woken; then it looks once more. Whoever writes later reads that it listens. It goes on looking
//! until those few have ended.

pub(crate) mod cursor;
mod send;
mod sweep;
mod watch;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use coreloop_db::lease::Lease;
use coreloop_service::Worker;
use sqlx::{Acquire as _, Connection as _, postgres::PgListener};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{cursor::Cursor, send::Sent, watch::Watch};
use crate::{CommandBus, Encoding, Error, Event, Parts, bus, store, topic};

/// Between two sweeps of published rows.
const SWEEP: Duration = Duration::from_secs(60);
/// Between two records of how far it is, in a rush.
const RECORD: Duration = Duration::from_millis(50);
/// Between two looks at how much waits, while that takes long.
const TELL: Duration = Duration::from_secs(5);
/// A leader that stands still has led for so long, and a little more.
const SILENCE: Duration = Duration::from_secs(10);
/// The longest that Postgres is waited for: a connection that went silent says nothing of it.
const ANSWER: Duration = Duration::from_secs(20);
/// After a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// The relay of one service's outbox.
#[derive(Debug)]
pub struct Relay {
    parts: Parts,
    sql: store::relay::Statements,
    /// Where commands go.
    commands: Option<Arc<dyn CommandBus>>,
    /// Rows that are published together: fewer after the broker took too long for as many.
    most: AtomicU32,
    /// What is known of commands whose batch is not published yet.
    sent: Mutex<Sent>,
}

/// What a leader knows.
struct Term {
    lease: Lease,
    token: Uuid,
    cursor: Cursor,
    /// What of it is recorded, and since when.
    recorded: Cursor,
    recorded_at: Instant,
    /// Batches that the broker knows of.
    batches: i64,
    watch: Watch,
    /// Commits are told to wake it.
    listening: bool,
    /// Transactions that had written before it listened, and since when it does.
    early: Vec<String>,
    listens_since: Instant,
    /// Rows up to here were swept.
    swept: i64,
    sweep_at: Instant,
    /// When the broker last said how much it knows.
    heard_at: Instant,
    /// When it was last told how much waits.
    told_at: Instant,
}

impl Relay {
    /// The relay of the outbox in the schema of `parts`.
    ///
    /// # Errors
    /// A schema that is no plain identifier.
    pub fn new(parts: Parts) -> Result<Self, Error> {
        let sql = store::relay::Statements::of(topic::plain(&parts.schema)?);
        let most = AtomicU32::new(parts.options.batch);
        Ok(Self { parts, sql, commands: None, most, sent: Mutex::default() })
    }

    /// Sends the commands of the outbox to `bus`. A relay without one stops at the first, and holds up what is behind it.
    #[must_use]
    pub fn sending(mut self, bus: Arc<dyn CommandBus>) -> Self {
        self.commands = Some(bus);
        self
    }

    /// The loop, for the service to hand back.
    #[must_use]
    pub fn worker(self) -> Worker {
        let (name, relay) = (format!("{}.relay", self.parts.schema), Arc::new(self));
        Worker::new(name, move |stop| {
            let relay = Arc::clone(&relay);
            async move { relay.run(stop).await }
        })
    }

    async fn run(&self, stop: CancellationToken) {
        let mut behind = false;
        loop {
            let pause = match self.serve(&stop).await {
                Ok(()) => {
                    self.sent().commands.clear();
                    // Another leads, and tells.
                    if std::mem::take(&mut behind) {
                        self.parts.metrics.forget_source(&self.parts.schema);
                    }
                    Duration::from_millis(self.parts.options.standby_ms)
                }
                Err(error) => {
                    tracing::warn!(%error, schema = self.parts.schema, "the outbox is not published");
                    self.forget_after(&error);
                    if matches!(error, Error::Timeout) {
                        self.most.fetch_update(Relaxed, Relaxed, |most| Some((most / 2).max(1))).unwrap_or_default();
                    }
                    self.fall_behind().await;
                    behind = true;
                    PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tells how much waits, and for how long.
    async fn fall_behind(&self) {
        let behind = async {
            let mut connection = self.parts.db.acquire().await?;
            answered(store::relay::behind(&mut connection, &self.sql)).await
        };
        if let Ok((events, since)) = behind.await {
            let now = self.parts.clock.now();
            let age = since.map_or(0.0, |since| now.duration_since(since).as_secs_f64().max(0.0));
            self.parts.metrics.depth(&self.parts.schema, events, age);
        }
    }

    /// Leads until `stop`, a failure or another leader; comes back at once while another leads.
    async fn serve(&self, stop: &CancellationToken) -> Result<(), Error> {
        let name = format!("{}.relay", self.parts.schema);
        let Some(mut lease) = Lease::try_take(&self.parts.db, &name).await? else { return Ok(()) };
        if !self.parts.options.relay && self.commands.is_none() {
            let outcome = tokio::select! {
                () = stop.cancelled() => Ok(()),
                outcome = self.only_sweep(&mut lease) => outcome,
            };
            lease.give_up().await;
            return outcome;
        }
        // Listening comes before the first look, so nothing is missed between.
        let mut news = PgListener::connect_with(&self.parts.db).await?;
        news.eager_reconnect(false);
        news.listen(&channel(&self.parts.schema)).await?;
        let mut term = self.begin(lease).await?;
        let outcome = tokio::select! {
            () = stop.cancelled() => Ok(()),
            outcome = self.lead(&mut term, &mut news) => outcome,
        };
        self.parts.metrics.forget_source(&self.parts.schema);
        term.lease.give_up().await;
        outcome
    }

    /// Finds out where to go on: where the last leader was, or further back when the broker has lost what it was told.
    async fn begin(&self, mut lease: Lease) -> Result<Term, Error> {
        answered(store::relay::relax(lease.connection())).await?;
        // Asked every `poll_ms`, but for one answer of the broker.
        let options = &self.parts.options;
        let answer = Duration::from_millis(options.broker_timeout_ms).max(self.parts.bus.patience());
        lease.expire_after(SILENCE + Duration::from_millis(2 * options.poll_ms) + answer).await?;
        let token = self.parts.ids.uuid();
        let place = answered(store::relay::load(lease.connection(), &self.sql)).await?;
        let mut cursor = Cursor::new(place.read_to, place.gaps);
        let known = bus::Mark { batches: place.batches, floor: cursor.floor() };
        let told = match self.parts.options.relay {
            true => self.parts.bus.lead(&self.parts.schema, token).await?,
            false => None,
        };
        let told = told.unwrap_or(known);
        if told.batches < known.batches {
            tracing::warn!(
                schema = self.parts.schema,
                ?told,
                ?known,
                "the broker has lost events, they are published again"
            );
            self.parts.metrics.lost(&self.parts.schema);
            self.sent().commands.clear();
            // The first row that is left, or an open transaction below it: what may still come is above the floor.
            let first = answered(store::relay::first(lease.connection(), &self.sql, told.floor)).await?;
            let left = if first > 0 { known.floor.min(first - 1) } else { known.floor };
            cursor = Cursor::new(told.floor.max(left), Vec::new());
        }
        let now = Instant::now();
        let swept = answered(store::relay::first(lease.connection(), &self.sql, 0)).await?.saturating_sub(1).max(0);
        let mut term = Term {
            lease,
            token,
            recorded: Cursor::default(),
            recorded_at: now,
            cursor,
            batches: told.batches,
            watch: Watch::new(now),
            listening: false,
            early: Vec::new(),
            listens_since: now,
            swept,
            sweep_at: now,
            heard_at: now,
            told_at: now,
        };
        self.listen(&mut term).await?;
        Ok(term)
    }

    async fn lead(&self, term: &mut Term, news: &mut PgListener) -> Result<(), Error> {
        let poll = Duration::from_millis(self.parts.options.poll_ms);
        loop {
            if !term.early.is_empty() {
                let connection = term.lease.connection();
                let among = Some(term.early.as_slice());
                term.early = answered(store::relay::writing(connection, &self.sql, among)).await?;
            }
            let began = Instant::now();
            let found = self.drain(term).await?;
            term.watch.looked(found, began, Instant::now());
            if term.watch.by_itself() && term.listening {
                answered(store::relay::wake(term.lease.connection(), &self.sql, false)).await?;
                (term.listening, term.early) = (false, Vec::new());
            }
            if !term.watch.by_itself() && !term.listening {
                self.listen(term).await?;
                continue;
            }
            let swept = term.sweep_at > Instant::now() || self.sweep(term).await?;
            let wait = match (term.watch.by_itself() || !swept, term.early.is_empty(), term.cursor.gaps().is_empty()) {
                (true, _, _) => watch::STEP,
                (false, false, _) => watch::patience(term.listens_since.elapsed()).min(poll),
                // A transaction that is rolled back says nothing.
                (false, true, false) => poll,
                (false, true, true) => SWEEP,
            };
            self.rest(term, news, wait).await?;
        }
    }

    /// Waits for the commit of a writer, for `wait` at most. The broker is asked meanwhile whether it still knows what it was
    /// told: no publication would find out, and what it has lost it is to be told while the rows are there.
    async fn rest(&self, term: &mut Term, news: &mut PgListener, wait: Duration) -> Result<(), Error> {
        let (until, poll) = (Instant::now() + wait, Duration::from_millis(self.parts.options.poll_ms));
        loop {
            if term.heard_at.elapsed() >= poll {
                self.ask(term).await?;
                // Nothing else would tell that nobody can be heard any more: a way that forgets what is silent says nothing.
                answered(async { news.acquire().await?.ping().await }).await?;
            }
            tokio::select! {
                heard = news.try_recv() => {
                    if heard?.is_none() {
                        // What was said meanwhile nobody heard: from the beginning.
                        return Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into()).into());
                    }
                    while news.next_buffered().is_some() {}
                    return Ok(());
                }
                () = tokio::time::sleep_until(until.min(term.heard_at + poll)) => {}
            }
            if until <= Instant::now() {
                return Ok(());
            }
        }
    }

    /// Asks the broker what it knows, and Postgres whether it still leads.
    async fn ask(&self, term: &mut Term) -> Result<(), Error> {
        if !matches!(tokio::time::timeout(ANSWER, term.lease.held()).await, Ok(true)) {
            return Err(Error::Fenced);
        }
        let told = if self.parts.options.relay { self.parts.bus.known(&self.parts.schema).await? } else { None };
        term.heard_at = Instant::now();
        if told.is_some_and(|told| told.batches < term.batches) { Err(Error::Lost) } else { Ok(()) }
    }

    /// Lets commits wake it from now on, and notes who may not have heard of that.
    async fn listen(&self, term: &mut Term) -> Result<(), Error> {
        self.record(term).await?;
        let connection = term.lease.connection();
        answered(store::relay::wake(connection, &self.sql, true)).await?;
        term.early = answered(store::relay::writing(connection, &self.sql, None)).await?;
        (term.listening, term.listens_since) = (true, Instant::now());
        Ok(())
    }

    /// Publishes what there is, and looks for the next rows while the broker takes the last; true when there was something.
    async fn drain(&self, term: &mut Term) -> Result<bool, Error> {
        let mut seen = self.look(&mut term.lease, &term.cursor).await?;
        let found = !seen.numbers.is_empty();
        loop {
            let mut after = term.cursor.clone();
            after.advance(&seen.numbers, seen.oldest, seen.more);
            let mut next = None;
            if !seen.events.is_empty() {
                let batch = self.batch(term, after.floor(), &seen.events);
                let looking =
                    async { if seen.more { self.look(&mut term.lease, &after).await.map(Some) } else { Ok(None) } };
                let (published, looked) = futures::join!(self.publish(batch), looking);
                published?;
                let most = self.most.load(Relaxed).saturating_mul(2).min(self.parts.options.batch);
                self.most.store(most, Relaxed);
                term.batches += i64::from(self.parts.options.relay);
                term.heard_at = Instant::now();
                next = looked?;
            } else if seen.more {
                // Nothing of it can be sent; what is behind it can.
                next = Some(self.look(&mut term.lease, &after).await?);
            }
            term.cursor = after;
            // Rarely in a rush: what is not recorded is at worst published again.
            let rush = next.is_some() || term.watch.by_itself();
            if term.cursor != term.recorded && (!rush || term.recorded_at.elapsed() >= RECORD) {
                self.record(term).await?;
            }
            self.parts.metrics.relayed(&self.parts.schema, &seen.events, self.parts.clock.now());
            match next {
                Some(next) => seen = next,
                None => break,
            }
            if term.told_at.elapsed() >= TELL {
                self.fall_behind().await;
                term.told_at = Instant::now();
            }
        }
        self.parts.metrics.depth(&self.parts.schema, 0, 0.0);
        Ok(found)
    }

    async fn look(&self, lease: &mut Lease, cursor: &Cursor) -> Result<store::relay::Seen, Error> {
        let most = i64::from(self.most.load(Relaxed));
        let (read_to, gaps) = (cursor.read_to(), cursor.gaps());
        let mut seen = answered(store::relay::look(lease.connection(), &self.sql, read_to, &gaps, most)).await?;
        self.set_aside(lease, &mut seen).await?;
        if self.parts.options.payload == Encoding::Protobuf {
            seen.events = seen.events.into_iter().map(Event::into_protobuf).collect();
        }
        Ok(seen)
    }

    fn batch<'a>(&'a self, term: &Term, floor: i64, events: &'a [crate::Event]) -> bus::Batch<'a> {
        bus::Batch {
            source: &self.parts.schema,
            token: term.token,
            mark: bus::Mark { batches: term.batches + 1, floor },
            now: self.parts.clock.now(),
            events,
        }
    }

    /// Records how far it is.
    async fn record(&self, term: &mut Term) -> Result<(), Error> {
        let connection = term.lease.connection();
        let below = answered(store::relay::mark(connection, &self.sql, &term.cursor, term.batches)).await?;
        term.cursor.bound(below);
        (term.recorded, term.recorded_at) = (term.cursor.clone(), Instant::now());
        Ok(())
    }
}

/// What Postgres answers, in time.
async fn answered<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()).into()),
    }
}

/// The channel that a commit to the outbox of `schema` speaks on; a trigger of the table does.
fn channel(schema: &str) -> String {
    format!("{schema}_outbox")
}
