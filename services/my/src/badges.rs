//! Badges: which there are, what earns them. Pure.

/// What is counted for a badge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// Scans that earn something.
    Scans,
    /// Things recycled.
    Recycled,
    /// Different categories of scans.
    Variety,
    /// The longest row of days.
    StreakDays,
    /// Characters that somebody has.
    Characters,
}

impl Counts {
    /// As the contract names it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Scans => "scans",
            Self::Recycled => "recycled",
            Self::Variety => "variety",
            Self::StreakDays => "streak_days",
            Self::Characters => "characters",
        }
    }
}

/// A badge.
#[derive(Debug, Clone, Copy)]
pub struct Badge {
    /// Code; never changed.
    pub code: &'static str,
    /// Name in English.
    pub en: &'static str,
    /// Name in Korean.
    pub ko: &'static str,
    /// What is counted.
    pub counts: Counts,
    /// How much of it.
    pub threshold: i64,
}

const fn badge(code: &'static str, names: (&'static str, &'static str), counts: Counts, threshold: i64) -> Badge {
    Badge { code, en: names.0, ko: names.1, counts, threshold }
}

/// All of them, in the order in which they are listed.
pub const ALL: &[Badge] = &[
    badge("FIRST_SCAN", ("First step", "첫걸음"), Counts::Scans, 1),
    badge("RECYCLED_10", ("Ten saved", "열 개의 시작"), Counts::Recycled, 10),
    badge("RECYCLED_100", ("A hundred saved", "백 개의 변화"), Counts::Recycled, 100),
    badge("RECYCLED_1000", ("A thousand saved", "천 개의 약속"), Counts::Recycled, 1_000),
    badge("VARIETY_5", ("Sharp eye", "분리의 눈"), Counts::Variety, 5),
    badge("VARIETY_13", ("Knows them all", "분리의 달인"), Counts::Variety, 13),
    badge("STREAK_7", ("A whole week", "일주일 개근"), Counts::StreakDays, 7),
    badge("STREAK_30", ("A whole month", "한 달 개근"), Counts::StreakDays, 30),
    badge("STREAK_100", ("A hundred days", "백일의 습관"), Counts::StreakDays, 100),
    badge("CHARACTERS_5", ("Good company", "다섯 친구"), Counts::Characters, 5),
    badge("CHARACTERS_15", ("Everybody is here", "모두 모였다"), Counts::Characters, 15),
];

/// What somebody has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Scans that earn something.
    pub scans: i64,
    /// Things recycled.
    pub recycled: i64,
    /// Different categories of scans.
    pub variety: i64,
    /// The longest row of days.
    pub streak_days: i64,
    /// Characters.
    pub characters: i64,
}

impl Figures {
    fn of(&self, counts: Counts) -> i64 {
        match counts {
            Counts::Scans => self.scans,
            Counts::Recycled => self.recycled,
            Counts::Variety => self.variety,
            Counts::StreakDays => self.streak_days,
            Counts::Characters => self.characters,
        }
    }
}

/// Codes of what these figures earn, whether or not somebody has it.
#[must_use]
pub fn earned(figures: &Figures) -> Vec<&'static str> {
    ALL.iter().filter(|badge| figures.of(badge.counts) >= badge.threshold).map(|badge| badge.code).collect()
}

/// How far a badge is, from 0 to 1.
#[must_use]
pub fn progress(badge: &Badge, figures: &Figures) -> f64 {
    let (part, whole) = (figures.of(badge.counts).clamp(0, badge.threshold), badge.threshold);
    let exact = |number: i64| f64::from(i32::try_from(number).unwrap_or(i32::MAX));
    exact(part) / exact(whole)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_of_one_badge_and_thresholds_grow() {
        let codes: BTreeSet<&str> = ALL.iter().map(|badge| badge.code).collect();
        assert_eq!(codes.len(), ALL.len());
        for pair in ALL.windows(2) {
            assert!(pair[0].counts != pair[1].counts || pair[0].threshold < pair[1].threshold, "{pair:?}");
        }
        assert!(ALL.iter().all(|badge| badge.threshold >= 1 && !badge.en.is_empty() && !badge.ko.is_empty()));
    }

    #[test]
    fn a_badge_is_earned_at_its_threshold_and_not_before() {
        let at = |scans, recycled, streak_days| Figures { scans, recycled, streak_days, ..Figures::default() };
        assert!(earned(&at(0, 0, 0)).is_empty());
        assert_eq!(earned(&at(1, 0, 1)), ["FIRST_SCAN"]);
        assert_eq!(earned(&at(9, 9, 6)), ["FIRST_SCAN"]);
        assert_eq!(earned(&at(10, 10, 7)), ["FIRST_SCAN", "RECYCLED_10", "STREAK_7"]);
        let all = Figures { scans: 1, recycled: 1_000, variety: 13, streak_days: 100, characters: 15 };
        assert_eq!(earned(&all).len(), ALL.len());
    }

    #[test]
    fn progress_is_between_nothing_and_all() {
        let at = |recycled| progress(&ALL[1], &Figures { recycled, ..Figures::default() });
        assert_eq!([0, 5, 10, 11, -1, i64::MAX].map(at), [0.0, 0.5, 1.0, 1.0, 0.0, 1.0]);
    }
}
