//! Times and days as the contract has them.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::Error;

/// As the contract says it.
#[must_use]
pub fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// As a fact says it; none where it says none that there can be.
#[must_use]
pub fn of_fact(at: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    let at = at?;
    Timestamp::new(at.seconds, at.nanos).ok()
}

/// The day of a time, in UTC.
#[must_use]
pub fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// A day as the contract said it; none where it said none.
///
/// # Errors
/// What is no day.
pub fn parse_day(field: &str, text: &str) -> Result<Option<Date>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Error::invalid(field, "must be a day, as 2026-11-22"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_utc() {
        let late: Timestamp = "2026-11-22T23:59:59.9Z".parse().unwrap();
        assert_eq!(day_of(late).to_string(), "2026-11-22");
        assert_eq!(parse_day("d", "2026-02-28").unwrap().map(|day| day.to_string()).as_deref(), Some("2026-02-28"));
        assert_eq!(parse_day("d", "").unwrap(), None);
        assert!(parse_day("d", "2026-02-30").is_err());
    }
}
