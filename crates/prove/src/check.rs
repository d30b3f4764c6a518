//! The checker: reads the databases, after everything is quiet, and compares them with the journal.
//!
//! It believes no reply and no table by itself: what was acknowledged must be there once, as it was acknowledged; what was
//! refused must not; what is there must have been asked for. The books are added up from their entries, and each entry of a
//! user must have had its effect at the witness once, in order.

mod books;
mod deeds;
mod events;
mod state;

use anyhow::Result;
use sqlx::PgConnection;

use crate::journal::Deed;

pub(crate) use state::State;

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Of which kind.
    pub(crate) kind: Kind,
    /// What, for people.
    pub(crate) what: String,
    /// The deed in the journal, where it is one.
    pub(crate) deed: Option<usize>,
}

/// Kinds of violations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What was acknowledged, or committed, is not there.
    Lost,
    /// It is there twice, or there where it should not be.
    Doubled,
    /// The books do not balance, or a rule of them is broken.
    Books,
    /// Events out of order.
    Order,
    /// Nobody can tell what became of a deed.
    Open,
}

/// What was looked at, and what does not fit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    /// Postings in the database.
    pub(crate) postings: usize,
    /// Entries.
    pub(crate) entries: usize,
    /// Effects at the witness.
    pub(crate) effects: usize,
    /// What does not fit.
    pub(crate) violations: Vec<Violation>,
}

impl Findings {
    fn add(&mut self, kind: Kind, what: impl Into<String>) {
        self.violations.push(Violation { kind, what: what.into(), deed: None });
    }

    fn of_deed(&mut self, kind: Kind, deed: usize, what: impl Into<String>) {
        self.violations.push(Violation { kind, what: what.into(), deed: Some(deed) });
    }

    /// How many of a kind.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.violations.iter().filter(|violation| violation.kind == kind).count()
    }

    /// `25 kills, 0 lost, 0 doubled, books balance`, and what else there is to say.
    pub(crate) fn verdict(&self, kills: u32) -> String {
        let (lost, doubled) = (self.count(Kind::Lost), self.count(Kind::Doubled));
        let books = if self.count(Kind::Books) == 0 { "books balance" } else { "books DO NOT balance" };
        let mut verdict = format!("{kills} kills, {lost} lost, {doubled} doubled, {books}");
        for (kind, what) in [(Kind::Order, "out of order"), (Kind::Open, "without an answer")] {
            if self.count(kind) > 0 {
                verdict.push_str(&format!(", {} {what}", self.count(kind)));
            }
        }
        verdict
    }
}

/// Looks at everything.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn look(database: &mut PgConnection, url: &str, journal: &[Deed]) -> Result<Findings> {
    let state = State::read(database).await?;
    let mut findings = Findings {
        postings: state.postings.len(),
        entries: state.entries.len(),
        effects: state.effects.len(),
        violations: Vec::new(),
    };
    deeds::look(&state, journal, &mut findings);
    books::look(&state, &mut findings);
    books::chains(url, &mut findings).await?;
    events::look(&state, &mut findings);
    Ok(findings)
}
