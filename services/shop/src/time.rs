//! Times as the contract, the rules and Postgres write them.

use jiff::Timestamp;

/// As the contract writes it.
#[must_use]
pub fn proto(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// As the rules read it; what cannot be a time is the end of all of them.
#[must_use]
pub fn read(at: &prost_types::Timestamp) -> Timestamp {
    Timestamp::new(at.seconds, at.nanos).unwrap_or(Timestamp::MAX)
}

/// Whether `now` is in a window; ends that are absent are open.
#[must_use]
pub fn within(now: Timestamp, from: Option<&prost_types::Timestamp>, to: Option<&prost_types::Timestamp>) -> bool {
    from.is_none_or(|from| read(from) <= now) && to.is_none_or(|to| now < read(to))
}

/// Later by so many seconds.
#[must_use]
pub fn later(at: Timestamp, secs: u32) -> Timestamp {
    at.saturating_add(jiff::SignedDuration::from_secs(secs.into())).unwrap_or(Timestamp::MAX)
}
