//! Whether commits wake the relay or it looks by itself: a pure rule.
//!
//! A commit that notifies takes a lock of the whole server and holds it until it is on disk, so such commits do not share a
//! write and come one after another, whatever they are about. That costs nothing while events are rare. While they come
//! one upon another the relay looks by itself instead, as a network card that is busy is polled, and the trigger of the
//! outbox, which reads that in the sequence `outbox_listening`, says nothing. When nothing came for a while it is woken again, and
//! asks nothing until then.

use std::time::Duration;

use tokio::time::Instant;

/// Between two looks of a relay that looks by itself.
pub(super) const STEP: Duration = Duration::from_millis(3);
/// Events that are found by a look which begins within this time after those before were seen to come one upon another. How
/// long that took does not count: on a slow machine, too, a rush is one.
const CLOSE: Duration = Duration::from_millis(20);
/// So many times in a row make a rush.
const RUSH: u32 = 8;
/// A rush is over when nothing has come for this long.
const QUIET: Duration = Duration::from_millis(100);

/// What the last looks brought.
#[derive(Debug)]
pub(super) struct Watch {
    found_at: Instant,
    in_a_row: u32,
    by_itself: bool,
}

impl Watch {
    /// Woken by commits.
    pub(super) fn new(now: Instant) -> Self {
        Self { found_at: now, in_a_row: 0, by_itself: false }
    }

    /// It looks by itself.
    pub(super) fn by_itself(&self) -> bool {
        self.by_itself
    }

    /// Takes in what a look brought that began at `began`, and was seen to by `now`.
    pub(super) fn looked(&mut self, found: bool, began: Instant, now: Instant) {
        let since = now.duration_since(self.found_at);
        if found {
            self.in_a_row = if began.duration_since(self.found_at) <= CLOSE { self.in_a_row + 1 } else { 0 };
            self.by_itself |= self.in_a_row >= RUSH;
            self.found_at = now;
        } else if self.by_itself && since > QUIET {
            (self.by_itself, self.in_a_row) = (false, 0);
        }
    }
}

/// How long a relay that listens waits before it looks after transactions that had written before it did: a tenth of the
/// time that they are open by now, so their events come a tenth late at most.
pub(super) fn patience(open: Duration) -> Duration {
    (open / 10).max(Duration::from_millis(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_by_itself_in_a_rush_and_until_that_is_over() {
        let mut now = Instant::now();
        let mut watch = Watch::new(now);
        let mut after = |watch: &mut Watch, millis: u64, found: bool| {
            now += Duration::from_millis(millis);
            watch.looked(found, now - Duration::from_millis(millis / 2), now);
            watch.by_itself()
        };
        // Every second an event: commits wake it.
        assert!((0..100).all(|_| !after(&mut watch, 1_000, true)));
        assert!((1..RUSH).all(|_| !after(&mut watch, 5, true)));
        assert!(after(&mut watch, 5, true));
        // Between events it looks in vain; that alone ends nothing.
        assert!((0..200).all(|at| after(&mut watch, 3, at % 10 == 0)));
        assert!((0..20).all(|_| after(&mut watch, 3, false)));
        assert!(!after(&mut watch, 100, false));
        assert!(!after(&mut watch, 1, true), "one event is no rush");
        // One look upon another, each of which takes long.
        assert!((0..RUSH).any(|_| after(&mut watch, 39, true)));
    }

    #[test]
    fn patience_grows_with_the_time_a_transaction_is_open() {
        assert_eq!(patience(Duration::ZERO), Duration::from_millis(2));
        assert_eq!(patience(Duration::from_secs(5)), Duration::from_millis(500));
    }
}
