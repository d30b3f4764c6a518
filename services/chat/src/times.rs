//! Times and days as the contract and the database have them.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// As the contract says it.
#[must_use]
pub fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// In the microseconds that the database keeps, so that what is answered first is what is answered later.
#[must_use]
pub fn micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// The day of a time, in UTC.
#[must_use]
pub fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_utc() {
        let late: Timestamp = "2026-11-22T23:59:59.9999999Z".parse().unwrap();
        assert_eq!(day_of(late).to_string(), "2026-11-22");
        assert_eq!(micros(late).subsec_nanosecond(), 999_999_000);
    }
}
