//! Counts of today, this week and this month, of rows by day. Pure.

use coreloop_scan_api::v1::{CategoryCount, GetStatsResponse, Period};
use jiff::{Span, civil::Date};

use crate::store::counts::Counted;

/// The first days of the week (Monday) and of the month that a day is in.
#[must_use]
pub fn firsts(today: Date) -> (Date, Date) {
    let since_monday = i64::from(today.weekday().to_monday_zero_offset());
    (today.saturating_sub(Span::new().days(since_monday)), today.first_of_month())
}

/// The counts, of rows in the order of their categories.
#[must_use]
pub fn of(today: Date, rows: &[Counted]) -> GetStatsResponse {
    let (monday, first) = firsts(today);
    let period = |from: Date| Some(since(from, rows));
    GetStatsResponse { today: period(today), week: period(monday), month: period(first) }
}

fn since(from: Date, rows: &[Counted]) -> Period {
    let mut period = Period { from_date: from.to_string(), ..Period::default() };
    for row in rows.iter().filter(|row| row.day.to_jiff() >= from) {
        period.total += row.total;
        period.recyclable += row.recyclable;
        let category = i32::from(row.category);
        match period.categories.last_mut().filter(|last| last.category == category) {
            Some(last) => last.total += row.total,
            None => period.categories.push(CategoryCount { category, total: row.total }),
        }
    }
    period
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use jiff_sqlx::ToSqlx as _;

    use super::*;

    fn row(day: Date, category: i16, total: i64, recyclable: i64) -> Counted {
        Counted { day: day.to_sqlx(), category, total, recyclable }
    }

    #[test]
    fn a_week_begins_on_monday_and_may_begin_in_the_month_before() {
        // A Wednesday.
        let today = date(2026, 7, 1);
        assert_eq!(firsts(today), (date(2026, 6, 29), date(2026, 7, 1)));
        assert_eq!(firsts(date(2026, 6, 29)).0, date(2026, 6, 29));
        let rows = [
            row(date(2026, 6, 28), 5, 9, 9),
            row(date(2026, 6, 29), 5, 2, 2),
            row(date(2026, 7, 1), 5, 1, 1),
            row(date(2026, 7, 1), 13, 1, 0),
        ];
        let stats = of(today, &rows);
        let (week, month) = (stats.week.unwrap(), stats.month.unwrap());
        assert_eq!((week.total, week.recyclable, week.from_date.as_str()), (4, 3, "2026-06-29"));
        assert_eq!(week.categories.iter().map(|one| (one.category, one.total)).collect::<Vec<_>>(), [(5, 3), (13, 1)]);
        assert_eq!((month.total, stats.today.unwrap().total), (2, 2));
    }
}
