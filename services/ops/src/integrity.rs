//! Recomputes the audit: places without gaps, each row's link to the one before, and the end that the chain says it has.
//!
//! Who changes, adds or takes out a row must recompute all that follow and the head; who cuts rows off the end need not, so
//! each check notes the end that it saw beside its run, and the next looks whether those rows are still what they were.

use std::collections::BTreeMap;

use coreloop_ops_api::integrity::{Finding, Report};
use sqlx::PgPool;

use crate::{
    chain,
    store::audits::{self, Mark, Row},
};

/// Rows of one page.
const PAGE: i64 = 2_000;

/// Ends of earlier checks that are looked for.
const MARKS: i64 = 1_000;

/// Most findings that are kept.
const MOST: usize = 100;

/// What was seen, and the end of the chain then.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What does not fit.
    pub report: Report,
    /// The end of what was looked at.
    pub mark: Mark,
}

/// Looks at every row up to the end that the chain has now.
///
/// # Errors
/// What Postgres says.
pub async fn verify(db: &PgPool) -> Result<Seen, sqlx::Error> {
    let marks: BTreeMap<i64, Vec<u8>> = audits::marks(db, MARKS).await?.into_iter().collect();
    let mark = audits::head(db).await?;
    let mut walk = Walk { marks, ..Walk::default() };
    while walk.seq < mark.0 {
        let rows = audits::following(db, walk.seq, PAGE).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows.iter().take_while(|row| row.seq <= mark.0) {
            walk.step(row);
        }
        if rows.last().is_some_and(|row| row.seq > mark.0) {
            break;
        }
    }
    Ok(Seen { report: walk.end(&mark), mark })
}

/// The way along the chain.
#[derive(Debug, Default)]
struct Walk {
    seq: i64,
    hash: Vec<u8>,
    rows: i64,
    /// Ends of earlier checks that were not come by yet.
    marks: BTreeMap<i64, Vec<u8>>,
    findings: Vec<Finding>,
}

impl Walk {
    fn add(&mut self, what: &str, subject: String, detail: String) {
        if self.findings.len() < MOST {
            self.findings.push(Finding { what: what.to_owned(), subject, detail });
        }
    }

    /// One row further. After one that does not fit it goes on from what that row says, so that what is wrong is told where
    /// it is and not of all that follows.
    fn step(&mut self, row: &Row) {
        self.rows += 1;
        if row.seq != self.seq + 1 {
            self.add("gap", format!("row {}", self.seq + 1), format!("the next row is {}", row.seq));
        } else if chain::link(&self.hash, row)[..] != row.hash[..] {
            self.add("chain", format!("row {}", row.seq), format!("act {} of {}", row.act, row.actor));
        }
        if self.marks.remove(&row.seq).is_some_and(|noted| noted != row.hash) {
            self.add("rewritten", format!("row {}", row.seq), "an earlier check saw another row".to_owned());
        }
        (self.seq, self.hash) = (row.seq, row.hash.clone());
    }

    fn end(mut self, mark: &Mark) -> Report {
        if self.seq != mark.0 || self.hash != mark.1 {
            self.add("head", format!("row {}", self.seq), format!("the chain says that it ends at {}", mark.0));
        }
        let lost: Vec<i64> = self.marks.keys().copied().filter(|seq| *seq > 0).collect();
        for seq in lost {
            self.add("cut", format!("row {seq}"), "an earlier check saw it".to_owned());
        }
        Report { counts: vec![("rows", self.rows)], findings: self.findings }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use jiff::Timestamp;
    use jiff_sqlx::ToSqlx as _;
    use uuid::Uuid;

    use super::*;

    /// A sound chain of `length` rows.
    fn rows(length: i64) -> Vec<Row> {
        let mut before = Vec::new();
        let row = |seq: i64| {
            let mut row = Row {
                seq,
                id: Uuid::from_u128(seq.cast_unsigned().into()),
                act: Uuid::nil(),
                step: "asked".into(),
                actor: "cli".into(),
                action: "a".into(),
                subject: "b".into(),
                detail: "{}".into(),
                request_id: String::new(),
                trace_id: String::new(),
                created_at: Timestamp::UNIX_EPOCH.to_sqlx(),
                hash: Vec::new(),
            };
            row.hash = chain::link(&before, &row).to_vec();
            before.clone_from(&row.hash);
            row
        };
        (1..=length).map(row).collect()
    }

    fn found(rows: &[Row], mark: &Mark, marks: &[Mark]) -> Vec<String> {
        let mut walk = Walk { marks: marks.iter().cloned().collect(), ..Walk::default() };
        rows.iter().for_each(|row| walk.step(row));
        walk.end(mark).findings.into_iter().map(|finding| format!("{} {}", finding.what, finding.subject)).collect()
    }

    fn end_of(rows: &[Row]) -> Mark {
        rows.last().map(|row| (row.seq, row.hash.clone())).unwrap_or_default()
    }

    #[test]
    fn a_chain_that_nobody_touched_is_sound() {
        let all = rows(5);
        assert!(found(&all, &end_of(&all), &[end_of(&all[..2])]).is_empty());
        assert!(found(&[], &Mark::default(), &[Mark::default()]).is_empty());
    }

    #[test]
    fn whatever_is_done_to_it_shows() {
        let all = rows(5);
        let end = end_of(&all);
        let mut changed = all.clone();
        changed[2].actor = "somebody else".into();
        assert_eq!(found(&changed, &end, &[]), ["chain row 3"]);
        let mut removed = all.clone();
        removed.remove(2);
        assert_eq!(found(&removed, &end, &[]), ["gap row 3"]);
        // Cut off, with the head put right: an earlier check knows better.
        assert_eq!(found(&all[..3], &end_of(&all[..3]), std::slice::from_ref(&end)), ["cut row 5"]);
        assert_eq!(found(&all[..3], &end, &[]), ["head row 3"]);
        // All of it made again, by somebody who knows how.
        let mut before = Vec::new();
        for row in &mut changed {
            row.hash = chain::link(&before, row).to_vec();
            before.clone_from(&row.hash);
        }
        assert!(found(&changed, &end_of(&changed), &[]).is_empty());
        assert_eq!(found(&changed, &end_of(&changed), &[end]), ["rewritten row 5"]);
    }
}
