//! The relay: from the outbox to the bus.
//!
//! One replica leads, by a lease whose connection also records how far it is: a leader that has lost its lease can record
//! nothing, and the broker takes nothing from one that was replaced. It sleeps until the commit of a writer wakes it
//! (NOTIFY), looks slowly besides, and is never held up by an open transaction (see [`cursor`]). A row counts as published
//! when the broker said so; a crash between that and the record publishes it again, which consumers do not feel.
//! Published rows stay for an hour, so that a broker which lost its data is told again.

pub(crate) mod cursor;

use std::{sync::Arc, time::Duration};

use coreloop_core::{Clock, Ids};
use coreloop_db::lease::Lease;
use coreloop_service::Worker;
use jiff::SignedDuration;
use sqlx::{PgPool, postgres::PgListener};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::cursor::Cursor;
use crate::{Error, Metrics, Options, bus, store, topic};

/// Between two sweeps of published rows.
const SWEEP: Duration = Duration::from_secs(60);
/// After a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// What relay and consumers of a service share.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The service's schema.
    pub schema: String,
    /// Its pool.
    pub db: PgPool,
    /// The bus.
    pub bus: Arc<dyn bus::Bus>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Settings.
    pub options: Arc<Options>,
    /// Metrics.
    pub metrics: Metrics,
}

/// The relay of one service's outbox.
#[derive(Debug)]
pub struct Relay {
    parts: Parts,
    sql: store::relay::Statements,
}

/// What a leader knows.
struct Term {
    lease: Lease,
    token: Uuid,
    cursor: Cursor,
    /// Batches that the broker knows of.
    batches: i64,
    /// Rows up to here were swept.
    swept: i64,
    sweep_at: Instant,
}

impl Relay {
    /// The relay of the outbox in the schema of `parts`.
    ///
    /// # Errors
    /// A schema that is no plain identifier.
    pub fn new(parts: Parts) -> Result<Self, Error> {
        let sql = store::relay::Statements::of(topic::plain(&parts.schema)?);
        Ok(Self { parts, sql })
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
        loop {
            let pause = match self.serve(&stop).await {
                Ok(()) => Duration::from_millis(self.parts.options.standby_ms),
                Err(error) => {
                    tracing::warn!(%error, schema = self.parts.schema, "the outbox is not published");
                    PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Leads until `stop`, a failure or another leader; comes back at once while another leads.
    async fn serve(&self, stop: &CancellationToken) -> Result<(), Error> {
        let name = format!("{}.relay", self.parts.schema);
        let Some(lease) = Lease::try_take(&self.parts.db, &name).await? else { return Ok(()) };
        // Listening comes before the first look, so nothing is missed between.
        let mut news = PgListener::connect_with(&self.parts.db).await?;
        news.listen(&channel(&self.parts.schema)).await?;
        let mut term = self.begin(lease).await?;
        let outcome = tokio::select! {
            () = stop.cancelled() => Ok(()),
            outcome = self.lead(&mut term, &mut news) => outcome,
        };
        term.lease.give_up().await;
        outcome
    }

    /// Finds out where to go on: where the last leader was, or further back when the broker has lost what it was told.
    async fn begin(&self, mut lease: Lease) -> Result<Term, Error> {
        let token = self.parts.ids.uuid();
        let place = store::relay::load(lease.connection(), &self.sql).await?;
        let mut cursor = Cursor::new(place.read_to, place.gaps);
        let known = bus::Mark { batches: place.batches, floor: cursor.floor() };
        let told = self.parts.bus.lead(&self.parts.schema, token).await?.unwrap_or(known);
        if told.batches < known.batches {
            tracing::warn!(
                schema = self.parts.schema,
                ?told,
                ?known,
                "the broker has lost events, they are published again"
            );
            self.parts.metrics.lost(&self.parts.schema);
            let first = store::relay::first(lease.connection(), &self.sql, told.floor).await?;
            cursor = Cursor::new(told.floor.max(first - 1), Vec::new());
        }
        let below = store::relay::mark(lease.connection(), &self.sql, &cursor, told.batches).await?;
        cursor.bound(below);
        let swept = store::relay::first(lease.connection(), &self.sql, 0).await?.saturating_sub(1).max(0);
        Ok(Term { lease, token, cursor, batches: told.batches, swept, sweep_at: Instant::now() })
    }

    async fn lead(&self, term: &mut Term, news: &mut PgListener) -> Result<(), Error> {
        let poll = Duration::from_millis(self.parts.options.poll_ms);
        loop {
            while self.pass(term).await? {}
            if term.sweep_at <= Instant::now() {
                self.sweep(term).await?;
            }
            tokio::select! {
                heard = news.try_recv() => {
                    // None: the connection was lost and is back; what was said meanwhile is found by looking.
                    heard?;
                    while news.next_buffered().is_some() {}
                }
                () = tokio::time::sleep(poll) => {}
            }
        }
    }

    /// One look and what it brings; true when there may be more.
    async fn pass(&self, term: &mut Term) -> Result<bool, Error> {
        let most = i64::from(self.parts.options.batch);
        let gaps = term.cursor.gaps();
        let connection = term.lease.connection();
        let seen = store::relay::look(connection, &self.sql, term.cursor.read_to(), &gaps, most).await?;
        let full = i64::try_from(seen.events.len()).unwrap_or(i64::MAX) >= most;
        let numbers: Vec<i64> = seen.events.iter().map(|event| event.sequence).collect();
        let mut after = term.cursor.clone();
        after.advance(&numbers, seen.oldest, full);
        if !seen.events.is_empty() {
            self.publish(term, after.floor(), &seen.events).await?;
        }
        if after != term.cursor {
            let connection = term.lease.connection();
            let below = store::relay::mark(connection, &self.sql, &after, term.batches).await?;
            after.bound(below);
            term.cursor = after;
        }
        self.parts.metrics.relayed(&self.parts.schema, &seen.events, self.parts.clock.now());
        Ok(full)
    }

    async fn publish(&self, term: &mut Term, floor: i64, events: &[crate::Event]) -> Result<(), Error> {
        let batch = bus::Batch {
            source: &self.parts.schema,
            token: term.token,
            mark: bus::Mark { batches: term.batches + 1, floor },
            now: self.parts.clock.now(),
            events,
        };
        self.parts.bus.publish(batch).await?;
        term.batches += 1;
        Ok(())
    }

    async fn sweep(&self, term: &mut Term) -> Result<(), Error> {
        let keep = SignedDuration::from_secs(self.parts.options.keep_published_secs.cast_signed());
        let now = self.parts.clock.now();
        let before = now.checked_sub(keep).unwrap_or(now);
        let connection = term.lease.connection();
        let range = (term.swept, term.cursor.floor());
        if store::relay::sweep(connection, &self.sql, range, before).await? > 0 {
            let first = store::relay::first(connection, &self.sql, term.swept).await?;
            term.swept = if first > 0 { first - 1 } else { term.cursor.floor() };
            // There may be more.
            return Ok(());
        }
        term.sweep_at = Instant::now() + SWEEP;
        Ok(())
    }
}

/// The channel that a commit to the outbox of `schema` speaks on; a trigger of the table does.
fn channel(schema: &str) -> String {
    format!("{schema}_outbox")
}
