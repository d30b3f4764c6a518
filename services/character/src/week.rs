//! Weeks of the ranking: ISO weeks in Korean time.

use jiff::{
    SignedDuration, Timestamp,
    tz::{Offset, TimeZone},
};

/// Hours that Korea is ahead of UTC; it has had no summer time since 1988.
const KOREA: i8 = 9;

/// Weeks whose rankings are kept, that which runs among them.
pub const RANKED: i64 = 10;

/// The oldest week whose ranking is kept.
#[must_use]
pub fn oldest(now: Timestamp) -> String {
    of(before(now, RANKED - 1))
}

/// Every week whose ranking is kept, and the next: somebody's clock may be ahead.
#[must_use]
pub fn ranked(now: Timestamp) -> Vec<String> {
    (-1..RANKED).map(|weeks| of(before(now, weeks))).collect()
}

fn before(now: Timestamp, weeks: i64) -> Timestamp {
    now.saturating_sub(SignedDuration::from_hours(weeks * 7 * 24)).unwrap_or(now)
}

/// The week of a time, as `2026-W47`; such names are in the order of their weeks.
#[must_use]
pub fn of(at: Timestamp) -> String {
    let week = at.to_zoned(TimeZone::fixed(Offset::constant(KOREA))).date().iso_week_date();
    format!("{:04}-W{:02}", week.year(), week.week())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn week(text: &str) -> String {
        of(text.parse().unwrap())
    }

    #[test]
    fn a_week_begins_on_monday_at_midnight_in_korea() {
        // 2026-11-23 is a Monday.
        assert_eq!(week("2026-11-22T14:59:59.999999Z"), "2026-W47");
        assert_eq!(week("2026-11-22T15:00:00Z"), "2026-W48");
    }

    #[test]
    fn a_year_begins_with_the_week_of_its_first_thursday() {
        assert_eq!(week("2026-12-31T00:00:00Z"), "2026-W53");
        assert_eq!(week("2027-01-03T14:59:59Z"), "2026-W53");
        assert_eq!(week("2027-01-03T15:00:00Z"), "2027-W01");
        assert_eq!(week("2024-12-30T00:00:00Z"), "2025-W01");
    }

    #[test]
    fn the_weeks_that_are_ranked_follow_each_other() {
        let now = "2027-01-10T00:00:00Z".parse().unwrap();
        let weeks = ranked(now);
        assert_eq!((weeks.len(), oldest(now).as_str()), (11, "2026-W45"));
        assert_eq!(weeks[..4], ["2027-W02", "2027-W01", "2026-W53", "2026-W52"]);
        assert_eq!(weeks.last(), Some(&oldest(now)));
    }
}
