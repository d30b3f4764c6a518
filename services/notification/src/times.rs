//! Times as the contract has them.

use jiff::Timestamp;

use crate::Error;

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

/// As the contract said it; none where it said none.
///
/// # Errors
/// What is no time.
pub fn parse(field: &str, at: Option<&prost_types::Timestamp>) -> Result<Option<Timestamp>, Error> {
    let Some(at) = at else { return Ok(None) };
    let parsed = Some(at).filter(|at| (0..1_000_000_000).contains(&at.nanos));
    let parsed = parsed.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok());
    parsed.map(Some).ok_or_else(|| Error::invalid(field, "must be a time"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_is_refused() {
        let said = |seconds, nanos| parse("t", Some(&prost_types::Timestamp { seconds, nanos }));
        let at: Timestamp = "2026-11-22T03:04:05.5Z".parse().unwrap();
        assert_eq!(said(at.as_second(), 500_000_000).unwrap(), Some(at));
        assert_eq!(parse("t", None).unwrap(), None);
        assert!(said(0, -1).is_err() && said(0, 1_000_000_000).is_err() && said(i64::MAX, 0).is_err());
    }
}
