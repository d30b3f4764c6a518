//! Rows whose time is over.

use coreloop_db::lease::Lease;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{Relay, SWEEP, Term, answered};
use crate::{Error, store};

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
        term.sweep_at = Instant::now() + SWEEP;
        Ok(true)
    }
}
