//! What is held and due: which keys are to be looked at, and when to look again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{Consumer, until};
use crate::{Error, metrics::Held, store};

/// Between two looks while nothing is held, and between two sweeps of what was acted on long ago.
pub(super) const SWEEP: Duration = Duration::from_secs(60);
/// Keys that are looked at together when their time has come, and the pause before the next as many.
const DUE: usize = 1_024;
const DUE_PAUSE: Duration = Duration::from_millis(500);

impl Consumer {
    /// The keys whose time has come, and when to look again: soon while anything is held, for it may be due or be asked
    /// for; rarely while nothing is.
    pub(super) async fn look_for_due(&self, sweep: bool) -> (Vec<String>, Instant) {
        let poll = Duration::from_millis(self.parts.options.poll_ms);
        match self.due(sweep).await {
            Ok((held, keys)) => {
                let now = self.parts.clock.now();
                let quiet = held.alive == 0 && held.dead == 0;
                let mut next = if quiet { SWEEP } else { poll };
                if keys.len() >= DUE {
                    next = DUE_PAUSE;
                }
                let mut due_keys = Vec::new();
                for (key, due) in keys {
                    if due <= now {
                        due_keys.push(key);
                    } else {
                        next = next.min(until(now, due));
                    }
                }
                (due_keys, Instant::now() + next)
            }
            Err(error) => {
                tracing::warn!(%error, consumer = self.name, "held events could not be looked after");
                (Vec::new(), Instant::now() + poll)
            }
        }
    }

    async fn due(&self, sweep: bool) -> Result<(Held, Vec<(String, Timestamp)>), Error> {
        let mut connection = self.parts.db.acquire().await?;
        let now = self.parts.clock.now();
        if sweep {
            while store::inbox::sweep(&mut connection, &self.sql, now).await? > 0 {}
        }
        let held = store::inbox::count(&mut connection, &self.sql, &self.name).await?;
        self.parts.metrics.held(&self.name, held);
        if held.dead > 0 {
            let age = SignedDuration::from_secs(self.parts.options.archive_after_secs.cast_signed());
            store::inbox::archive(&mut connection, &self.sql, &self.name, now.checked_sub(age).unwrap_or(now)).await?;
        }
        let due = match held.alive {
            0 => Vec::new(),
            _ => store::inbox::due(&mut connection, &self.sql, &self.name, DUE as i64).await?,
        };
        Ok((held, due))
    }
}
