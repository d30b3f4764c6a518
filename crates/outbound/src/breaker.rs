//! A party that goes on failing is left alone for a while.
//!
//! After so many failures in a row nobody asks until some time has passed; then one does, and its answer decides for all. What that
//! one is told is not waited for: when nothing is heard of it, another may after the same time.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Whether a party may be asked.
#[derive(Debug)]
pub struct Breaker {
    failures: u32,
    pause: Duration,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// In a row.
    failures: u32,
    /// Nobody asks until then.
    until: Option<Instant>,
}

impl Breaker {
    /// Opens after so many failures in a row, for so long.
    #[must_use]
    pub fn new(failures: u32, pause: Duration) -> Self {
        Self { failures, pause, seen: Mutex::default() }
    }

    /// Whether it may be asked now; who is told so says what came of it.
    pub fn admits(&self, now: Instant) -> bool {
        let mut seen = self.seen();
        match seen.until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                seen.until = Some(now + self.pause);
                true
            }
        }
    }

    /// It answered.
    pub fn succeeded(&self) {
        *self.seen() = Seen::default();
    }

    /// It did not.
    pub fn failed(&self, now: Instant) {
        let mut seen = self.seen();
        seen.failures = seen.failures.saturating_add(1);
        if seen.failures >= self.failures {
            seen.until = Some(now + self.pause);
        }
    }

    /// Nobody may ask but to try.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.seen().until.is_some()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_with_a_success() {
        let (breaker, now) = (Breaker::new(2, PAUSE), Instant::now());
        breaker.failed(now);
        breaker.succeeded();
        breaker.failed(now);
        assert!(breaker.admits(now) && !breaker.is_open());
        breaker.failed(now);
        assert!(!breaker.admits(now) && breaker.is_open());
        assert!(!breaker.admits(now + PAUSE - Duration::from_millis(1)));
        // One tries, the others wait for what it says.
        let later = now + PAUSE;
        assert!(breaker.admits(later) && !breaker.admits(later));
        breaker.failed(later);
        assert!(!breaker.admits(later + PAUSE - Duration::from_millis(1)));
        assert!(breaker.admits(later + PAUSE));
        breaker.succeeded();
        assert!(breaker.admits(later + PAUSE) && breaker.admits(later + PAUSE));
    }

    #[test]
    fn one_of_whom_nothing_is_heard_blocks_nobody_for_ever() {
        let (breaker, now) = (Breaker::new(1, PAUSE), Instant::now());
        breaker.failed(now);
        assert!(breaker.admits(now + PAUSE));
        assert!(!breaker.admits(now + PAUSE + Duration::from_secs(1)));
        assert!(breaker.admits(now + PAUSE + PAUSE));
    }
}
