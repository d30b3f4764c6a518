//! Times as the contract has them.

use jiff::Timestamp;

use crate::Error;

/// The first second of the calendar of the contract.
const FIRST: i64 = -62_135_596_800;

/// As the contract says it.
#[must_use]
pub fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// Microseconds since 1970 as the contract says them.
#[must_use]
pub fn proto_micros(micros: i64) -> prost_types::Timestamp {
    proto_time(from_micros(micros))
}

/// The time of microseconds since 1970.
#[must_use]
pub fn from_micros(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What a fact says, in microseconds since 1970: what the database keeps.
#[must_use]
pub fn micros(at: &prost_types::Timestamp) -> i64 {
    at.seconds.saturating_mul(1_000_000).saturating_add(i64::from(at.nanos) / 1_000)
}

/// As the contract said it, in the microseconds that the database keeps.
///
/// # Errors
/// A time out of the calendar, nanoseconds that are none.
pub fn parse(field: &str, at: Option<&prost_types::Timestamp>) -> Result<Option<Timestamp>, Error> {
    let Some(at) = at else { return Ok(None) };
    let is_one = at.seconds >= FIRST && (0..1_000_000_000).contains(&at.nanos);
    let micros = at.seconds.checked_mul(1_000_000).and_then(|whole| whole.checked_add(i64::from(at.nanos) / 1_000));
    let parsed = micros.filter(|_| is_one).and_then(|micros| Timestamp::from_microsecond(micros).ok());
    parsed.map(Some).ok_or_else(|| Error::invalid(field, "must be a time"))
}
