//! Rows whose time is over.

use coreloop_db::lease::Lease;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{Relay, SWEEP, Term, answered};
use crate::{Error, store};

/// Of what the database keeps of an error.
const SHOWN: usize = 2_000;

impl Relay {
    /// Another reads the outbox, out of the WAL (Debezium): commits wake nobody, and rows go when their time is over.
    pub(super) async fn only_sweep(&self, lease: &mut Lease) -> Result<(), Error> {
        answered(store::relay::wake(lease.connection(), &self.sql, false)).await?;
        loop {
            let before = self.swept_before();
            while answered(store::relay::sweep(lease.connection(), &self.sql, (0, i64::MAX), before)).await? > 0 {}
            tokio::time::sleep(SWEEP).await;
        }
    }

    /// Published rows of before this time have been kept long enough.
    fn swept_before(&self) -> Timestamp {
        let keep = SignedDuration::from_secs(self.parts.options.keep_published_secs.cast_signed());
        let now = self.parts.clock.now();
        now.checked_sub(keep).unwrap_or(now)
    }

    /// Sets aside what no broker will ever take, so that what is behind it goes on.
    pub(super) async fn set_aside(&self, lease: &mut Lease, seen: &mut store::relay::Seen) -> Result<(), Error> {
        // Others stay: what is looked for meanwhile may lie behind the batch that they are of.
        for event in seen.events.extract_if(.., |event| self.sent().refused.contains_key(&event.sequence)) {
            let why = self.sent().refused.remove(&event.sequence).unwrap_or_default();
            seen.unsendable.push(store::relay::Unsendable { sequence: event.sequence, why });
        }
        for row in &mut seen.unsendable {
            row.why = row.why.chars().take(SHOWN).collect();
            answered(store::relay::give_up(lease.connection(), &self.sql, row, self.parts.clock.now())).await?;
            let (schema, sequence, why) = (&self.parts.schema, row.sequence, &row.why);
            tracing::error!(schema, sequence, why, reason = "UNSENDABLE", "a row of the outbox is a dead letter");
        }
        Ok(())
    }

    /// Drops rows whose time is over, unless the broker needs them; false when there may be more.
    pub(super) async fn sweep(&self, term: &mut Term) -> Result<bool, Error> {
        self.ask(term).await?;
        let before = self.swept_before();
        let connection = term.lease.connection();
        let range = (term.swept, term.cursor.floor());
        if answered(store::relay::sweep(connection, &self.sql, range, before)).await? > 0 {
            let first = answered(store::relay::first(connection, &self.sql, term.swept)).await?;
            term.swept = if first > 0 { first - 1 } else { term.cursor.floor() };
            return Ok(false);
        }
        if self.commands.is_some() {
            let age = SignedDuration::from_secs(self.parts.options.archive_after_secs.cast_signed());
            let now = self.parts.clock.now();
            let old = now.checked_sub(age).unwrap_or(now);
            answered(store::relay::find_queues(term.lease.connection(), &self.sql)).await?;
            let again = answered(store::relay::take_back(term.lease.connection(), &self.sql, old, now)).await?;
            if again > 0 {
                tracing::info!(schema = self.parts.schema, again, "dead letters of the outbox are sent again");
                return Ok(false);
            }
        }
        term.sweep_at = Instant::now() + SWEEP;
        Ok(true)
    }
}
