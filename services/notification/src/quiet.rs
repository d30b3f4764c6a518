//! Quiet hours: a part of each day, where somebody is, in which nothing is pushed. Pure; the clock is the caller's.

use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};

/// Minutes of a day.
const DAY: i16 = 24 * 60;

/// Quiet hours of each day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiet {
    /// Minute of the day from which on it is quiet.
    pub start: i16,
    /// Minute of the day from which on it is not; before `start`: of the next day.
    pub end: i16,
    /// Name of the time zone, as `Asia/Seoul`.
    pub zone: String,
}

impl Quiet {
    /// When the quiet hours that are now are over; none where it is not quiet. A zone that this machine does not know is that of UTC:
    /// a push at a wrong hour is better than none.
    #[must_use]
    pub fn over(&self, now: Timestamp) -> Option<Timestamp> {
        let zone = TimeZone::get(&self.zone).unwrap_or(TimeZone::UTC);
        let here = now.to_zoned(zone);
        let minute = i16::from(here.hour()) * 60 + i16::from(here.minute());
        let over_night = self.end < self.start;
        let quiet = if over_night {
            minute >= self.start || minute < self.end
        } else {
            (self.start..self.end).contains(&minute)
        };
        if !quiet {
            return None;
        }
        let soonest = now.saturating_add(SignedDuration::from_secs(1)).unwrap_or(now);
        Some(self.end_after(&here, over_night && minute >= self.start).unwrap_or(soonest).max(soonest))
    }

    fn end_after(&self, here: &Zoned, tomorrow: bool) -> Option<Timestamp> {
        let date = if tomorrow { here.date().tomorrow().ok()? } else { here.date() };
        let (hour, minute) = (i8::try_from(self.end / 60).ok()?, i8::try_from(self.end % 60).ok()?);
        let end = here.time_zone().to_ambiguous_zoned(date.at(hour, minute, 0, 0));
        let first = end.clone().compatible().ok()?.timestamp();
        // Where clocks are set back it comes twice, and the first may be over.
        if first > here.timestamp() { Some(first) } else { Some(end.later().ok()?.timestamp()) }
    }
}

/// The minute of the day of `22:30`; none for what is none.
#[must_use]
pub fn minute_of(text: &str) -> Option<i16> {
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i16>().ok().filter(|_| digits)
    };
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (number(hour)?, number(minute)?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// A minute of the day, as `22:30`.
#[must_use]
pub fn text_of(minute: i16) -> String {
    let minute = minute.rem_euclid(DAY);
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quiet(start: &str, end: &str, zone: &str) -> Quiet {
        Quiet { start: minute_of(start).unwrap(), end: minute_of(end).unwrap(), zone: zone.to_owned() }
    }

    fn over(quiet: &Quiet, now: &str) -> Option<String> {
        quiet.over(now.parse().unwrap()).map(|at| at.to_string())
    }

    #[test]
    fn a_night_ends_in_the_morning_where_one_is() {
        let seoul = quiet("22:00", "07:30", "Asia/Seoul");
        // 21:59, 22:00, 23:59, 00:00, 07:29 and 07:30 in Seoul.
        assert_eq!(over(&seoul, "2026-11-22T12:59:59Z"), None);
        for now in ["2026-11-22T13:00:00Z", "2026-11-22T14:59:00Z", "2026-11-22T15:00:00Z", "2026-11-22T22:29:59Z"] {
            assert_eq!(over(&seoul, now).as_deref(), Some("2026-11-22T22:30:00Z"), "{now}");
        }
        assert_eq!(over(&seoul, "2026-11-22T22:30:00Z"), None);
        let noon = quiet("12:00", "13:00", "UTC");
        assert_eq!(over(&noon, "2026-11-22T12:30:00Z").as_deref(), Some("2026-11-22T13:00:00Z"));
        assert_eq!(over(&noon, "2026-11-22T13:00:00Z"), None);
    }

    #[test]
    fn an_hour_that_a_zone_leaves_out_or_has_twice_ends_once() {
        // New York springs from 02:00 to 03:00 on 8 March 2026, and falls from 02:00 to 01:00 on 1 November.
        let spring = quiet("22:00", "02:30", "America/New_York");
        assert_eq!(over(&spring, "2026-03-08T06:00:00Z").as_deref(), Some("2026-03-08T07:30:00Z"));
        let autumn = quiet("22:00", "01:30", "America/New_York");
        assert_eq!(over(&autumn, "2026-11-01T05:00:00Z").as_deref(), Some("2026-11-01T05:30:00Z"));
        // 01:10 for the second time.
        assert_eq!(over(&autumn, "2026-11-01T06:10:00Z").as_deref(), Some("2026-11-01T06:30:00Z"));
    }

    #[test]
    fn minutes_are_told_as_they_are_read() {
        for text in ["00:00", "07:05", "23:59"] {
            assert_eq!(text_of(minute_of(text).unwrap()), text);
        }
        for none in ["", "24:00", "12:60", "7:30", "12:3", "ab:cd", "-1:00", "+1:30", "12:30:00"] {
            assert_eq!(minute_of(none), None, "{none}");
        }
    }

    proptest! {
        /// Whatever the hours: the end is later than now, within a day or the hour that clocks are set by, and then it is quiet no more
        /// (where clocks do not move).
        #[test]
        fn what_waits_waits_for_an_end_that_comes(start in 0..DAY, end in 0..DAY, second in 0_i64..2_000_000_000) {
            prop_assume!(start != end);
            let (quiet, now) = (Quiet { start, end, zone: "Asia/Seoul".to_owned() }, Timestamp::from_second(second).unwrap());
            if let Some(over) = quiet.over(now) {
                prop_assert!(over > now);
                prop_assert!(over.duration_since(now) <= SignedDuration::from_hours(25));
            }
        }
    }
}
