//! The table: each row beside its aim, medians of rounds.

use std::fmt::Write as _;

/// One measured row.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Row {
    /// Row of chapter 10.
    pub(crate) id: &'static str,
    /// What was measured.
    pub(crate) what: String,
    /// The figure with its unit.
    pub(crate) measured: String,
    /// The aim of chapter 10.
    pub(crate) aim: &'static str,
    /// Whether the aim is met.
    pub(crate) met: bool,
    /// What stands behind the figure: the limit's own figure, rounds, spread.
    pub(crate) detail: String,
}

/// Median; rounds are few, so it is exact.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (Some(low), Some(high)) if sorted.len().is_multiple_of(2) => f64::midpoint(*low, *high),
        (_, Some(value)) => *value,
        _ => f64::NAN,
    }
}

/// The value below which so much of them lies, as 0.99; sorts them.
pub(crate) fn quantile(values: &mut [f64], quantile: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = ((values.len() as f64 - 1.0) * quantile).max(0.0) as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}

/// Smallest and largest, for the detail.
pub(crate) fn spread(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{low:.2}..{high:.2}")
}

/// Renders the table as Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut out = String::from("| row | what | measured | aim | met | behind it |\n|---|---|---|---|---|---|\n");
    for row in rows {
        let met = if row.met { "yes" } else { "no" };
        let _ =
            writeln!(out, "| {} | {} | {} | {} | {met} | {} |", row.id, row.what, row.measured, row.aim, row.detail);
    }
    out
}
