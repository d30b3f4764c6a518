//! Times as the contract, the rules and Postgres write them.

use jiff::Timestamp;

use crate::Error;

/// As the contract writes it.
#[must_use]
pub fn proto(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// The first second of the calendar of the contract.
const FIRST: i64 = -62_135_596_800;

/// Refuses what is no time of the contract.
///
/// # Errors
/// `VALIDATION_FAILED`, with the field.
pub fn check(field: &str, at: Option<&prost_types::Timestamp>) -> Result<(), Error> {
    let is_time = |at: &prost_types::Timestamp| {
        at.seconds >= FIRST && (0..1_000_000_000).contains(&at.nanos) && Timestamp::new(at.seconds, at.nanos).is_ok()
    };
    if at.is_none_or(is_time) { Ok(()) } else { Err(Error::invalid(field, "must be a time")) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_is_refused() {
        for (seconds, nanos, good) in [
            (0, 0, true),
            (FIRST, 0, true),
            (1_763_800_000, 999_999_999, true),
            (FIRST - 1, 0, false),
            (i64::MAX, 0, false),
            (i64::MIN, 0, false),
            (253_402_300_800, 0, false),
            (0, -1, false),
            (0, 1_000_000_000, false),
        ] {
            let checked = check("at", Some(&prost_types::Timestamp { seconds, nanos }));
            assert_eq!(checked.is_ok(), good, "{seconds} {nanos}");
        }
        assert!(check("at", None).is_ok());
    }
}
