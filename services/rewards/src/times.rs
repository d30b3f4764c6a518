//! Times as the contract has them.

use jiff::Timestamp;

use crate::Error;

/// As the contract says it.
#[must_use]
pub fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// As the contract said it, in the microseconds that the database keeps.
///
/// # Errors
/// A time out of the calendar.
pub fn parse(field: &str, at: Option<&prost_types::Timestamp>) -> Result<Option<Timestamp>, Error> {
    let Some(at) = at else { return Ok(None) };
    let micros = at.seconds.checked_mul(1_000_000).and_then(|whole| whole.checked_add(i64::from(at.nanos) / 1_000));
    let parsed = micros.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    parsed.map(Some).ok_or_else(|| Error::invalid(field, "must be a time"))
}
