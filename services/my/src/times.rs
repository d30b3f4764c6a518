//! Times and days as contracts and tables have them.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// The day that days are counted from.
const FIRST: Date = Date::constant(1970, 1, 1);

/// As the contract says it.
#[must_use]
pub fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// The time of microseconds since 1970.
#[must_use]
pub fn from_micros(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What a fact says, in the microseconds that the database keeps; none when it says no time.
#[must_use]
pub fn of_fact(at: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    let at = at.filter(|at| (0..1_000_000_000).contains(&at.nanos))?;
    let micros = at.seconds.checked_mul(1_000_000)?.checked_add(i64::from(at.nanos) / 1_000)?;
    Timestamp::from_microsecond(micros).ok()
}

/// Number of the day (UTC) of a time.
#[must_use]
pub fn day_of(at: Timestamp) -> i32 {
    number(at.to_zoned(TimeZone::UTC).date())
}

/// Number of a day, as `2026-11-22`; none when it is none.
#[must_use]
pub fn parse_day(text: &str) -> Option<i32> {
    // Ten characters: the parser understands more than days.
    text.parse().ok().filter(|_| text.len() == 10).map(number)
}

/// A day by its number, as `2026-11-22`.
#[must_use]
pub fn day_text(day: i32) -> String {
    FIRST.saturating_add(jiff::Span::new().days(day.clamp(-719_528, 2_932_896))).to_string()
}

fn number(day: Date) -> i32 {
    i32::try_from(day.duration_since(FIRST).as_hours().div_euclid(24)).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn days_follow_each_other_and_come_back_as_they_were() {
        assert_eq!(
            (parse_day("1970-01-01"), parse_day("1970-01-02"), parse_day("1969-12-31")),
            (Some(0), Some(1), Some(-1))
        );
        assert_eq!(parse_day("2026-03-01").unwrap() - parse_day("2026-02-28").unwrap(), 1);
        for text in ["2026-11-22", "1970-01-01", "1969-12-31", "2400-02-29"] {
            assert_eq!(day_text(parse_day(text).unwrap()), text);
        }
        for none in ["", "2026-02-30", "yesterday", "2026-11-22T00:00:00Z", "20261122", "2026-11-22[UTC]"] {
            assert_eq!(parse_day(none), None, "{none}");
        }
    }

    #[test]
    fn a_day_is_of_utc() {
        let at = |text: &str| day_text(day_of(text.parse().unwrap()));
        assert_eq!(at("2026-11-22T23:59:59.999999Z"), "2026-11-22");
        assert_eq!(at("2026-11-23T00:00:00Z"), "2026-11-23");
        assert_eq!(at("2026-11-23T08:59:59+09:00"), "2026-11-22");
    }

    #[test]
    fn a_fact_without_a_time_has_none() {
        let at = |seconds, nanos| of_fact(Some(&prost_types::Timestamp { seconds, nanos }));
        assert_eq!(at(1, 2_003), Timestamp::from_microsecond(1_000_002).ok());
        assert_eq!((of_fact(None), at(0, -1), at(0, 1_000_000_000), at(i64::MAX, 0)), (None, None, None, None));
    }
}
