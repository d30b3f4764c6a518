//! Times and days as the contract has them.

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
