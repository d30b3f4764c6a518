//! Days in a row: made of the set of days on which there was a scan, so that it does not matter in which order they are heard.

use serde::{Deserialize, Serialize};

/// Rows of days. Says nothing that changes by itself: what lasts today is told when somebody asks ([`Streak::current`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streak {
    /// Days of the newest row.
    pub run: i32,
    /// Its last day; none: there is no day at all.
    pub last_day: Option<i32>,
    /// Days of the longest row.
    pub longest: i32,
}

impl Streak {
    /// The rows that days make, which come in their order, each once.
    #[must_use]
    pub fn of(days: impl IntoIterator<Item = i32>) -> Self {
        days.into_iter().fold(Self::default(), |streak, day| {
            let goes_on = streak.last_day.is_some_and(|last| last.checked_add(1) == Some(day));
            let run = if goes_on { streak.run.saturating_add(1) } else { 1 };
            Self { run, last_day: Some(day), longest: streak.longest.max(run) }
        })
    }

    /// Days of the row that lasts `today`: its last day is today, or yesterday, for today is not over.
    #[must_use]
    pub fn current(&self, today: i32) -> i32 {
        let lasts = self.last_day.is_some_and(|last| last >= today.saturating_sub(1));
        if lasts { self.run } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_lasts_until_a_whole_day_is_missed() {
        let streak = Streak::of([1, 2, 3, 7, 8]);
        assert_eq!(streak, Streak { run: 2, last_day: Some(8), longest: 3 });
        assert_eq!([7, 8, 9, 10].map(|today| streak.current(today)), [2, 2, 2, 0]);
        assert_eq!(Streak::of([]).current(0), 0);
        assert_eq!(Streak::of([i32::MAX]).current(i32::MIN), 1);
    }

    proptest! {
        #[test]
        fn the_longest_row_is_the_longest_of_all(days in prop::collection::btree_set(-20..20_i32, 0..25)) {
            let streak = Streak::of(days.iter().copied());
            let from = |first: &i32| (*first..).take_while(|day| days.contains(day)).count();
            let longest = days.iter().map(from).max().unwrap_or(0);
            prop_assert_eq!(usize::try_from(streak.longest), Ok(longest));
            prop_assert_eq!(streak.last_day, days.last().copied());
            let back = |last: &i32| (-30..=*last).rev().take_while(|day| days.contains(day)).count();
            let run = days.last().map_or(0, back);
            prop_assert_eq!(usize::try_from(streak.run), Ok(run));
        }
    }
}
