//! When a shop is open, as it is written down: `1-5 10:00-20:00;6 11:00-14:00,15:00-18:00`.
//!
//! Days are 1 (Monday) to 7 in Korea, whose clocks never change; a day that is not named is closed. What ends before it begins ends on
//! the next day, and `24:00` is the end of one. Empty means that nobody knows.

use coreloop_location_api::v1::{OpenState, OpeningHours};
use jiff::{
    Timestamp,
    tz::{Offset, TimeZone},
};

/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// Korea: nine hours before UTC, all year.
pub const KOREA: Offset = jiff::tz::offset(9);

/// From when to when, in minutes of a day.
type Span = (u16, u16);

/// A week.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hours {
    days: [Vec<Span>; 7],
}

impl Hours {
    /// Reads what is written down; none where it is empty or makes no sense.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut hours = Self::default();
        for part in text.split(';') {
            let (days, spans) = part.trim().split_once(' ')?;
            let (first, last) = days.split_once('-').unwrap_or((days, days));
            let (first, last) = (day(first)?, day(last)?);
            let spans: Vec<Span> = spans.split(',').map(span).collect::<Option<_>>()?;
            let days = hours.days.get_mut(first..=last)?;
            // A day has its hours once.
            if days.is_empty() || days.iter().any(|day| !day.is_empty()) {
                return None;
            }
            days.fill(spans);
        }
        Some(hours)
    }

    /// Whether it is open at a time.
    #[must_use]
    pub fn is_open(&self, at: Timestamp) -> bool {
        let there = at.to_zoned(TimeZone::fixed(KOREA));
        let today = usize::try_from(there.weekday().to_monday_zero_offset()).unwrap_or_default();
        let minute = u16::try_from(i32::from(there.hour()) * 60 + i32::from(there.minute())).unwrap_or_default();
        let of = |day: usize| self.days.get(day % 7).into_iter().flatten();
        let begun = of(today).any(|(opens, closes)| *opens <= minute && (minute < *closes || closes < opens));
        begun || of(today + 6).any(|(opens, closes)| closes < opens && minute < *closes)
    }

    /// As the contract says it.
    #[must_use]
    pub fn told(&self) -> Vec<OpeningHours> {
        let days = (1..).zip(&self.days);
        let spans = days.flat_map(|(weekday, spans)| spans.iter().map(move |(opens, closes)| (weekday, opens, closes)));
        spans
            .map(|(weekday, opens, closes)| OpeningHours { weekday, opens: clock(*opens), closes: clock(*closes) })
            .collect()
    }
}

/// Whether a shop whose hours are written down so is open at a time.
#[must_use]
pub fn state(text: &str, at: Timestamp) -> OpenState {
    match Hours::parse(text) {
        None => OpenState::Unknown,
        Some(hours) if hours.is_open(at) => OpenState::Open,
        Some(_) => OpenState::Closed,
    }
}

fn day(text: &str) -> Option<usize> {
    let day: usize = text.parse().ok()?;
    (1..=7).contains(&day).then(|| day - 1)
}

fn span(text: &str) -> Option<Span> {
    let (opens, closes) = text.split_once('-')?;
    let (opens, closes) = (minutes(opens)?, minutes(closes)?);
    (opens != closes && opens < DAY).then_some((opens, closes))
}

fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !two(hour) || !two(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (minute < 60 && hour * 60 + minute <= DAY).then_some(hour * 60 + minute)
}

fn clock(minutes: u16) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time of the week of 16 November 2026, a Monday, in Korea.
    fn at(text: &str) -> Timestamp {
        format!("{text}+09:00").parse().unwrap()
    }

    #[test]
    fn days_and_times_are_those_of_korea() {
        let hours = Hours::parse("1-5 10:00-20:00;6 11:00-14:00,15:00-18:00").unwrap();
        for (time, open) in [
            ("2026-11-16T09:59:59", false),
            ("2026-11-16T10:00:00", true),
            ("2026-11-20T19:59:59", true),
            ("2026-11-20T20:00:00", false),
            ("2026-11-21T14:30:00", false),
            ("2026-11-21T15:00:00", true),
            ("2026-11-22T12:00:00", false),
        ] {
            assert_eq!(hours.is_open(at(time)), open, "{time}");
        }
        // 01:00 of Monday in UTC is 10:00 there.
        assert!(hours.is_open("2026-11-16T01:00:00Z".parse().unwrap()));
        assert_eq!(hours.told().len(), 7);
        assert_eq!((hours.told()[5].weekday, hours.told()[5].closes.as_str()), (6, "14:00"));
    }

    #[test]
    fn a_night_goes_on_into_the_next_day_and_over_the_end_of_the_week() {
        let bar = Hours::parse("7 18:00-02:00").unwrap();
        for (time, open) in [
            ("2026-11-22T17:59:00", false),
            ("2026-11-22T23:59:00", true),
            ("2026-11-23T01:59:00", true),
            ("2026-11-23T02:00:00", false),
            ("2026-11-22T01:00:00", false),
        ] {
            assert_eq!(bar.is_open(at(time)), open, "{time}");
        }
        let always = Hours::parse("1-7 00:00-24:00").unwrap();
        assert!(always.is_open(at("2026-11-18T00:00:00")) && always.is_open(at("2026-11-18T23:59:59")));
    }

    #[test]
    fn what_makes_no_sense_is_not_known() {
        for text in [
            "",
            "always",
            "1",
            "1 ",
            "0 10:00-11:00",
            "8 10:00-11:00",
            "5-1 10:00-11:00",
            "2-1 10:00-11:00",
            "1 10:00",
            "1 10:00-10:00",
            "1 24:00-02:00",
            "1 10:00-24:01",
            "1 10:60-11:00",
            "1 1:00-2:00",
            "1 10:00-11:00;1 12:00-13:00",
            "1 -1:00-02:00",
            "1 +1:00-02:00",
        ] {
            assert_eq!(Hours::parse(text), None, "{text}");
            assert_eq!(state(text, at("2026-11-16T10:30:00")), OpenState::Unknown, "{text}");
        }
    }
}
