//! How far the outbox is read, and what may still come late: a pure rule.
//!
//! Rows are numbered by a sequence when they are written and seen when they are committed, so a number below one that was
//! seen may still come. The sequence has no holes of its own: a number that is missing belongs to a transaction that still
//! runs, or was rolled back. So the missing numbers are kept as [`Range`]s and asked for by number, and everything else is
//! read by "above the highest seen": a published row is never looked at again, and an open transaction holds nobody up.
//!
//! A missing number is given up when its transaction must have ended: it took its own transaction number **before** the
//! row's (the column `xid` stands before `seq`), so a transaction number taken after the hole was seen is above it, and
//! once no transaction below that number runs, whatever is still missing in the same snapshot was rolled back.

use coreloop_planted::{self as planted, Bug};

/// Numbers from `from` to `to`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    range: Range,
    /// Every transaction that could fill it is below; none until that number has been taken.
    below: Option<i64>,
}

/// How far the outbox is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    read_to: i64,
    /// In order, not touching what was seen.
    gaps: Vec<Gap>,
}

impl Cursor {
    /// Where another left off. What it knew of the gaps' transactions is not kept; the next number taken is above them.
    pub(crate) fn new(read_to: i64, gaps: Vec<Range>) -> Self {
        let mut gaps: Vec<Gap> = gaps.into_iter().map(|range| Gap { range, below: None }).collect();
        gaps.sort_by_key(|gap| gap.range.from);
        Self { read_to, gaps }
    }

    /// Highest number seen.
    pub(crate) fn read_to(&self) -> i64 {
        self.read_to
    }

    /// Numbers that may still come.
    pub(crate) fn gaps(&self) -> Vec<Range> {
        self.gaps.iter().map(|gap| gap.range).collect()
    }

    /// Everything up to here has been seen, or will never be.
    pub(crate) fn floor(&self) -> i64 {
        self.gaps.first().map_or(self.read_to, |gap| gap.range.from - 1)
    }

    /// Takes in what one look brought: `seen` in order, with `oldest` of its snapshot; `full` when there may be more that
    /// the look had no room for.
    pub(crate) fn advance(&mut self, seen: &[i64], oldest: i64, full: bool) {
        let end = match (full, seen.last()) {
            (true, Some(last)) => *last,
            _ => i64::MAX,
        };
        let mut gaps = Vec::with_capacity(self.gaps.len());
        for gap in &self.gaps {
            for part in without(gap.range, seen) {
                let over = part.to <= end && gap.below.is_some_and(|below| below <= oldest);
                if !over {
                    gaps.push(Gap { range: part, below: gap.below });
                }
            }
        }
        for number in seen.iter().skip(seen.partition_point(|number| *number <= self.read_to)) {
            if *number > self.read_to + 1 && !planted::on(Bug::IdOrder) {
                gaps.push(Gap { range: Range { from: self.read_to + 1, to: number - 1 }, below: None });
            }
            self.read_to = *number;
        }
        self.gaps = gaps;
    }

    /// A transaction number that was taken after everything known here was seen.
    pub(crate) fn bound(&mut self, below: i64) {
        for gap in &mut self.gaps {
            gap.below.get_or_insert(below);
        }
    }
}

/// What is left of `range` without the numbers of `seen`, which are in order.
fn without(range: Range, seen: &[i64]) -> Vec<Range> {
    let begin = seen.partition_point(|number| *number < range.from);
    let mut parts = Vec::new();
    let mut from = range.from;
    for number in seen.iter().skip(begin).take_while(|number| **number <= range.to) {
        if *number > from {
            parts.push(Range { from, to: number - 1 });
        }
        from = number + 1;
    }
    if from <= range.to {
        parts.push(Range { from, to: range.to });
    }
    parts
}

#[cfg(test)]
#[path = "cursor_tests.rs"]
mod tests;
