//! How long to wait before somebody is asked again.

use std::time::Duration;

use tokio::time::Instant;

use crate::Away;

/// The longest pause that is our own, in doublings of the first.
const DOUBLINGS: u32 = 8;

/// The pauses between questions that fail.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    /// The first; each is twice the one before.
    pub first: Duration,
    /// Questions that may fail.
    pub tries: u32,
}

impl Pauses {
    /// How long to wait after so many failures, the last being `away`: as they say, or longer. None where asking again does not help,
    /// as often as may be was asked, or the time would be up.
    #[must_use]
    pub fn after(&self, away: &Away, failures: u32, until: Instant) -> Option<Duration> {
        if failures >= self.tries || !away.may_pass() {
            return None;
        }
        let own = self.first.saturating_mul(1 << failures.saturating_sub(1).min(DOUBLINGS));
        let asked = if let Away::Busy { after, .. } = away { *after } else { None };
        let pause = asked.unwrap_or_default().max(own);
        (until.saturating_duration_since(Instant::now()) > pause).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    const FIRST: Duration = Duration::from_millis(250);

    #[test]
    fn they_are_asked_again_as_they_say_as_long_as_there_is_time() {
        let pauses = Pauses { first: FIRST, tries: 3 };
        let until = Instant::now() + Duration::from_secs(20);
        let limited = |secs| Away::by_status(StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(secs)));
        assert_eq!(pauses.after(&limited(7), 1, until), Some(Duration::from_secs(7)));
        assert_eq!(pauses.after(&limited(7), 3, until), None, "tries are used up");
        assert_eq!(pauses.after(&limited(21), 1, until), None, "too late");
        assert_eq!(pauses.after(&limited(u64::MAX), 1, until), None, "nonsense is too late, too");
        assert_eq!(pauses.after(&Away::Broken, 2, until), Some(FIRST * 2));
        assert_eq!(pauses.after(&Away::Refused(StatusCode::UNAUTHORIZED), 1, until), None);
        assert_eq!(pauses.after(&Away::LeftAlone, 1, until), None);
    }
}
